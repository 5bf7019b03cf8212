/** The page of all notes: edit and delete in place, with undo. The list itself is written by the server. */
import { call } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { toast } from "../core/toast.js";

/** @param {HTMLElement} element  a list whose items carry `data-note` (id), `data-lesson`, `data-anchor`, `data-quote` and a `.note-text` */
export function mount(element) {
  for (const item of element.querySelectorAll("[data-note]")) enable(/** @type {HTMLElement} */ (item));
}

function enable(item) {
  const text = item.querySelector(".note-text");
  const actions = h("div.note-actions");
  item.append(actions);
  show();

  function show() {
    text.hidden = false;
    fill(actions, h("button.link", { type: "button", onclick: edit }, t("edit")), h("button.link", { type: "button", onclick: remove }, t("delete")));
  }

  function edit() {
    const area = /** @type {HTMLTextAreaElement} */ (h("textarea", { rows: "4", "aria-label": t("notes.write") }));
    area.value = text.textContent;
    text.hidden = true;
    fill(actions, area, h("button.button", { type: "button", onclick: async () => {
      try {
        await call("PUT", `/api/notes/${encodeURIComponent(item.dataset.note)}`, { text: area.value.trim() });
        text.textContent = area.value.trim();
        show();
      } catch (error) {
        toast(error.message, { tone: "bad" });
      }
    } }, t("save")), h("button.link", { type: "button", onclick: show }, t("cancel")));
    area.focus();
  }

  async function remove() {
    try {
      await call("DELETE", `/api/notes/${encodeURIComponent(item.dataset.note)}`);
      item.hidden = true;
      toast(t("notes.deleted"), { ms: 9000, undo: async () => {
        const made = await call("POST", "/api/notes", { lesson: item.dataset.lesson, anchor: item.dataset.anchor, quote: item.dataset.quote, text: text.textContent });
        item.dataset.note = made.id;
        item.hidden = false;
      } });
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }
}
