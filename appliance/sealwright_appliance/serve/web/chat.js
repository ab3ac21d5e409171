// The chat page: asks the box's own API and shows a reply as it comes. The key is gone with the page, and so is what
// /conversations.js has not had the box keep.

import * as kept from "/conversations.js";
import { RESULTS, SEARCH, enterDocuments, sources, wanted } from "/documents.js";
import { Refusal, askForKey, call, failure, find, note, say, sentence } from "/page.js";

let key = null;
let conversation = [];
let running = null;
const ENDS = ["response.completed", "response.incomplete"];

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refusal(say("chat.broken"));
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "data: [DONE]") return;
      if (!line.startsWith("data: ")) continue;
      const event = JSON.parse(line.slice("data: ".length));
      yield event;
      if (ENDS.includes(event.type)) return;
    }
  }
}

function shown(role, text) {
  const turn = document.createElement("li");
  turn.className = role;
  const who = document.createElement("strong");
  who.textContent = say(role === "user" ? "chat.you" : "chat.answer");
  const said = document.createElement("div");
  said.textContent = text;
  turn.append(who, said);
  find("log").append(turn);
  find("empty").hidden = true;
  turn.scrollIntoView({ block: "end" });
  return said;
}

// Text that grows by one drawing a frame, however fast tokens come. Whoever has scrolled up to read is left there.
class Growing {
  #text = new Text();
  #waiting = "";

  constructor(place) {
    place.append(this.#text);
  }

  add(piece) {
    if (!this.#waiting && piece) requestAnimationFrame(() => this.draw());
    this.#waiting += piece;
  }

  draw() {
    const follows = innerHeight + scrollY >= document.body.scrollHeight - innerHeight / 4;
    this.#text.appendData(this.#waiting);
    this.#waiting = "";
    if (follows) this.#text.parentElement.scrollIntoView({ block: "end" });
  }
}

function busy(controller) {
  running = controller;
  find("send").hidden = controller !== null;
  find("stop").hidden = controller === null;
  find("log").setAttribute("aria-busy", String(controller !== null));
}

// A plain chat, or a response that comes from the documents: OpenAI's search in files is in its newer API alone.
function asking(model, system, turns) {
  const common = { model, stream: true };
  if (wanted()) {
    const body = { ...common, input: turns, tools: [SEARCH], include: [RESULTS], ...(system && { instructions: system }) };
    return ["/v1/responses", body];
  }
  const messages = [...(system ? [{ role: "system", content: system }] : []), ...turns];
  return ["/v1/chat/completions", { ...common, messages, stream_options: { include_usage: true } }];
}

// What an event of either API adds to the reply: its text, whether it was cut, what it took, the whole of a response.
function told(event) {
  if (event.type === undefined) {
    const [choice] = event.choices;
    const { prompt_tokens: prompt, completion_tokens: completion } = event.usage ?? {};
    return { text: choice?.delta?.content, cut: choice?.finish_reason === "length", used: event.usage && { prompt, completion } };
  }
  if (!ENDS.includes(event.type)) return { text: event.type === "response.output_text.delta" ? event.delta : "" };
  const { usage, status } = event.response;
  const used = usage && { prompt: usage.input_tokens, completion: usage.output_tokens };
  return { cut: status === "incomplete", used, response: event.response };
}

async function ask(question) {
  const [model, system] = [find("model").value, find("system").value.trim()];
  const [path, body] = asking(model, system, [...conversation, { role: "user", content: question }]);
  const asked = conversation; // one that is given up meanwhile gets its reply, and nobody sees it again
  busy(new AbortController());
  note(say("chat.thinking"));
  let said = null;
  let growing = null;
  const wasSearched = path === "/v1/responses";
  let outcome = "";
  try {
    const reply = await call(key, path, { method: "POST", body, signal: running.signal });
    if (asked !== conversation) throw new DOMException("", "AbortError");
    asked.push({ role: "user", content: question });
    find("question").value = "";
    shown("user", question);
    said = shown("assistant", "");
    growing = new Growing(said);
    note("");
    for await (const event of events(reply.body)) {
      if (event.error) throw new Refusal(sentence(event.error));
      const { text, cut, used, response } = told(event);
      growing.add(text ?? "");
      if (cut) outcome = say("chat.cut");
      if (used) outcome += ` ${say("chat.used", used)}`;
      if (response && wasSearched) said.after(sources(response));
    }
  } catch (error) {
    outcome = error.name === "AbortError" ? say("chat.stopped") : failure(error);
  }
  if (said) {
    growing.draw();
    asked.push({ role: "assistant", content: said.textContent });
  }
  busy(null);
  note(asked === conversation ? outcome.trim() : "");
  if (said && asked === conversation) kept.keep(model, question, said.textContent, system);
  find("question").focus();
}

async function enter(given) {
  const { data } = await (await call(given, "/v1/models")).json();
  key = given;
  find("model").replaceChildren(...data.map(({ id }) => new Option(id, id)));
  if (data.length === 0) note(say("chat.no_models"));
  await kept.enter(given, reopen);
  find("chat").hidden = false;
  await enterDocuments(given);
  find("question").focus();
}

function begin() {
  running?.abort();
  conversation = [];
  kept.begin();
  find("log").replaceChildren();
  find("empty").hidden = false;
  note("");
}

function reopen({ instructions, turns }) {
  begin();
  conversation = turns.map(({ role, text }) => ({ role, content: text }));
  for (const { role, text } of turns) shown(role, text);
  find("system").value = instructions;
  const { model } = turns.at(-1);
  if ([...find("model").options].some((one) => one.value === model)) find("model").value = model;
  find("question").focus();
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = find("question").value.trim();
  if (question && running === null) ask(question);
});
find("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find("ask").requestSubmit();
  }
});
find("stop").addEventListener("click", () => running?.abort());
find("new").addEventListener("click", begin);
askForKey(enter);
