// What was used on each day, on the administrators' page: bars for the eye, their numbers in a table beneath.

import { element, find, number, say } from "/page.js";

const SPANS = [7, 30, 92];
const DAY_MS = 86_400_000;
const HEIGHT = 100;
const language = document.documentElement.lang;
const named = (day) => new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" })
  .format(new Date(day));
const COUNTS = ["requests", "prompt_tokens", "completion_tokens"];

let told = null;

// The days of a span that ends today, those without use among them.
function spanned() {
  const chosen = { model: find("days-model").value, key: find("days-key").value };
  const rows = Object.fromEntries(told.days.map((one) => [one.day, one.rows]));
  const span = Number(find("days-span").value);
  return Array.from({ length: span }, (_, at) => {
    const day = new Date(Date.parse(told.today) - (span - 1 - at) * DAY_MS).toISOString().slice(0, 10);
    const own = (rows[day] ?? []).filter((row) =>
      ["model", "key"].every((what) => !chosen[what] || row[what] === chosen[what]));
    const sum = Object.fromEntries(COUNTS.map((name) => [name, own.reduce((all, row) => all + row[name], 0)]));
    return { day, ...sum, tokens: sum.prompt_tokens + sum.completion_tokens };
  });
}

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function draw() {
  const days = spanned();
  const count = find("days-count").value;
  const most = Math.max(...days.map((one) => one[count]));
  const sum = days.reduce((all, one) => all + one[count], 0);
  const counted = (value) => say(
    count === "tokens" ? "administration.usage.tokens" : "administration.usage.requests", { count: number(value) });
  const bars = days.map((one, at) => {
    const height = most && (one[count] / most) * HEIGHT;
    return drawn("rect", { x: at + 0.1, width: 0.8, y: HEIGHT - height, height },
      drawn("title", {}, `${named(one.day)}: ${counted(one[count])}`));
  });
  const label = say("administration.usage.sum", { days: days.length, counted: counted(sum) });
  find("days-chart").replaceChildren(drawn("svg",
    { viewBox: `0 0 ${days.length} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bars));
  find("days-most").textContent = say("administration.usage.most", { counted: counted(most) });
  find("days-axis").replaceChildren(...[days[0], days.at(-1)].map((one) => element("span", named(one.day))));
  find("days-sum").textContent = label;
  find("days-rows").replaceChildren(...days.filter((one) => one.requests || one.tokens).reverse().map((one) =>
    element("tr", element("th", named(one.day)), ...COUNTS.map((name) => element("td", number(one[name]))))));
}

function offer(id, values, texts) {
  const list = find(id);
  const before = list.value;
  list.replaceChildren(...values.map((value, at) => new Option(texts[at], value)));
  if (values.includes(before)) list.value = before;
}

export function showDays(days) {
  told = days;
  const rows = days.days.flatMap((one) => one.rows);
  for (const what of ["model", "key"]) {
    const found = [...new Set(rows.map((row) => row[what]))].sort();
    offer(`days-${what}`, ["", ...found], [say("administration.usage.all"),
      ...found.map((one) => (what === "key" && one === "*" ? say("administration.usage.others") : one))]);
  }
  if (!find("days-span").options.length) {
    offer("days-span", SPANS.map(String), SPANS.map((one) => say("administration.usage.last", { days: one })));
    find("days-span").value = "30";
    for (const id of ["days-count", "days-model", "days-key", "days-span"]) find(id).addEventListener("change", draw);
  }
  find("days").hidden = false;
  draw();
}
