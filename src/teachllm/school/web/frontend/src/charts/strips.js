/** Charts that are text: coloured tokens, tables, sentences. */
import { fill, h } from "../core/dom.js";
import { readable, t } from "../core/strings.js";
import { TONES } from "./plot.js";

/** Rows of coloured pieces. Spaces and line breaks inside a piece are made visible. */
export function tokens(box, chart) {
  fill(box, chart.rows.map((row, index) => h("div.token-row", null,
    chart.labels ? h("div.token-label", null, chart.labels[index]) : null,
    h("ol.tokens", { "aria-label": chart.labels?.[index] ?? chart.title },
      row.length ? row.map((piece, position) => token(piece, position)) : h("li.none", null, t("chart.empty"))))));
}

function token(piece, position) {
  const about = [piece.id === null ? null : String(piece.id), piece.note].filter(Boolean).join(" · ");
  return h("li.token", { class: `tone-${(piece.tone ?? position) % TONES}`, title: about || null, tabindex: piece.note ? "0" : null },
    h("span.piece", null, visible(piece.text)),
    piece.id === null ? null : h("span.id", null, String(piece.id)),
    piece.note ? h("span.sr", null, piece.note) : null);
}

/** The text with faint stand-ins for what one cannot see. */
export function visible(text) {
  if (text === "") return [h("i", null, "∅")];
  const parts = [];
  for (const [part] of text.matchAll(/ |\n|\t|\r|[^ \n\t\r]+/g)) {
    const sign = { " ": "·", "\n": "↵", "\t": "→", "\r": "␍" }[part];
    parts.push(sign ? h("i", { "aria-label": { " ": "space", "\n": "newline", "\t": "tab", "\r": "return" }[part], role: "img" }, sign) : part);
  }
  return parts;
}

export function table(box, chart) {
  const numeric = chart.columns.map((_, column) => chart.rows.length > 0 && chart.rows.every((row) => row[column] === null || typeof row[column] === "number"));
  fill(box, h("div.scroll", { tabindex: "0", role: "region", "aria-label": chart.title ?? chart.columns.join(t("list.separator")) }, h("table.data", null,
    h("thead", null, h("tr", null, chart.columns.map((column, index) => h(column ? "th" : "td", { scope: column ? "col" : null, class: numeric[index] ? "number" : null }, column)))),
    h("tbody", null, chart.rows.map((row, index) => h("tr", { class: index === chart.highlight_row ? "on" : null },
      row.map((cell, column) => h("td", { class: numeric[column] ? "number" : null }, readable(cell)))))))));
}

export function text(box, chart) {
  fill(box, h("p.said", null, chart.text));
}
