/** Light, dark, or the system's: changed at once, then kept by the studio. */
import { call } from "../core/api.js";
import { t } from "../core/strings.js";
import { toast } from "../core/toast.js";

const ORDER = ["light", "dark", "auto"];

export function enableTheme() {
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.addEventListener("click", nextTheme);
  }
  label();
}

export function nextTheme() {
  const now = document.documentElement.dataset.theme;
  setTheme(ORDER[(ORDER.indexOf(now) + 1) % ORDER.length]);
  toast(t("theme.now", { theme: t(`theme.${document.documentElement.dataset.theme}`) }), { ms: 1800 });
}

/** @param {string} theme */
export function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  label();
  call("POST", "/api/settings", { theme }).catch((error) => toast(t("settings.failed", { message: error.message }), { tone: "bad" }));
}

function label() {
  const name = t("theme.now", { theme: t(`theme.${document.documentElement.dataset.theme}`) });
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.setAttribute("aria-label", name);
    button.setAttribute("title", name);
  }
}
