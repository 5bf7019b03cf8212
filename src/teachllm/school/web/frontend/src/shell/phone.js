/** Phones: the six things and the contents stay within reach of the thumb, at the bottom. */
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { dialogHead, openDialog } from "./overlay.js";

export function enablePhoneBar() {
  const six = document.querySelector("[data-six]");
  const toc = document.querySelector("[data-toc]");
  document.body.append(h("nav.phone-bar", { "aria-label": t("six.title") }, six.cloneNode(true),
    h("button.button", { type: "button", "aria-haspopup": "dialog", onclick: () => openSheet(toc, six) }, t("toc.title"))));
  document.body.classList.add("has-phone-bar");
}

function openSheet(toc, six) {
  const dialog = openDialog("sheet", t("toc.title"), dialogHead(t("toc.title")), toc.cloneNode(true), six.cloneNode(true));
  dialog.addEventListener("click", (event) => { if (/** @type {HTMLElement} */ (event.target).closest("a")) dialog.close(); });
}
