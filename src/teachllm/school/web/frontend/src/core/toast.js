/** A short message at the bottom, with an optional "undo". It waits while the pointer or the focus is on it. */
import { h } from "./dom.js";
import { t } from "./strings.js";

let region = null;

/**
 * @param {string} text
 * @param {{undo?: () => void, link?: {text: string, href: string}, tone?: "plain"|"bad", ms?: number}} [options]
 */
export function toast(text, { undo, link, tone = "plain", ms = 6000 } = {}) {
  if (!region) {
    region = h("div.toasts", { role: "status", "aria-live": "polite" });
    document.body.append(region);
  }
  let timer = 0;
  const close = () => { clearTimeout(timer); box.remove(); };
  const wait = () => { clearTimeout(timer); timer = setTimeout(close, ms); };
  const box = h("div.toast", { class: tone, onmouseenter: () => clearTimeout(timer), onmouseleave: wait, onfocusin: () => clearTimeout(timer), onfocusout: wait },
    h("span", null, text),
    undo && h("button.button", { type: "button", onclick: () => { undo(); close(); } }, t("undo")),
    link && h("a.button", { href: link.href }, link.text),
    h("button.close", { type: "button", "aria-label": t("close"), onclick: close }, "×"));
  region.append(box);
  wait();
}
