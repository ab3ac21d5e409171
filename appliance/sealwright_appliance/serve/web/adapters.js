// The customer's own adapters on the administrators' page: which there are, how far a training is, and a new one.

import { Refusal, call, element, failure, find, number, say } from "/page.js";
import { left } from "/remaining.js";

const EVERY_MS = 3_000;
const NOTEWORTHY = 0.05; // Part of the loss; less than that is neither better nor worse.
const language = document.documentElement.lang;
const loss = (value) => new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(value);
const part = (value) => new Intl.NumberFormat(language, { style: "percent", roundingMode: "floor" }).format(value);
const isUnderWay = (one) => one.status === "queued" || one.status === "training";
const shown = new Map(); // By id: an adapter as it was told last, and its places on the page.

let key = null;
let keys = [];
let latest = 0;
let asking = 0;
let sending = false;

const tell = (id, text) => { find(id).textContent = text; };

function verdict({ status, failure: why, evaluation: { loss_before: before, loss_after: after } }) {
  if (status === "failed") return say(`administration.adapters.failure.${why}`);
  if (status !== "ready") return "";
  const gone = before > 0 ? 1 - after / before : 0;
  const values = { before: loss(before), after: loss(after), part: part(gone) };
  if (gone >= NOTEWORTHY) return say("administration.adapters.learned", values);
  return gone > -NOTEWORTHY ? say("administration.adapters.little", values) : say("administration.adapters.worse", values);
}

function users({ keys: names }) {
  if (names === null) return say("administration.adapters.keys.all");
  return names.length ? new Intl.ListFormat(language).format(names) : say("administration.adapters.keys.admins");
}

// What there is of one on the page. It is changed in place: whoever stands on its button stays there.
function places(one) {
  const made = { state: element("span"), progress: element("progress"), verdict: element("p"), about: element("small") };
  made.progress.max = 100;
  made.progress.setAttribute("aria-label", say("administration.adapters.progress", { name: one.served_as }));
  const remove = element("button", say("administration.adapters.delete"));
  remove.type = "button";
  remove.setAttribute("aria-label", say("administration.adapters.delete.one", { name: one.served_as }));
  remove.addEventListener("click", () => forget(one));
  made.item = element("li", element("div", element("code", one.served_as), " ", made.state), made.progress,
    made.verdict, made.about, remove);
  return made;
}

function show(one, at) {
  at.state.textContent = say(`administration.adapters.state.${one.status}`, { part: part(one.progress / 100) });
  at.progress.hidden = !isUnderWay(one);
  at.progress.value = one.progress;
  at.verdict.textContent = verdict(one);
  at.about.textContent = say("administration.adapters.about",
    { count: number(one.examples), users: users(one), left: left(one.left_s) });
}

function showAll(adapters) {
  const ids = new Set(adapters.map((one) => one.id));
  for (const [id, { at }] of shown) {
    if (!ids.has(id)) {
      at.item.remove();
      shown.delete(id);
    }
  }
  for (const one of adapters) {
    const before = shown.get(one.id);
    const at = before?.at ?? places(one);
    show(one, at);
    if (!before) find("adapters-list").append(at.item);
    else if (isUnderWay(before.one) && !isUnderWay(one)) {
      tell("adapters-said", say(one.status === "ready" ? "administration.adapters.done" : "administration.adapters.not_done",
        { name: one.served_as }));
    }
    shown.set(one.id, { one, at });
  }
  find("no-adapters").hidden = adapters.length > 0;
}

function showModels(models) {
  const list = find("adapter-model");
  if ([...list.options].map((one) => one.value).join() === models.join()) return;
  list.replaceChildren(...models.map((one) => new Option(one, one)));
}

const chosenKeys = () => [...find("adapter-keys").querySelectorAll("input:checked")].map((one) => one.value);

// Keys that may ask the chosen model; an administrator's may use every adapter.
function showKeys() {
  const model = find("adapter-model").value;
  const able = keys.filter((one) => !one.admin && (one.models === null || one.models.includes(model)));
  const chosen = chosenKeys();
  find("adapter-keys").replaceChildren(...able.map(({ name }) => {
    const box = element("input");
    Object.assign(box, { type: "checkbox", value: name, checked: chosen.includes(name) });
    const label = element("label", box, ` ${name}`);
    label.className = "choice";
    return label;
  }));
  find("no-adapter-keys").hidden = able.length > 0;
  find("adapter-some").hidden = !find("adapter-chosen").checked;
}

// What there is now. A reply that a later one has overtaken is not shown.
async function list() {
  const own = ++latest;
  asking += 1;
  try {
    const { data, models } = await (await call(key, "/v1/adapters")).json();
    if (own !== latest) return;
    showModels(models);
    showAll(data);
    find("adapters").hidden = models.length === 0;
    find("train").hidden = false;
    tell("adapters-lost", "");
  } catch (error) {
    // Of a box that cannot say whether there may be any: only their own service's refusals are shown.
    if (error instanceof Refusal && error.code?.startsWith("adapter")) find("adapters").hidden = false;
    tell("adapters-lost", failure(error));
  } finally {
    asking -= 1;
  }
}

async function forget(one) {
  if (!confirm(say("administration.adapters.sure", { name: one.served_as }))) return;
  try {
    await call(key, `/v1/adapters/${encodeURIComponent(one.id)}`, { method: "DELETE" });
    tell("adapters-said", say("administration.adapters.deleted", { name: one.served_as }));
    find("adapters-title").focus();
  } catch (error) {
    tell("adapters-said", failure(error));
  }
  await list();
}

async function read(file) {
  if (file.size > Number(find("adapters").dataset.bytesMost)) throw new Refusal(say("script.error.examples_too_large"));
  const content = await file.arrayBuffer().catch(() => {
    throw new Refusal(say("administration.adapters.changed"));
  });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    throw new Refusal(say("script.error.document_not_utf8"));
  }
}

async function train() {
  const body = { model: find("adapter-model").value, name: find("adapter-name").value.trim() };
  if (find("adapter-chosen").checked) body.keys = chosenKeys();
  tell("train-said", say("administration.adapters.sending"));
  try {
    body.examples = await read(find("examples").files[0]);
    const made = await (await call(key, "/v1/adapters", { method: "POST", body })).json();
    find("train").reset();
    showKeys();
    tell("train-said", say("administration.adapters.ordered", { name: made.served_as }));
  } catch (error) {
    tell("train-said", failure(error));
  }
}

// Nothing of what goes wrong here is in the way of the rest of the page.
export async function showAdapters(given, known) {
  key = given;
  keys = known;
  await list();
  showKeys();
}

find("train").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (sending) return;
  sending = true;
  await train();
  sending = false;
  await list();
});
find("adapter-model").addEventListener("change", showKeys);
for (const id of ["adapter-all", "adapter-chosen"]) find(id).addEventListener("change", showKeys);
setInterval(() => {
  if (!document.hidden && !asking && [...shown.values()].some(({ one }) => isUnderWay(one))) list();
}, EVERY_MS);
