// The customer's documents on the chat page: what there is, uploads and deletions, and which passages an answer comes from.

import { call, failure, find, note, refusalOf, say } from "/page.js";

const PURPOSE = "assistants";
export const SEARCH = { type: "file_search", vector_store_ids: ["documents"] };
export const RESULTS = "file_search_call.results";

let key = null;

// A file that goes up by XMLHttpRequest, which tells how far it is; fetch does not.
function send(file, told) {
  return new Promise((done, failed) => {
    const form = new FormData();
    form.append("purpose", PURPOSE);
    form.append("file", file);
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    request.setRequestHeader("Authorization", `Bearer ${key}`);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => told(event.loaded, event.total));
    request.addEventListener("error", () => failed(new Error()));
    request.addEventListener("load", () => {
      if (request.status === 200) done(request.response);
      else failed(refusalOf(request.response, request.getResponseHeader("Retry-After")));
    });
    request.send(form);
  });
}

function shownFile(file, mayChange) {
  const item = document.createElement("li");
  const about = document.createElement("span");
  const size = say("chat.documents.size", { size: Math.max(1, Math.round(file.bytes / 1024)) });
  about.textContent = file.pages ? `${file.filename} (${say("chat.documents.pages", { pages: file.pages })}, ${size})` : `${file.filename} (${size})`;
  item.append(about);
  if (mayChange) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = say("chat.documents.delete");
    button.setAttribute("aria-label", say("chat.documents.delete.one", { name: file.filename }));
    button.addEventListener("click", () => remove(file, button));
    item.append(" ", button);
  }
  return item;
}

async function remove(file, button) {
  if (!confirm(say("chat.documents.delete.sure", { name: file.filename }))) return;
  button.disabled = true;
  try {
    await call(key, `/v1/files/${encodeURIComponent(file.id)}`, { method: "DELETE" });
    await show();
    note(say("chat.documents.deleted", { name: file.filename }));
  } catch (error) {
    button.disabled = false;
    note(failure(error));
  }
}

async function show() {
  const { data, may_change: mayChange } = await (await call(key, "/v1/files")).json();
  find("files").replaceChildren(...data.map((file) => shownFile(file, mayChange)));
  find("no-documents").hidden = data.length > 0;
  find("upload").hidden = !mayChange;
  find("cite").disabled = data.length === 0;
  if (data.length === 0) find("cite").checked = false;
}

async function bring(event) {
  event.preventDefault();
  const [file] = find("file").files;
  if (!file || find("bring").disabled) return;
  const progress = find("progress");
  find("bring").disabled = true;
  progress.hidden = false;
  progress.value = 0;
  try {
    const kept = await send(file, (loaded, total) => {
      if (loaded < total) progress.value = loaded / total;
      else progress.removeAttribute("value"); // all of it is there, and being read
      note(say(loaded < total ? "chat.documents.sending" : "chat.documents.reading"));
    });
    find("upload").reset();
    await show();
    note(say("chat.documents.kept", { name: kept.filename }));
  } catch (error) {
    note(failure(error));
  }
  progress.hidden = true;
  find("bring").disabled = false;
}

export const wanted = () => find("cite").checked;

// A box whose documents cannot be reached has its chat all the same.
export async function enterDocuments(given) {
  key = given;
  try {
    await show();
  } catch (error) {
    find("cite").disabled = true;
    note(failure(error));
  }
}

const place = (one, page) => (page ? `${one.filename}, ${say("chat.sources.page", { page })}` : one.filename);

function source(text, quote) {
  const item = document.createElement("li");
  const from = document.createElement("cite");
  const words = document.createElement("q");
  from.textContent = text;
  words.textContent = quote;
  item.append(from, " ", words);
  return item;
}

// Which passages a reply comes from; if it names none, which ones the model was shown.
export function sources(response) {
  const results = response.output.find(({ type }) => type === "file_search_call")?.results ?? [];
  const cited = response.output.flatMap(({ content }) => content ?? []).flatMap(({ annotations }) => annotations ?? []);
  const once = new Map(cited.map((one) => [`${one.file_id} ${one.page} ${one.paragraph}`, one]));
  const shown = document.createElement("details");
  shown.className = "sources";
  const title = document.createElement("summary");
  const list = document.createElement("ol");
  if (once.size > 0) {
    shown.open = true;
    title.textContent = say("chat.sources.cited");
    list.append(...[...once.values()].map((one) => source(place(one, one.page), one.quote)));
  } else {
    title.textContent = say(results.length > 0 ? "chat.sources.shown" : "chat.sources.none");
    list.append(...results.map((one) => source(place(one, one.attributes.page), one.text)));
  }
  shown.append(title, list);
  return shown;
}

find("upload").addEventListener("submit", bring);
