// Network, proxy and time of the place where the box stands: one form, on two pages.

import { attempt, find, note, say } from "/page.js";

const PORT = location.port ? `:${location.port}` : "";
const words = (id) => find(id).value.trim().toLowerCase().split(/[\s,]+/).filter(Boolean);
const one = (id) => words(id)[0] ?? null;

let ask = null;
let counting = null;

function addresses(address, gateway) {
  return one(address) && { address: one(address), gateway: one(gateway) };
}

function typed() {
  return {
    version: 1,
    network: find("site-fixed").checked ? {
      interface: one("site-interface"),
      ipv4: addresses("site-address4", "site-gateway4"),
      ipv6: addresses("site-address6", "site-gateway6"),
      dns: words("site-dns"),
    } : null,
    proxy: one("site-proxy-host") && { host: one("site-proxy-host"), port: Number(find("site-proxy-port").value) },
    time: words("site-time"),
  };
}

function fill({ network, proxy, time }) {
  find(network ? "site-fixed" : "site-dhcp").checked = true;
  find("site-addresses").hidden = !network;
  const values = {
    address4: network?.ipv4?.address, gateway4: network?.ipv4?.gateway,
    address6: network?.ipv6?.address, gateway6: network?.ipv6?.gateway,
    dns: network?.dns.join(" "), interface: network?.interface,
    "proxy-host": proxy?.host, "proxy-port": proxy?.port, time: time.join(" "),
  };
  for (const [name, value] of Object.entries(values)) find(`site-${name}`).value = value ?? "";
}

// The page of this box at an address that it has now, or is about to have.
function link(address) {
  const host = address.split("/")[0];
  const made = document.createElement("a");
  made.href = `https://${host.includes(":") ? `[${host}]` : host}${PORT}${location.pathname}`;
  made.textContent = made.href;
  const item = document.createElement("li");
  item.append(made);
  return item;
}

function show(view) {
  fill(view.trial ?? view.settings);
  find("site").hidden = Boolean(view.trial);
  find("site-trial").hidden = !view.trial;
  clearInterval(counting);
  if (!view.trial) return;
  const ends = Date.now() + 1000 * view.trial_left_s;
  const tell = () => {
    const left = Math.max(0, Math.round((ends - Date.now()) / 1000));
    find("site-trial-how").textContent = left ? say("site.trial", { minutes: Math.ceil(left / 60) }) : say("site.trial.over");
  };
  tell();
  counting = setInterval(tell, 5000);
  const { ipv4, ipv6 } = view.trial.network ?? {};
  find("site-trial-links").replaceChildren(...[ipv4, ipv6].filter(Boolean).map((own) => link(own.address)));
}

// Ask: of a method, an address and a body, with the code of whoever sits before the page.
export async function offerSite(asking) {
  ask = asking;
  show(await ask("POST", "/site", {}));
}

for (const id of ["site-dhcp", "site-fixed"]) {
  find(id).addEventListener("change", () => { find("site-addresses").hidden = !find("site-fixed").checked; });
}
find("site").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const view = await ask("PUT", "/site", { settings: typed() });
    show(view);
    if (!view.trial) note(say("site.done"));
  });
});
find("site-confirm").addEventListener("click", () => attempt(async () => {
  show(await ask("POST", "/site/confirmation", {}));
  note(say("site.done"));
}));
