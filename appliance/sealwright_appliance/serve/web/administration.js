// The administrators' page: what the box's own addresses say to an administrator's key. The key is gone with a reload.

import { showAdapters } from "/adapters.js";
import { askForKey, attempt, call, element, find, number, say } from "/page.js";
import { left } from "/remaining.js";
import { offerSite } from "/site.js";
import { offerSupport } from "/support.js";
import { showDays } from "/usage.js";

const EVERY_MS = 15_000;
const DAY_S = 86_400;
const language = document.documentElement.lang;
const day = (seconds, timeZone) =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone }).format(new Date(1000 * seconds));

let key = null;

const told = async (path, options) => (await call(key, path, options)).json();

const row = (...cells) => element("tr", ...cells.map((cell, at) => element(at ? "td" : "th", cell)));

function button(label, action) {
  const made = element("button", label);
  made.type = "button";
  made.addEventListener("click", () => attempt(action));
  return made;
}

function showState(status) {
  find("state").className = `state ${status.state}`;
  find("state").textContent = say(`state.${status.state}`);
  const warnings = [status.budget?.level_days ? status.budget.sentence : "", ...(status.lease?.warnings ?? []).map((one) => one.message)];
  find("warnings").replaceChildren(...[...new Set(warnings)].filter(Boolean).map((text) => element("li", text)));
  const ends = status.budget
    ? { license: status.budget.license_left_s, running: status.budget.budget_left_s, lease: status.budget.lease_left_s } : {};
  find("terms").hidden = status.budget === null;
  find("ends").replaceChildren(...Object.entries(ends).flatMap(([name, seconds]) => [
    element("dt", say(`administration.end.${name}`)), element("dd", left(seconds))]));
}

function showModels({ models }) {
  find("models").replaceChildren(...models.map((one) => row(one.id,
    one.presence === "out" ? say("administration.out") : say(one.ready ? "administration.ready" : "administration.loading"),
    `${number(one.running)} / ${number(one.places)}`, number(one.waiting))));
  if (find("key-models").length) return;
  find("key-models").append(...models.filter((one) => one.adapters_of === null).map((one) => element("option", one.id)));
}

// What is used of each budget, the fullest first.
function showBudgets({ policies, used, keys }) {
  const bars = Object.entries(policies).flatMap(([model, { budgets }]) => budgets.flatMap((budget) =>
    used.filter((one) => one.model === model && (budget.scope === "model") === (one.key === ""))
      .flatMap((one) => ["requests", "tokens"].filter((what) => budget[what] !== null).map((what) =>
        ({ model, name: one.key, window: budget.window, what, most: budget[what], had: one[`${budget.window}_${what}`] })))));
  bars.sort((a, b) => b.had / b.most - a.had / a.most);
  find("no-budgets").hidden = bars.length > 0;
  find("budgets").replaceChildren(...bars.map((bar) => {
    const meter = element("meter");
    Object.assign(meter, { max: bar.most, high: 0.8 * bar.most, value: Math.min(bar.had, bar.most) });
    const of = say(`administration.${bar.what}.${bar.window}`, { had: number(bar.had), most: number(bar.most) });
    return element("label", `${bar.model}, ${bar.name || say("administration.all_keys")}: ${of}`, meter);
  }));
  find("no-copying").hidden = keys.length > 0;
  find("copying").replaceChildren(...keys.map((one) => element("li", `${one.key}, ${one.model} `,
    button(say("administration.copying.clear"), async () => {
      if (!confirm(say("administration.copying.sure", { name: one.key }))) return;
      await told("/admin/outflow/clear", { method: "POST", body: { name: one.key } });
      await refresh();
    }))));
}

function showUsage({ rows, aliases }) {
  const names = Object.fromEntries(Object.entries(aliases).map(([name, alias]) => [alias, name]));
  const most = Math.max(1, ...rows.map((one) => one.prompt_tokens + one.completion_tokens));
  const sorted = rows.toSorted((a, b) => b.prompt_tokens + b.completion_tokens - a.prompt_tokens - a.completion_tokens);
  find("usage").replaceChildren(...sorted.map((one) => {
    const tokens = one.prompt_tokens + one.completion_tokens;
    const meter = element("meter");
    Object.assign(meter, { max: most, value: tokens });
    meter.setAttribute("aria-hidden", "true");
    return row(names[one.alias] ?? one.alias, one.model, number(one.requests), element("div", number(tokens), meter));
  }));
}

function showKeys({ keys }) {
  find("keys").replaceChildren(...keys.map((one) => row(
    one.admin ? say("administration.key.of_admin", { name: one.name }) : one.name, day(one.created),
    one.models?.join(", ") ?? say("administration.key.all_models"), one.expires ? day(one.expires - 1, "UTC") : "–",
    button(say("administration.key.revoke"), async () => {
      if (!confirm(say("administration.key.sure", { name: one.name }))) return;
      await told(`/admin/api-keys?${new URLSearchParams({ name: one.name })}`, { method: "DELETE" });
      await refresh();
    }))));
}

async function refresh() {
  const [load, outflow, usage, days, keys, status] = await Promise.all(
    ["/admin/load", "/admin/outflow", "/admin/metering", "/admin/metering/days", "/admin/api-keys", "/status"]
      .map((path) => told(path)));
  showState(status);
  showModels(load);
  showBudgets(outflow);
  showDays(days);
  showUsage(usage);
  showKeys(keys);
  showAdapters(key, keys.keys);  // not waited for: it is another service, which may be slow
}

async function enter(given) {
  key = given;
  await refresh();
  offerSupport(key);
  find("administration").hidden = false;
  find("refresh").focus();
  attempt(() => offerSite((method, path, body) => told(path, { method, body })));
  // What has no buttons in it, which would lose the focus.
  setInterval(() => document.hidden || attempt(async () => {
    showState(await told("/status"));
    showModels(await told("/admin/load"));
  }), EVERY_MS);
}

find("refresh").addEventListener("click", () => attempt(refresh));
find("make").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const models = [...find("key-models").selectedOptions].map((one) => one.value);
    const lastDay = find("last-day").valueAsNumber;  // its first moment, in UTC
    const body = { name: find("name").value.trim(), admin: find("admin").checked };
    if (models.length) body.models = models;
    if (!Number.isNaN(lastDay)) body.expires = lastDay / 1000 + DAY_S;
    const made = await told("/admin/api-keys", { method: "POST", body });
    find("make").reset();
    find("made").replaceChildren(say("administration.key.once", { name: made.name }), element("code", made.api_key));
    await refresh();
  });
});
askForKey(enter);
