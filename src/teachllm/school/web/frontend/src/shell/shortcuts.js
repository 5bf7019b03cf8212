/** Keys: plain letters, never while typing, never with a modifier (but ⌘K). `?` shows them. */
import { h, isTyping } from "../core/dom.js";
import { t } from "../core/strings.js";
import { dialogHead, openDialog } from "./overlay.js";
import { openSearch } from "./search.js";
import { nextTheme } from "./theme.js";

/** @param {{step: (direction: number) => void}} reading  the lesson's tracker; on other pages it takes no step */
export function enableShortcuts(reading) {
  let prefix = null;
  let timer = 0;
  const follow = (selector) => /** @type {HTMLElement|null} */ (document.querySelector(selector))?.click();
  const go = (relation) => {
    const link = /** @type {HTMLAnchorElement|null} */ (document.querySelector(`a[rel="${relation}"]`));
    if (link) location.href = link.href;
  };
  const keys = {
    "?": showShortcuts, "/": () => openSearch(), n: () => go("next"), p: () => go("prev"),
    "]": () => reading.step(1), "[": () => reading.step(-1), t: nextTheme, l: () => follow("[data-language-switch]"), a: () => follow(".tutor-open"),
    "g h": () => { location.href = "/"; }, "g m": () => { location.href = "/map"; }, "g p": () => { location.href = "/plan"; },
    "g r": () => { location.href = "/review"; }, "g i": () => { location.href = "/interview"; }, "g c": () => { location.href = "/chat"; },
  };

  document.addEventListener("keydown", (event) => {
    if ((event.metaKey || event.ctrlKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      return openSearch();
    }
    if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented || isTyping(event)) return undefined;
    if (document.querySelector("dialog[open]")) return undefined;
    const key = prefix ? `${prefix} ${event.key}` : event.key;
    prefix = null;
    clearTimeout(timer);
    if (key === "g") {
      prefix = "g";
      timer = setTimeout(() => { prefix = null; }, 1200);
      return undefined;
    }
    const action = keys[key];
    if (!action) return undefined;
    event.preventDefault();
    return action();
  });
  for (const button of document.querySelectorAll("[data-shortcuts-open]")) button.addEventListener("click", showShortcuts);
}

export function showShortcuts() {
  const mac = /mac|iphone|ipad/i.test(navigator.platform);
  const rows = [
    [["?"], "help"], [["/", mac ? "⌘K" : "Ctrl K"], "search"], [["n", "p"], "next"], [["]", "["], "section"], [["g h"], "home"], [["g m"], "map"], [["g p"], "plan"], [["g r"], "review"], [["g i"], "interview"], [["g c"], "chat"], [["a"], "ask"],
    [["t"], "theme"], [["l"], "language"], [[mac ? "⌘↵" : "Ctrl ↵"], "submit"], [["␣", "1–4", "u"], "cards"],
  ];
  openDialog("shortcuts", t("shortcuts.title"), dialogHead(t("shortcuts.title")),
    h("dl", null, rows.map(([keys, name]) => h("div", null,
      h("dt", null, keys.map((key) => key.split(" ").length === 2 && key.startsWith("g") ? [h("kbd", null, "g"), ` ${t("shortcuts.then")} `, h("kbd", null, key.slice(2))] : h("kbd", null, key))),
      h("dd", null, t(`shortcuts.${name}`))))));
}
