/** CodeMirror in a shadow root, where its styles are adopted sheets: the content security policy allows no style elements. */
import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { EditorState, StateEffect, StateField } from "@codemirror/state";
import { Decoration, drawSelection, EditorView, gutter, GutterMarker, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.docString], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: [tags.comment], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.function(tags.definition(tags.variableName)), tags.definition(tags.className)], color: "var(--code-name)", fontWeight: "600" },
  { tag: [tags.meta], color: "var(--code-keyword)" },
]);

const theme = EditorView.theme({
  "&": { fontSize: "0.82rem", backgroundColor: "var(--code)", color: "var(--ink)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.7" },
  ".cm-content": { padding: "0.8rem 0", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 1rem 0 0.6rem" },
  ".cm-gutters": { backgroundColor: "var(--code)", color: "var(--soft)", border: "none", paddingLeft: "0.4rem" },
  ".cm-lineNumbers .cm-gutterElement": { minWidth: "1.8em", fontSize: "0.92em" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--ink) 3.5%, transparent)" },
  ".cm-activeLineGutter": { backgroundColor: "transparent" },
  "&.cm-focused .cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--accent) 22%, transparent)" },
  ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": { backgroundColor: "color-mix(in srgb, var(--accent) 16%, transparent)" },
  ".cm-mistake": { backgroundColor: "var(--ask-wash)" },
  ".cm-mistake-gutter": { width: "0.7rem" },
  ".cm-mistake-sign": { color: "var(--ask)", fontWeight: "700" },
  "&.cm-merge-a .cm-changedLine, .cm-deletedChunk": { backgroundColor: "color-mix(in srgb, var(--ask) 9%, transparent)" },
  "&.cm-merge-b .cm-changedLine, .cm-insertedLine": { backgroundColor: "color-mix(in srgb, var(--accent) 9%, transparent)" },
  "&.cm-merge-a .cm-changedText, .cm-deletedChunk .cm-deletedText": { background: "color-mix(in srgb, var(--ask) 20%, transparent)" },
  "&.cm-merge-b .cm-changedText": { background: "color-mix(in srgb, var(--accent) 20%, transparent)" },
  ".cm-changeGutter": { width: "0" },
});

/** What an editor and the two panes of a comparison share. */
export const reading = [lineNumbers(), python(), syntaxHighlighting(colours), theme];

class Mistake extends GutterMarker {
  toDOM() {
    const sign = document.createElement("span");
    sign.className = "cm-mistake-sign";
    sign.textContent = "●";
    return sign;
  }
}
const sign = new Mistake();
const setMistake = StateEffect.define();
const mistake = StateField.define({
  create: () => Decoration.none,
  update(lines, transaction) {
    for (const effect of transaction.effects) {
      if (!effect.is(setMistake)) continue;
      const { doc } = transaction.state;
      if (effect.value === null || effect.value < 1 || effect.value > doc.lines) return Decoration.none;
      return Decoration.set([Decoration.line({ class: "cm-mistake" }).range(doc.line(effect.value).from)]);
    }
    return lines.map(transaction.changes);
  },
  provide: (field) => EditorView.decorations.from(field),
});
const mistakeGutter = gutter({
  class: "cm-mistake-gutter",
  lineMarker(view, line) {
    let found = null;
    view.state.field(mistake).between(line.from, line.from, () => { found = sign; });
    return found;
  },
  lineMarkerChange: (update) => update.startState.field(mistake) !== update.state.field(mistake),
});

/**
 * @param {HTMLElement} host
 * @param {{source: string, label: string, onChange: (source: string) => void, onSubmit: () => void}} options
 */
export function editor(host, { source, label, onChange, onSubmit }) {
  const root = host.attachShadow({ mode: "open" });
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: source,
      extensions: [
        mistakeGutter, reading, mistake, history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(), highlightActiveLine(),
        indentUnit.of("    "), EditorState.tabSize.of(4),
        keymap.of([{ key: "Mod-Enter", run: () => { onSubmit(); return true; } }, ...closeBracketsKeymap, ...defaultKeymap.filter(({ key }) => key !== "Mod-Enter"), ...historyKeymap, indentWithTab]),
        EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0", spellcheck: "false", autocapitalize: "off", autocorrect: "off" }),
        EditorView.updateListener.of((update) => { if (update.docChanged) onChange(update.state.doc.toString()); }),
      ],
    }),
  });
  return {
    source: () => view.state.doc.toString(),
    /** Replaces everything, as one step that the editor's own undo takes back. */
    set(text) { view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } }); },
    mark(line) {
      const effects = [setMistake.of(line)];
      if (line !== null && line >= 1 && line <= view.state.doc.lines) effects.push(EditorView.scrollIntoView(view.state.doc.line(line).from, { y: "nearest", yMargin: 40 }));
      view.dispatch({ effects });
    },
    goTo(line) {
      const { from } = view.state.doc.line(Math.min(line, view.state.doc.lines));
      view.dispatch({ selection: { anchor: from }, scrollIntoView: true });
      view.focus();
    },
    focus: () => view.focus(),
  };
}
