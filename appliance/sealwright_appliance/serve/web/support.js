// The support bundle on the administrators' page: shown first, and saved as it was shown, byte by byte.

import { call, failure, find, note } from "/page.js";

export function offerSupport(key) {
  let bundle = null;
  find("support-make").addEventListener("click", async () => {
    note("");
    try {
      bundle = await (await call(key, "/admin/support", { method: "POST" })).blob();
      find("support-text").textContent = await bundle.text();
      find("support-preview").hidden = false;
      find("support-save").focus();
    } catch (error) {
      note(failure(error));
    }
  });
  find("support-save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(bundle);
    link.download = "sealwright-support.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
