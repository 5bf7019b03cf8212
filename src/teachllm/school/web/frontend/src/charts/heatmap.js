/** A matrix as colours. The colour is mixed by CSS from the theme's own, so a change of theme needs no redraw. */
import { svg } from "../core/dom.js";
import { readable } from "../core/strings.js";
import { attributes, clip, extent, join, layer, sameDecimals, textWidth } from "./plot.js";

const MIN_CELL = 5;
const MAX_CELL = 46;

/** @param {SVGElement} root @param {any} chart @param {number} width @returns {number} the height */
export function drawHeatmap(root, chart, width) {
  for (const name of ["scale", "cells", "numbers", "names"]) layer(root, name);
  const rows = chart.values.length;
  const columns = chart.values[0]?.length ?? 0;
  const [low, high] = domain(chart);
  const widestRow = Math.max(0, ...(chart.y_labels ?? []).map((label) => textWidth(label)));
  const left = chart.y_labels ? Math.min(widestRow + 10, width * 0.3) : chart.y_label ? 6 : 0;
  const cell = Math.max(MIN_CELL, Math.min(MAX_CELL, (width - left) / Math.max(1, columns)));
  const height = Math.min(cell, Math.max(MIN_CELL, Math.min(cell, 520 / Math.max(1, rows))));
  const tilted = (chart.x_labels ?? []).some((label) => textWidth(label) > cell - 4);
  const labelHeight = chart.x_labels ? (tilted ? Math.min(90, Math.max(...chart.x_labels.map((label) => textWidth(label))) * 0.72 + 16) : 20) : 4;
  // The rows' label stands left of the columns' label if there is room, else on a line of its own above it.
  const crowded = Boolean(chart.x_label && chart.y_label) && left < textWidth(`${chart.y_label} ↓`) + 10;
  const named = crowded ? 38 : chart.x_label || chart.y_label ? 20 : 0;
  const top = 26 + named + labelHeight;
  const every = Math.max(1, Math.ceil(13 / cell));
  const everyRow = Math.max(1, Math.ceil(13 / height));
  legendOf(root, chart, low, high, Math.min(width, Math.max(220, left + columns * cell)));

  const cells = chart.values.flatMap((row, y) => row.map((value, x) => ({ value, x, y })));
  const gap = cell > 14 ? 1.5 : cell > 8 ? 0.75 : 0;
  join(layer(root, "cells"), "rect", cells, (rect, one) => {
    attributes(rect, { x: left + one.x * cell, y: top + one.y * height, width: cell - gap, height: height - gap, rx: cell > 14 ? 3 : 0, class: one.value === null ? "empty" : null });
    rect.style.setProperty("fill", one.value === null ? "transparent" : colour(chart.scale, one.value, low, high));
    const title = rect.firstChild ?? rect.appendChild(svg("title"));
    title.textContent = `${chart.y_labels?.[one.y] ?? one.y} · ${chart.x_labels?.[one.x] ?? one.x}: ${readable(one.value)}`;
  });
  const write = sameDecimals(chart.values.flat(), cell < 30 ? 2 : 3);
  const numbers = chart.show_numbers && cell >= 24 ? cells.filter((one) => one.value !== null) : [];
  join(layer(root, "numbers"), "text", numbers, (text, one) => {
    const shown = short(write(one.value), cell);
    attributes(text, { x: left + (one.x + 0.5) * cell - gap / 2, y: top + (one.y + 0.5) * height + 3.5, "text-anchor": "middle", class: "cell" });
    text.style.setProperty("fill", strength(chart.scale, one.value, low, high) > 0.68 ? "var(--card)" : "var(--ink)");
    text.textContent = shown;
  });
  const columnNames = (chart.x_labels ?? []).map((label, index) => ({ label, index })).filter(({ index }) => index % every === 0);
  const rowNames = (chart.y_labels ?? []).map((label, index) => ({ label, index })).filter(({ index }) => index % everyRow === 0);
  join(layer(root, "names"), "text", [
    ...columnNames.map(({ label, index }) => {
      const x = left + (index + 0.5) * cell;
      return tilted
        ? { key: `x${index}`, text: clip(label, 110), x: x - 2, y: top - 7, anchor: "start", turn: `rotate(-46 ${x - 2} ${top - 7})` }
        : { key: `x${index}`, text: label, x, y: top - 7, anchor: "middle", turn: null };
    }),
    ...rowNames.map(({ label, index }) => ({ key: `y${index}`, text: clip(label, left - 8), x: left - 8, y: top + (index + 0.5) * height + 3.5, anchor: "end", turn: null })),
    ...(chart.x_label ? [{ key: "xl", text: `${chart.x_label} →`, x: left, y: crowded ? 52 : 34, anchor: "start", turn: null }] : []),
    ...(chart.y_label ? [{ key: "yl", text: `${chart.y_label} ↓`, x: 0, y: 34, anchor: "start", turn: null }] : []),
  ], (text, item) => {
    attributes(text, { x: item.x, y: item.y, "text-anchor": item.anchor, transform: item.turn, class: "name" });
    text.textContent = item.text;
  }, (item) => item.key);
  return top + rows * height + 6;
}

/** A strip from the lowest to the highest colour with its two numbers. */
function legendOf(root, chart, low, high, width) {
  const group = layer(root, "scale");
  const steps = 24;
  const span = 96;
  const start = width - span - textWidth(readable(high)) - 8;
  join(group, "rect", Array.from({ length: steps }, (_, index) => low + ((high - low) * index) / (steps - 1)), (rect, value, index) => {
    attributes(rect, { x: start + (span / steps) * index, y: 3, width: span / steps + 0.5, height: 8 });
    rect.style.setProperty("fill", colour(chart.scale, value, low, high));
  });
  let texts = root["teachllmScale"];
  if (!texts) {
    texts = [svg("text"), svg("text")];
    group.append(...texts);
    root["teachllmScale"] = texts;
  }
  attributes(texts[0], { x: start - 6, y: 11, "text-anchor": "end", class: "tick" });
  attributes(texts[1], { x: width, y: 11, "text-anchor": "end", class: "tick" });
  texts[0].textContent = readable(low);
  texts[1].textContent = readable(high);
}

function domain(chart) {
  if (chart.domain) return chart.domain;
  const [low, high] = extent(chart.values.flat());
  if (chart.scale === "diverging") {
    const reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [-reach, reach];
  }
  return low === high ? [Math.min(0, low), Math.max(high, low + 1e-9)] : [low, high];
}

/** How far a value is from the neutral colour, 0 to 1. */
function strength(scale, value, low, high) {
  if (scale === "diverging") {
    const middle = (low + high) / 2;
    return Math.min(1, Math.abs(value - middle) / ((high - low) / 2 || 1));
  }
  return Math.max(0, Math.min(1, (value - low) / (high - low || 1)));
}

function colour(scale, value, low, high) {
  const share = strength(scale, value, low, high);
  const end = scale === "diverging" && value < (low + high) / 2 ? "var(--cold)" : "var(--accent)";
  return `color-mix(in oklab, ${end} ${(4 + 96 * share).toFixed(1)}%, var(--neutral))`;
}

/** A number that fits its cell: without the leading zero if need be, else left out. */
function short(text, cell) {
  const bare = text.replace(/^(−?)0\./, "$1.");
  return [text, bare].find((one) => textWidth(one, 10.5) <= cell - 4) ?? "";
}
