// What the pages with a script share: their texts, and the box's API under a key that no reload outlives.

const language = document.documentElement.lang;

export const find = (id) => document.getElementById(id);
const words = JSON.parse(document.querySelector("[data-words]").dataset.words);
export const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

export const number = (value) => new Intl.NumberFormat(language).format(value);

export function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

export class Refusal extends Error {
  constructor(message, code = null) {
    super(message);
    this.code = code;
  }
}

export function sentence(error) {
  const key = `script.error.${error?.code}`;
  return key in words ? say(key, error) : error?.message ?? say("script.lost");
}

// What went wrong, for people.
export const failure = (error) => (error instanceof Refusal ? error.message : say("script.lost"));

// The gateway answers as OpenAI does, the agent behind it with a problem document (RFC 9457).
export function refusalOf(said, retryAfter) {
  const error = said?.error ?? (said?.code && { code: said.code, message: said.detail });
  const wait = Number(retryAfter);
  return new Refusal(sentence(error) + (wait > 0 ? ` ${say("script.wait", { seconds: wait })}` : ""), error?.code);
}

export async function call(key, path, { method = "GET", body, signal } = {}) {
  const headers = key === null ? {} : { Authorization: `Bearer ${key}` };
  if (body) headers["Content-Type"] = "application/json";
  const reply = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, credentials: "omit" });
  if (!reply.ok) throw refusalOf(await reply.json().catch(() => null), reply.headers.get("Retry-After"));
  return reply;
}

export const note = (text) => { find("note").textContent = text; };

// Do something, and say what goes wrong.
export async function attempt(action) {
  note("");
  try {
    await action();
  } catch (error) {
    note(failure(error));
  }
}

// The form that asks for a key: shown once it can be taken, since a key that is sent earlier would reload the page.
export function askForKey(enter) {
  find("entry").addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = find("key").value.trim();
    note("");
    try {
      if (!/^[!-~]+$/.test(key)) throw new Refusal(say("script.error.invalid_api_key"));
      await enter(key);
    } catch (error) {
      note(failure(error));
      return;
    }
    find("key").value = "";
    find("entry").hidden = true;
  });
  find("forget").addEventListener("click", () => location.reload());
  find("entry").hidden = false;
  find("key").focus();
}
