/** Dialogs: native, so that focus stays inside, Escape closes and focus returns. One at a time. */
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";

/**
 * @param {string} kind  class of the dialog
 * @param {string} label
 * @param {...any} children
 * @returns {HTMLDialogElement}
 */
export function openDialog(kind, label, ...children) {
  for (const open of document.querySelectorAll("dialog[open]")) /** @type {HTMLDialogElement} */ (open).close();
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog.overlay", { class: kind, "aria-label": label }, ...children));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A heading with a closing button, for dialogs that are read rather than typed into. */
export const dialogHead = (title) => h("div.dialog-head", null, h("h2", null, title),
  h("button.close", { type: "button", "aria-label": t("close"), onclick: (event) => event.currentTarget.closest("dialog").close() }, "×"));
