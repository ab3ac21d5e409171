// From the claim code to the secrets: the site first, then the activation, step by step.

import { call, failure, find, note, say } from "/page.js";
import { offerSite } from "/site.js";

const EVERY_MS = 700;
let claim = "";

const ask = async (method, path, body) => (await call(null, path, { method, body: { claim_code: claim, ...body } })).json();

function showSteps({ step, cause }, ended) {
  const items = [...find("setup-steps").children];
  const at = items.findIndex((one) => one.dataset.step === step);
  items.forEach((item, number) => {
    const state = number < at || (number === at && ended === "done") ? "done" : number === at ? ended ?? "now" : "";
    item.className = state;
    item.lastElementChild.textContent = state ? say(`setup.state.${state}`) : "";
  });
  return cause ? say(`setup.cause.${cause}`) : "";
}

const progress = async () => (await call(null, "/activation/progress")).json();

async function activate() {
  find("setup-steps").hidden = false;
  find("setup-go").disabled = true;
  note("");
  const watching = setInterval(() => progress().then((told) => showSteps(told)).catch(() => {}), EVERY_MS);
  try {
    await ask("POST", "/activation", { activation_code: find("code").value.trim() });
    clearInterval(watching);
    showSteps({ step: "restarting" }, "now");
    const form = find("setup-secrets");
    form.elements.claim_code.value = claim;
    form.submit();
  } catch (error) {
    clearInterval(watching);
    const told = await progress().catch(() => ({}));
    const cure = showSteps(told, "failed");
    note(cure || failure(error));
    find("setup-go").disabled = false;
  }
}

find("setup-claim")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  claim = find("claim").value.trim();
  note("");
  try {
    await offerSite(ask);
  } catch (error) {
    note(failure(error));
    return;
  }
  find("setup-claim").hidden = true;
  find("setup-site").hidden = find("setup-activate").hidden = false;
  find("site-dhcp").focus();
});
find("setup-activate")?.addEventListener("submit", (event) => {
  event.preventDefault();
  activate();
});

// Not before a form can be taken: the browser would send it by itself.
if (find("setup-claim")) {
  find("setup-claim").hidden = false;
  find("claim").focus();
}
