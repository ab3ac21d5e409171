// Conversations that the box keeps, where the domains of the models let it: the list, and what is on the page now.

import { call, failure, find, note, say } from "/page.js";

const TITLE_MOST = 60;
const DAY_S = 86_400;

let key = null;
let reopen = null; // shows a conversation on the page
let days = {}; // by model
let current = { id: null, title: null, turns: [] }; // on the page; with an id once it is kept
let saving = Promise.resolve(); // one after the other, or a slow one would come behind a later one
let lists = 0; // asked for; an answer that a later one has overtaken is not shown

const told = async (path, options) => (await call(key, path, options)).json();
const address = (id) => `/conversations/${id}`;
const count = (number) => new Intl.NumberFormat(document.documentElement.lang).format(number);
const fewestDays = (models) => Math.min(...models.map((model) => days[model] ?? 0));

// What becomes of the conversation with the model that is chosen, and with those that took part.
function showRule() {
  const fewest = fewestDays([find("model").value, ...current.turns.map(({ model }) => model)]);
  const otherwise = current.id ? "chat.kept.part" : "chat.kept.not";
  find("rule").textContent = fewest > 0 ? say("chat.kept.days", { days: count(fewest) }) : say(otherwise);
}

async function attempt(action) {
  try {
    await action();
  } catch (error) {
    note(failure(error));
  }
}

function onClick(button, action) {
  button.addEventListener("click", () => {
    note("");
    attempt(action);
  });
}

function button(label, described, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.setAttribute("aria-label", `${label}: ${described}`);
  onClick(made, action);
  return made;
}

function shown(one) {
  const item = document.createElement("li");
  item.dataset.id = one.id;
  const title = one.title || say("chat.kept.untitled");
  const left = document.createElement("small");
  left.textContent = say("chat.kept.left", { days: count(Math.ceil(one.left_s / DAY_S)) });
  const open = button(title, say("chat.kept.open"), () => openOne(one.id));
  open.className = "title";
  if (one.id === current.id) open.setAttribute("aria-current", "true");
  item.append(open, left, button(say("chat.kept.rename"), title, () => rename(one.id, title)));
  item.append(button(say("chat.kept.delete"), title, async () => {
    if (!confirm(say("chat.kept.sure", { title }))) return;
    await saving;
    await told(address(one.id), { method: "DELETE" });
    if (one.id === current.id) find("new").click();
    await list();
  }));
  return item;
}

async function rename(id, before) {
  const title = [...(prompt(say("chat.kept.name"), before) ?? "").trim()].slice(0, TITLE_MOST).join("");
  if (!title) return;
  await saving;
  const { instructions, turns } = await told(address(id));
  await told(address(id), { method: "PUT", body: { title, instructions, turns } });
  if (id === current.id) current.title = title;
  await list();
}

async function list() {
  const mine = ++lists;
  const { kept, conversations } = await told("/conversations");
  if (mine !== lists) return;
  days = kept;
  replace(conversations.map(shown));
  find("kept").hidden = conversations.length === 0;
  showRule();
}

// Whoever stands on a button of the list stays on it; behind one that is deleted, on its neighbour's.
function replace(items) {
  const place = find("conversations");
  const held = place.contains(document.activeElement) ? document.activeElement : null;
  const [item, at] = held ? [held.parentElement, [...held.parentElement.children].indexOf(held)] : [];
  const row = item && [...place.children].indexOf(item);
  place.replaceChildren(...items);
  if (!held) return;
  const again = items.find((one) => one.dataset.id === item.dataset.id) ?? items[Math.min(row, items.length - 1)];
  (again?.children[at] ?? find("question")).focus();
}

async function openOne(id) {
  const one = await told(address(id));
  reopen(one);
  current = { id, title: one.title, turns: one.turns };
  await list();
}

export async function enter(given, show) {
  key = given;
  reopen = show;
  await attempt(list);
}

export function begin() {
  current = { id: null, title: null, turns: [] };
  showRule();
}

// Keep what was said if every model that took part lets it; what was kept before stays as it was otherwise.
export function keep(model, question, answer, instructions) {
  const chat = current;
  chat.turns.push({ role: "user", model, text: question }, { role: "assistant", model, text: answer });
  const turns = [...chat.turns];
  if (fewestDays(turns.map((one) => one.model)) > 0) {
    const title = chat.title ?? [...turns[0].text].slice(0, TITLE_MOST).join("");
    const body = { title, instructions, turns };
    saving = saving.then(() => attempt(async () => {
      const saved = await told(chat.id ? address(chat.id) : "/conversations", { method: chat.id ? "PUT" : "POST", body });
      chat.id = saved.id;
      await list();
    }));
  }
  showRule();
}

find("model").addEventListener("change", showRule);
onClick(find("delete-all"), async () => {
  if (!confirm(say("chat.kept.sure.all"))) return;
  await saving;
  await told("/conversations", { method: "DELETE" });
  if (current.id) find("new").click();
  await list();
});
