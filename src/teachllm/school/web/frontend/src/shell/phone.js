/** Phones: the six things and the contents stay within reach of the thumb, at the bottom. */
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { dialogHead, openDialog } from "./overlay.js";

export function enablePhoneBar() {
  const six = document.querySelector("[data-six]");
  const toc = document.querySelector("[data-toc]");
  for (const button of document.querySelectorAll("[data-toc-open]")) button.addEventListener("click", () => openSheet(toc, six));
  if (!six || document.querySelector(".phone-bar")) return;
  const copy = /** @type {HTMLElement} */ (six.cloneNode(true));
  copy.removeAttribute("id");
  const bar = h("nav.phone-bar", { "aria-label": t("six.title") }, copy,
    toc ? h("button.button", { type: "button", "aria-haspopup": "dialog", onclick: () => openSheet(toc, six) }, t("toc.title")) : null);
  document.body.append(bar);
  document.body.classList.add("has-phone-bar");
}

function openSheet(toc, six) {
  const contents = toc?.cloneNode(true);
  const things = six?.cloneNode(true);
  for (const copy of [contents, things]) /** @type {HTMLElement|undefined} */ (copy)?.removeAttribute?.("id");
  const dialog = openDialog("sheet", t("toc.title"), dialogHead(t("toc.title")), contents ?? "", things ?? "");
  dialog.addEventListener("click", (event) => { if (/** @type {HTMLElement} */ (event.target).closest("a")) dialog.close(); });
}
