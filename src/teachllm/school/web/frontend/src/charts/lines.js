/** Curves with direct labels at their ends, marks, and a reading line that follows the pointer. */
import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";
import { svg } from "../core/dom.js";
import { readable } from "../core/strings.js";
import { attributes, axes, axisWidth, clip, extent, join, layer, legend, textWidth, tone } from "./plot.js";

/** @param {SVGElement} root @param {any} chart @param {number} width @returns {number} the height */
export function drawLines(root, chart, width) {
  const names = chart.series.map((series) => series.name);
  const named = names.some(Boolean);
  const atEnds = named && width >= 460 && names.length > 1 && names.length <= 6 && Math.max(...names.map((name) => textWidth(name))) < width * 0.26;
  for (const name of ["grid", "axis", "marks", "curves", "ends", "legend", "reading"]) layer(root, name);
  const legendHeight = legend(root, named && !atEnds ? names : [], { left: 0, right: width, top: 12 });
  const top = legendHeight + (chart.y_label ? 30 : 12) + (chart.marks.length ? 14 : 0);
  const bottom = top + Math.min(240, Math.max(170, width * 0.4));
  const right = width - (atEnds ? Math.max(...names.map((name) => textWidth(name))) + 14 : 8);
  const [x, y] = scales(chart, top, bottom, right);
  const left = axisWidth(y, 5);
  x.range([left, right]);
  axes(root, { left, right, top, bottom, x, y, xLabel: chart.x_label, yLabel: chart.y_label });
  marks(root, chart, x, top, bottom, width);
  const curve = line((point) => x(point[0]), (point) => y(point[1])).defined((point) => usable(chart, point));
  join(layer(root, "curves"), "path", chart.series, (path, series, index) => {
    attributes(path, { d: curve(pairs(series)) ?? "", class: `series dash-${index % 4}` });
    path.style.setProperty("stroke", tone(index));
  });
  ends(root, chart, atEnds ? names : [], x, y, right, top, bottom);
  reading(root, chart, x, y, { left, right, top, bottom });
  return bottom + (chart.x_label ? 46 : 28);
}

function scales(chart, top, bottom, right) {
  const xs = chart.series.flatMap((series) => series.x);
  const ys = chart.series.flatMap((series) => series.y);
  const [x0, x1] = extent([...xs.filter((value) => !chart.x_log || value > 0), ...chart.marks.map((mark) => mark.x)]);
  let [y0, y1] = chart.y_range ?? extent(ys.filter((value) => value !== null && (!chart.y_log || value > 0)));
  if (y0 === y1) [y0, y1] = chart.y_log ? [y0 / 2, y1 * 2] : [y0 - 0.5, y1 + 0.5];
  const x = (chart.x_log ? scaleLog() : scaleLinear()).domain(x0 === x1 ? [x0 - 0.5, x1 + 0.5] : [x0, x1]).range([0, right]);
  const y = (chart.y_log ? scaleLog() : scaleLinear()).domain([y0, y1]).range([bottom, top]);
  if (!chart.y_range) y.nice(5);
  return [x, y];
}

function marks(root, chart, x, top, bottom, width) {
  join(layer(root, "marks"), "g", chart.marks, (group, mark) => {
    if (!group.firstChild) group.append(svg("line"), svg("text"));
    const [rule, text] = group.children;
    const at = x(mark.x);
    const flips = at + textWidth(mark.label) + 8 > width;
    attributes(rule, { x1: at, x2: at, y1: top - 12, y2: bottom, class: "mark" });
    attributes(text, { x: flips ? at - 5 : at + 5, y: top - 4, "text-anchor": flips ? "end" : "start", class: "name" });
    text.textContent = mark.label;
  });
}

/** Labels at the right ends, moved apart until none covers another. */
function ends(root, chart, names, x, y, right, top, bottom) {
  const items = names.map((name, index) => {
    const last = pairs(chart.series[index]).filter((point) => usable(chart, point)).at(-1);
    return { name, index, y: last ? Math.max(top, Math.min(bottom, y(last[1]))) : top };
  }).sort((one, other) => one.y - other.y);
  for (let index = 1; index < items.length; index++) items[index].y = Math.max(items[index].y, items[index - 1].y + 15);
  const excess = (items.at(-1)?.y ?? 0) - bottom;
  if (excess > 0) {
    items.at(-1).y = bottom;
    for (let index = items.length - 2; index >= 0; index--) items[index].y = Math.min(items[index].y, items[index + 1].y - 15);
  }
  join(layer(root, "ends"), "text", items, (text, item) => {
    attributes(text, { x: right + 8, y: item.y + 4, class: "end" });
    text.style.setProperty("fill", tone(item.index));
    text.textContent = clip(item.name, 200);
  }, (item) => item.index);
}

function reading(root, chart, x, y, box) {
  const group = layer(root, "reading");
  root.onpointermove = (event) => {
    const bounds = root.getBoundingClientRect();
    const at = event.clientX - bounds.left;
    if (at < box.left - 4 || at > box.right + 4) return void group.replaceChildren();
    const readings = chart.series.map((series, index) => ({ index, name: series.name, point: nearest(chart, series, x, at) })).filter((one) => one.point);
    if (!readings.length) return void group.replaceChildren();
    const where = x(readings[0].point[0]);
    const texts = readings.map(({ name, point }) => `${name ? `${name}: ` : ""}${readable(point[1])}`);
    const width = Math.max(textWidth(readable(readings[0].point[0])), ...texts.map((text) => textWidth(text) + 14)) + 18;
    const boxX = where + width + 12 > box.right ? where - width - 10 : where + 10;
    group.replaceChildren(
      svg("line", { x1: where, x2: where, y1: box.top, y2: box.bottom, class: "mark" }),
      svg("rect", { x: boxX, y: box.top, width, height: 24 + 16 * texts.length, rx: 7, class: "panel" }),
      svg("text", { x: boxX + 9, y: box.top + 16, class: "name" }, readable(readings[0].point[0])),
      ...readings.flatMap(({ index, point }, row) => [
        svg("circle", { cx: x(point[0]), cy: y(point[1]), r: 3.5, style: { fill: tone(index) } }),
        svg("circle", { cx: boxX + 12, cy: box.top + 28 + 16 * row, r: 3, style: { fill: tone(index) } }),
        svg("text", { x: boxX + 20, y: box.top + 32 + 16 * row, class: "number" }, texts[row]),
      ]));
    return undefined;
  };
  root.onpointerleave = () => group.replaceChildren();
}

function nearest(chart, series, x, at) {
  let best = null;
  for (const point of pairs(series)) {
    if (usable(chart, point) && (!best || Math.abs(x(point[0]) - at) < Math.abs(x(best[0]) - at))) best = point;
  }
  return best;
}

const pairs = (series) => series.x.map((value, index) => [value, series.y[index]]);
const usable = (chart, [x, y]) => x !== null && y !== null && (!chart.x_log || x > 0) && (!chart.y_log || y > 0);
