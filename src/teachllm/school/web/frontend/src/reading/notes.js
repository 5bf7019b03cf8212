/** Notes and bookmarks of a lesson: select a passage to note something; a note stands beside its passage. */
import { call } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { toast } from "../core/toast.js";
import { sectionsOf } from "./sections.js";

const BLOCKS = "p, li, blockquote, .ask, .idea, .math[data-display='1'], table, h2, h3";

/** @param {HTMLElement} body @param {string} lesson @param {any} state  from `#lesson-state` */
export function enableNotes(body, lesson, state) {
  const sections = sectionsOf(body);
  const notes = [...state.notes];
  const bookmarks = new Set(state.bookmarks);
  for (const section of sections) addBookmarkButton(section);
  for (const note of notes) showNote(note);
  paintQuotes();
  selectionBubble(body, sections, write);

  function addBookmarkButton({ anchor, heading }) {
    const button = h("button.bookmark", { type: "button", "aria-pressed": String(bookmarks.has(anchor)), "aria-label": t("notes.bookmark"), title: t("notes.bookmark"), onclick: async () => {
      const on = !bookmarks.has(anchor);
      try {
        await call("POST", "/api/bookmarks", { lesson, anchor, on });
        if (on) bookmarks.add(anchor); else bookmarks.delete(anchor);
        button.setAttribute("aria-pressed", String(on));
        toast(t(on ? "notes.bookmarked" : "notes.unbookmarked"), { ms: 1800 });
      } catch (error) {
        toast(error.message, { tone: "bad" });
      }
    } });
    heading.append(button);
  }

  /** Opens an empty note beside the selected passage. */
  function write({ anchor, quote, block }) {
    const note = { id: null, anchor, quote, text: "" };
    const aside = noteView(note, block);
    aside.edit();
  }

  function showNote(note) {
    const section = sections.find((one) => one.anchor === note.anchor);
    noteView(note, findQuote(body, section, note.quote)?.block ?? section?.heading ?? body);
  }

  function noteView(note, block) {
    const element = h("aside.note", { class: "mine", role: "note", "aria-label": t("notes.label") });
    block.after(element);
    const show = () => fill(element, h("b", null, t("notes.label")), " ", h("span.note-text", null, note.text),
      h("div.note-actions", null, note.quote ? h("button.link", { type: "button", onclick: makeCard }, t("notes.card")) : null, h("button.link", { type: "button", onclick: edit }, t("edit")), h("button.link", { type: "button", onclick: remove }, t("delete"))));

    function edit() {
      const area = /** @type {HTMLTextAreaElement} */ (h("textarea", { rows: "3", "aria-label": t("notes.write"), placeholder: t("notes.write") }));
      area.value = note.text;
      const problem = h("span.state", { role: "alert" });
      const close = () => { if (note.id === null) element.remove(); else show(); };
      const keep = async () => {
        const text = area.value.trim();
        if (!text) return close();
        try {
          if (note.id === null) {
            const made = await call("POST", "/api/notes", { lesson, anchor: note.anchor, quote: note.quote, text });
            note.id = made.id;
            notes.push(note);
          } else await call("PUT", `/api/notes/${encodeURIComponent(note.id)}`, { text });
          note.text = text;
          show();
          paintQuotes();
        } catch (error) {
          problem.textContent = error.message;
        }
        return undefined;
      };
      area.addEventListener("keydown", (event) => {
        if (event.key === "Escape") close();
        if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) keep();
      });
      fill(element, h("b", null, t("notes.label")), area, h("div.note-actions", null, h("button.button", { type: "button", onclick: keep }, t("save")), h("button.link", { type: "button", onclick: close }, t("cancel"))), problem);
      area.focus();
    }

    /** What one wrote asks, the passage answers; it can be edited on the page of cards. */
    async function makeCard() {
      try {
        const card = { question: asMarkdown(note.text), answer: asMarkdown(note.quote), lesson, anchor: note.anchor };
        const { id } = await call("POST", "/api/own-cards", card);
        toast(t("notes.card-made"), { undo: () => call("DELETE", `/api/own-cards/${encodeURIComponent(id)}`), ms: 9000 });
      } catch (error) {
        toast(error.message, { tone: "bad" });
      }
    }

    async function remove() {
      try {
        await call("DELETE", `/api/notes/${encodeURIComponent(note.id)}`);
        element.remove();
        notes.splice(notes.indexOf(note), 1);
        paintQuotes();
        toast(t("notes.deleted"), { undo: restore, ms: 9000 });
      } catch (error) {
        toast(error.message, { tone: "bad" });
      }
    }

    async function restore() {
      try {
        const made = await call("POST", "/api/notes", { lesson, anchor: note.anchor, quote: note.quote, text: note.text });
        note.id = made.id;
        notes.push(note);
        block.after(element);
        show();
        paintQuotes();
      } catch (error) {
        toast(error.message, { tone: "bad" });
      }
    }
    show();
    return { edit };
  }

  /** Underlines the passages that have a note, without touching the text. */
  function paintQuotes() {
    if (!("highlights" in CSS)) return;
    const ranges = notes.map((note) => findQuote(body, sections.find((one) => one.anchor === note.anchor), note.quote)?.range).filter(Boolean);
    CSS.highlights.set("noted", new Highlight(...ranges));
  }
}

