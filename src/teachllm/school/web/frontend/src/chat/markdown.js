/**
 * The Markdown that a model writes, as elements. Text stays text: nothing that the model says can become markup, a script or
 * a request (no HTML, no pictures, no links but those of its citations, which lead into the course).
 */
import { h } from "../core/dom.js";

/**
 * @param {string} source
 * @param {{number: number, address: string}[]} [places]  what `[1]` leads to
 * @returns {Node[]}
 */
export function markdown(source, places = []) {
  return blocks(source).map((block) => render(block, places));
}

/**
 * Blocks of a text that may still be growing: an open code fence is code already.
 * @param {string} source
 * @returns {{kind: string, text?: string, lang?: string, level?: number, items?: string[], ordered?: boolean, start?: number, rows?: string[][]}[]}
 */
export function blocks(source) {
  const lines = source.replace(/\r\n?/g, "\n").split("\n");
  const found = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = line.match(/^\s{0,3}(```+|~~~+)\s*([\w+-]*)/);
    const list = line.match(/^\s{0,3}(?:[-*+]|(\d{1,4})[.)])\s+/);
    if (fence) {
      const end = lines.findIndex((one, index) => index > at && one.trim().startsWith(fence[1]));
      found.push({ kind: "code", lang: fence[2], text: lines.slice(at + 1, end === -1 ? undefined : end).join("\n") });
      at = end === -1 ? lines.length : end + 1;
    } else if (/^\s{0,3}#{1,6}\s+\S/.test(line)) {
      found.push({ kind: "heading", level: line.trim().match(/^#+/)[0].length, text: line.replace(/^\s*#+\s+/, "").replace(/\s+#+\s*$/, "") });
      at += 1;
    } else if (list) {
      const ordered = list[1] !== undefined;
      const items = [];
      while (at < lines.length) {
        const item = lines[at].match(ordered ? /^\s{0,3}\d{1,4}[.)]\s+(.*)/ : /^\s{0,3}[-*+]\s+(.*)/);
        if (item) items.push(item[1]);
        else if (/^\s{2,}\S/.test(lines[at]) && items.length) items.push(`${items.pop()}\n${lines[at].trim()}`);
        else break;
        at += 1;
      }
      found.push({ kind: "list", ordered, start: ordered ? Number(list[1]) : 1, items });
    } else if (/^\s{0,3}>\s?/.test(line)) {
      const quoted = [];
      while (at < lines.length && /^\s{0,3}>\s?/.test(lines[at])) quoted.push(lines[at++].replace(/^\s{0,3}>\s?/, ""));
      found.push({ kind: "quote", text: quoted.join("\n") });
    } else if (isTable(lines, at)) {
      const rows = [];
      while (at < lines.length && lines[at].includes("|") && lines[at].trim()) rows.push(cells(lines[at++]));
      rows.splice(1, 1);
      found.push({ kind: "table", rows });
    } else if (!line.trim()) {
      at += 1;
    } else {
      const text = [];
      while (at < lines.length && lines[at].trim() && !startsBlock(lines, at, text.length)) text.push(lines[at++]);
      found.push({ kind: "paragraph", text: text.join("\n") });
    }
  }
  return found;
}

const startsBlock = (lines, at, already) => already > 0 && (/^\s{0,3}(```|~~~|#{1,6}\s+\S|>\s?|[-*+]\s+|\d{1,4}[.)]\s+)/.test(lines[at]) || isTable(lines, at));
const isTable = (lines, at) => lines[at].includes("|") && (lines[at + 1] ?? "").includes("|") && /^[\s|:-]*-[\s|:-]*$/.test(lines[at + 1]);
const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function render(block, places) {
  switch (block.kind) {
    case "code": return h("pre", { tabindex: "0" }, h("code", { dataset: { lang: block.lang } }, block.text));
    case "heading": return h("p.said-heading", null, inline(block.text, places));
    case "list": return h(block.ordered ? "ol" : "ul", block.ordered && block.start !== 1 ? { start: block.start } : null, block.items.map((item) => h("li", null, inline(item, places))));
    case "quote": return h("blockquote", null, markdown(block.text, places));
    case "table": return h("div.scroll", { tabindex: "0" }, h("table.data", null,
      h("thead", null, h("tr", null, block.rows[0].map((cell) => h("th", { scope: "col" }, inline(cell, places))))),
      h("tbody", null, block.rows.slice(1).map((row) => h("tr", null, row.map((cell) => h("td", null, inline(cell, places))))))));
    default: return h("p", null, inline(block.text, places));
  }
}

const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*([^*\s](?:[^*]*[^*\s])?)\*\*|\*([^*\s](?:[^*]*[^*\s])?)\*|\[(\d{1,3})\](?!\()/g;

/** Code, strong, emphasis and citations inside a line; everything else is text, addresses too. */
export function inline(text, places = []) {
  const parts = [];
  let last = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(last, match.index));
    last = match.index + match[0].length;
    if (match[2] !== undefined) parts.push(h("code", null, match[2].trim() || match[2]));
    else if (match[3] !== undefined) parts.push(h("strong", null, inline(match[3], places)));
    else if (match[4] !== undefined) parts.push(h("em", null, inline(match[4], places)));
    else parts.push(citation(match[0], places.find((one) => one.number === Number(match[5]))));
  }
  parts.push(text.slice(last));
  return parts.filter((part) => part !== "");
}

const citation = (text, place) => (place ? h("a.cite", { href: place.address, title: place.title }, text) : text);
