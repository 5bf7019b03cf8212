/** The learner's function beside the stack's: two panes, or one with the differences on a narrow screen. */
import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { reading } from "./editor.js";

/** @param {string} mine @param {string} theirs @returns {HTMLElement} */
export function comparison(mine, theirs) {
  const host = h("div.compare-host");
  const wide = matchMedia("(min-width: 760px)");
  const box = h("div.compare", null, h("div.compare-names", { "aria-hidden": "true" }, h("span", null, t("exercise.compare-mine")), h("span", null, t("exercise.compare-theirs"))), host);
  const root = host.attachShadow({ mode: "open" });
  const pane = (name) => [reading, EditorState.readOnly.of(true), EditorView.editable.of(false), EditorView.lineWrapping, EditorView.contentAttributes.of({ "aria-label": name, tabindex: "0", role: "textbox", "aria-readonly": "true", "aria-multiline": "true" })];
  let shown = null;

  function draw() {
    shown?.destroy();
    root.replaceChildren();
    box.classList.toggle("narrow", !wide.matches);
    shown = wide.matches
      ? new MergeView({ root, parent: root, a: { doc: mine, extensions: pane(t("exercise.compare-mine")) }, b: { doc: theirs, extensions: pane(t("exercise.compare-theirs")) }, gutter: false })
      : new EditorView({ root, parent: root, doc: theirs, extensions: [pane(t("exercise.compare-theirs")), unifiedMergeView({ original: mine, mergeControls: false, gutter: false })] });
  }
  wide.addEventListener("change", draw);
  draw();
  return box;
}
