/** The settings page: each change is saved at once and says so. */
import { call } from "../core/api.js";
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { setTheme } from "./theme.js";

export function enableSettings() {
  for (const form of document.querySelectorAll("form[data-setting]")) {
    const state = h("span.state", { role: "status" });
    form.append(state);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", async (event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      const value = input.type === "number" ? Number(input.value) : input.value;
      try {
        if (input.name === "theme") setTheme(input.value);
        else await call("POST", "/api/settings", { [input.name]: value });
        state.textContent = t("settings.saved");
        if (input.name === "lang") location.reload();
      } catch (error) {
        state.textContent = t("settings.failed", { message: error.message });
      }
    });
  }
}
