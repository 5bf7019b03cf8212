/** What every drawn chart shares: keyed elements, axes with hairlines, legends, the width of a text. */
import { svg } from "../core/dom.js";
import { readable } from "../core/strings.js";

export const TONES = 8;
export const FONT = 11.5;

/** Colour of a series as a CSS value; themes change it without a redraw. */
export const tone = (index) => `var(--tone-${(index % TONES) + 1})`;

/**
 * Makes, updates and removes the children of a group so that there is one for each item.
 * @template T
 * @param {SVGElement} group
 * @param {string} tag
 * @param {T[]} items
 * @param {(element: SVGElement, item: T, index: number) => void} update
 * @param {(item: T, index: number) => string|number} [key]  elements with the same key move instead of being made anew
 */
export function join(group, tag, items, update, key = (_, index) => index) {
  const before = group["teachllmItems"] ?? new Map();
  const after = new Map();
  items.forEach((item, index) => {
    const name = key(item, index);
    const element = before.get(name) ?? group.appendChild(svg(tag));
    before.delete(name);
    after.set(name, element);
    update(element, item, index);
  });
  for (const element of before.values()) element.remove();
  group["teachllmItems"] = after;
}

/** The group of this name, made on first use; groups lie above each other in that order. */
export function layer(root, name) {
  return root.querySelector(`:scope > g[data-layer="${name}"]`) ?? root.appendChild(svg("g", { "data-layer": name }));
}

/** Geometry through CSS properties, so that a style sheet can animate it (and reduced motion can forbid it). */
export function place(element, geometry) {
  for (const [name, value] of Object.entries(geometry)) element.style.setProperty(name, typeof value === "number" ? `${round(value)}px` : value);
}

export function attributes(element, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, typeof value === "number" ? String(round(value)) : value);
  }
}

const round = (value) => Math.round(value * 100) / 100;

/** Approximate width of a text in pixels: wide scripts take a whole em. */
export function textWidth(text, size = FONT) {
  let ems = 0;
  for (const character of String(text)) ems += /[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60]|\p{Emoji_Presentation}/u.test(character) ? 1 : 0.56;
  return ems * size;
}

/** Cuts a text to a width, with an ellipsis. */
export function clip(text, width, size = FONT) {
  if (textWidth(text, size) <= width) return text;
  const characters = [...text];
  while (characters.length > 1 && textWidth(`${characters.join("")}…`, size) > width) characters.pop();
  return `${characters.join("")}…`;
}

/** Ticks of a scale as texts; a logarithmic one shows powers of ten, and 2 and 5 between them where those are few. */
export function ticks(scale, count) {
  const logarithmic = typeof scale.base === "function";
  const all = scale.ticks(count);
  if (!logarithmic) return all;
  const lead = (value) => Number((value / 10 ** Math.floor(Math.log10(value) + 1e-9)).toPrecision(6));
  const leads = (...digits) => all.filter((value) => digits.includes(lead(value)));
  const fitting = [leads(1), leads(1, 2, 5)].find((few) => few.length >= 2);
  return fitting ?? all.filter((_, index) => index % Math.ceil(all.length / count) === 0);
}

/** Width that the labels of a vertical axis need. */
export function axisWidth(scale, count) {
  return Math.max(18, ...ticks(scale, count).map((value) => textWidth(readable(value)))) + 8;
}

/**
 * Hairlines and labels of both axes.
 * @param {SVGElement} root
 * @param {{left: number, right: number, top: number, bottom: number, x?: any, y?: any, xLabel?: string|null, yLabel?: string|null, zero?: boolean}} frame
 */
export function axes(root, { left, right, top, bottom, x, y, xLabel, yLabel, zero = true }) {
  const grid = layer(root, "grid");
  const labels = layer(root, "axis");
  const rows = y ? ticks(y, Math.max(2, Math.round((bottom - top) / 46))) : [];
  const columns = x ? ticks(x, Math.max(2, Math.round((right - left) / 84))) : [];
  join(grid, "line", rows, (line, value) => {
    attributes(line, { x1: left, x2: right, y1: y(value), y2: y(value), class: zero && value === 0 ? "zero" : "hair" });
  });
  join(labels, "text", [
    ...rows.map((value) => ({ key: `y${value}`, text: readable(value), x: left - 8, y: y(value) + 4, anchor: "end" })),
    ...columns.map((value) => ({ key: `x${value}`, text: readable(value), x: x(value), y: bottom + 17, anchor: "middle" })),
    ...(xLabel ? [{ key: "xl", text: clip(xLabel, right - left), x: (left + right) / 2, y: bottom + 35, anchor: "middle", name: "name" }] : []),
    ...(yLabel ? [{ key: "yl", text: clip(yLabel, right), x: 0, y: top - 14, anchor: "start", name: "name" }] : []),
  ], (text, item) => {
    attributes(text, { x: item.x, y: item.y, "text-anchor": item.anchor, class: item.name ?? "tick" });
    text.textContent = item.text;
  }, (item) => item.key);
}

/** Names of series with their colours, wrapped into lines; returns the height it took. */
export function legend(root, names, { left, right, top, shape = "line" }) {
  let x = left;
  let y = top;
  const items = names.map((name, index) => {
    const text = clip(name, right - left - 24);
    const width = textWidth(text) + 36;
    if (x + width > right && x > left) {
      x = left;
      y += 19;
    }
    const item = { text, x, y, index };
    x += width;
    return item;
  });
  const group = layer(root, "legend");
  join(group, "g", items, (element, item) => {
    if (!element.firstChild) element.append(svg(shape === "line" ? "line" : "rect"), svg("text"));
    const [mark, text] = element.children;
    if (shape === "line") attributes(mark, { x1: item.x, x2: item.x + 16, y1: item.y - 4, y2: item.y - 4, class: `series dash-${item.index % 4}` });
    else attributes(mark, { x: item.x, y: item.y - 10, width: 11, height: 11, rx: 3 });
    mark.style.setProperty(shape === "line" ? "stroke" : "fill", tone(item.index));
    attributes(text, { x: item.x + (shape === "line" ? 22 : 17), y: item.y, class: "name" });
    text.textContent = item.text;
  });
  return names.length ? y - top + 24 : 0;
}

/** Smallest and largest of numbers, `null`s left out; `[0, 1]` when there are none. */
export function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null || value === undefined) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? [0, 1] : [low, high];
}

/**
 * One way of writing all numbers of a chart: as many decimals as give the largest three digits (numbers that
 * two decimals say exactly are left as they are). A number too small to
 * be seen is "<0.001", not a misleading 0.
 * @param {(number|null)[]} values
 * @param {number} [digits]
 * @returns {(value: number|null) => string}
 */
export function sameDecimals(values, digits = 3) {
  const [low, high] = extent(values);
  const largest = Math.max(Math.abs(low), Math.abs(high));
  const exact = values.every((value) => value === null || Math.abs(value * 100 - Math.round(value * 100)) < 1e-7);
  if (exact || largest === 0 || largest >= 1e7 || largest < 1e-3) return readable;
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(largest) + 1e-9));
  const least = 10 ** -decimals;
  return (value) => {
    if (value === null || value === 0) return readable(value);
    if (Math.abs(value) < least / 2) return value > 0 ? `<${least}` : `>−${least}`;
    return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replace("-", "−");
  };
}