/** A small bar over a selection inside one section. */
function selectionBubble(body, sections, write) {
  let bubble = null;
  const hide = () => { bubble?.remove(); bubble = null; };
  document.addEventListener("selectionchange", () => { if (getSelection().isCollapsed) hide(); });
  const offer = () => {
    const selection = getSelection();
    if (selection.isCollapsed || !selection.rangeCount || !body.contains(selection.anchorNode) || !body.contains(selection.focusNode)) return;
    const range = selection.getRangeAt(0);
    const start = elementOf(range.startContainer);
    if (start.closest("[data-island], textarea, input, .codebox")) return;
    const quote = selection.toString().trim().slice(0, 400);
    const section = sections.filter(({ heading }) => heading.compareDocumentPosition(start) & Node.DOCUMENT_POSITION_FOLLOWING || heading.contains(start)).at(-1);
    const block = elementOf(range.endContainer).closest(BLOCKS);
    if (!quote || !section || !block) return;
    hide();
    const box = range.getBoundingClientRect();
    bubble = h("div.selection-bubble", null, h("button.button", { type: "button", onclick: () => { hide(); getSelection().removeAllRanges(); write({ anchor: section.anchor, quote, block }); } }, t("notes.add")),
      h("button.button", { type: "button", onclick: () => { hide(); getSelection().removeAllRanges(); document.dispatchEvent(new CustomEvent("teachllm:ask", { detail: { selection: quote } })); } }, t("tutor.about-this")));
    document.body.append(bubble);
    bubble.style.setProperty("left", `${Math.max(8, Math.min(document.documentElement.clientWidth - bubble.offsetWidth - 8, box.left + box.width / 2 - bubble.offsetWidth / 2))}px`);
    bubble.style.setProperty("top", `${scrollY + (box.top > 56 ? box.top - bubble.offsetHeight - 8 : box.bottom + 8)}px`);
  };
  body.addEventListener("pointerup", () => setTimeout(offer));
  body.addEventListener("keyup", (event) => { if (event.shiftKey || event.key === "Shift") offer(); });
}

const elementOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement);

/** Where a noted passage stands now; `null` when the lesson no longer has it. */
function findQuote(body, section, quote) {
  if (!section || !quote) return null;
  const words = quote.replace(/\s+/g, " ");
  const first = words.split(" ").slice(0, 12).join(" ").slice(0, 60);
  const end = sectionEnd(body, section);
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  walker.currentNode = section.heading;
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (end && end.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING) break;
    for (const piece of [words, first]) {
      const at = node.data.indexOf(piece);
      if (at === -1) continue;
      const block = node.parentElement.closest(BLOCKS);
      if (!block || node.parentElement.closest("[data-island], .note")) continue;
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, Math.min(node.data.length, at + piece.length));
      return { range, block };
    }
  }
  return null;
}

function sectionEnd(body, section) {
  const all = sectionsOf(body);
  return all[all.findIndex((one) => one.anchor === section.anchor) + 1]?.heading ?? null;
}

/** Plain words as Markdown that shows just them. */
const asMarkdown = (text) => text.replace(/[\\`*_[\]<>$~|#]/g, "\\$&");
