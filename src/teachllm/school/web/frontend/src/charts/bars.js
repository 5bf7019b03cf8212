/** Bars, standing while their names fit below them, lying when they do not. */
import { scaleBand, scaleLinear } from "d3-scale";
import { attributes, axes, axisWidth, clip, extent, join, layer, legend, place, sameDecimals, textWidth, tone } from "./plot.js";

/** @param {SVGElement} root @param {any} chart @param {number} width @returns {number} the height */
export function drawBars(root, chart, width) {
  const many = chart.series.length > 1;
  const widest = Math.max(0, ...chart.labels.map((label) => textWidth(label)));
  const fits = (width - 46) / Math.max(1, chart.labels.length) >= Math.min(widest + 6, 90);
  root.dataset.lying = String(!fits);
  for (const name of ["grid", "axis", "marks", "values", "names", "legend"]) layer(root, name);
  const names = many ? chart.series.map((series) => series.name ?? "") : [];
  return fits ? standing(root, chart, width, names) : lying(root, chart, width, names, widest);
}

function standing(root, chart, width, names) {
  const legendHeight = legend(root, names, { left: 0, right: width, top: 12, shape: "square" });
  const top = legendHeight + (chart.y_label || chart.unit ? 36 : 22);
  const bottom = top + Math.min(210, Math.max(150, width * 0.36));
  const [low, high] = domain(chart);
  const y = scaleLinear([low, high], [bottom, top]);
  if (chart.y_max === null) y.nice(5);
  const left = axisWidth(y, 4);
  const band = scaleBand(chart.labels.map((_, index) => index), [left, width]).paddingInner(0.28).paddingOuter(0.16);
  axes(root, { left, right: width, top, bottom, y, yLabel: withUnit(chart.y_label, chart.unit), xLabel: null });
  const thickness = Math.min(56, band.bandwidth() / chart.series.length);
  const inset = (band.bandwidth() - thickness * chart.series.length) / 2;
  const bars = flatten(chart).map((bar) => ({
    ...bar,
    x: band(bar.index) + inset + bar.row * thickness + (chart.series.length > 1 ? 1 : 0),
    width: thickness - (chart.series.length > 1 ? 2 : 0),
    y: Math.min(y(bar.value ?? 0), y(Math.max(0, low))),
    height: Math.abs(y(bar.value ?? 0) - y(Math.max(0, low))),
  }));
  draw(root, chart, bars);
  const write = sameDecimals(bars.map((bar) => bar.value));
  const roomy = bars.every((bar) => thickness >= textWidth(write(bar.value)) - 6) && bars.length <= 36;
  join(layer(root, "values"), "text", roomy ? bars : [], (text, bar) => {
    move(text, bar.x + bar.width / 2, (bar.value ?? 0) < 0 ? bar.y + bar.height + 14 : bar.y - 6);
    attributes(text, { "text-anchor": "middle", class: "number" });
    text.textContent = bar.value === null ? "" : write(bar.value);
  });
  join(layer(root, "names"), "text", chart.labels, (text, label, index) => {
    attributes(text, { x: band(index) + band.bandwidth() / 2, y: bottom + 18, "text-anchor": "middle", class: `name${index === chart.highlight ? " strong" : ""}` });
    text.textContent = clip(label, band.step() + 4);
  });
  if (!chart.x_label) return bottom + 28;
  axisName(root, chart.x_label, (left + width) / 2, bottom + 38);
  return bottom + 46;
}

function lying(root, chart, width, names, widest) {
  const legendHeight = legend(root, names, { left: 0, right: width, top: 12, shape: "square" });
  const top = legendHeight + (chart.y_label || chart.unit ? 32 : 6);
  const rowHeight = chart.series.length > 1 ? 12 + 15 * chart.series.length : 27;
  const left = Math.min(widest + 12, width * 0.42);
  const bottom = top + rowHeight * chart.labels.length;
  const [low, high] = domain(chart);
  const write = sameDecimals(flatten(chart).map((bar) => bar.value));
  const numberWidth = Math.max(...flatten(chart).map((bar) => textWidth(write(bar.value)))) + 10;
  const x = scaleLinear([low, high], [left + (low < 0 ? numberWidth : 0), width - numberWidth]);
  axes(root, { left, right: width, top, bottom, yLabel: withUnit(chart.y_label, chart.unit) });
  const zero = x(Math.max(0, low));
  const thickness = chart.series.length > 1 ? 13 : 17;
  const bars = flatten(chart).map((bar) => ({
    ...bar,
    x: Math.min(x(bar.value ?? 0), zero),
    width: Math.abs(x(bar.value ?? 0) - zero),
    y: top + bar.index * rowHeight + (rowHeight - thickness * chart.series.length - 2 * (chart.series.length - 1)) / 2 + bar.row * (thickness + 2),
    height: thickness,
  }));
  draw(root, chart, bars);
  join(layer(root, "values"), "text", bars, (text, bar) => {
    const negative = (bar.value ?? 0) < 0;
    move(text, negative ? bar.x - 6 : bar.x + bar.width + 6, bar.y + bar.height / 2 + 4);
    attributes(text, { "text-anchor": negative ? "end" : "start", class: "number" });
    text.textContent = bar.value === null ? "" : write(bar.value);
  });
  join(layer(root, "names"), "text", chart.labels, (text, label, index) => {
    attributes(text, { x: left - 10, y: top + (index + 0.5) * rowHeight + 4, "text-anchor": "end", class: `name${index === chart.highlight ? " strong" : ""}` });
    text.textContent = clip(label, left - 10);
  });
  return bottom + 10;
}

function draw(root, chart, bars) {
  const single = chart.series.length === 1;
  const largest = Math.max(...bars.map((bar) => Math.abs(bar.value ?? 0))) || 1;
  join(layer(root, "marks"), "rect", bars, (rect, bar) => {
    place(rect, { x: bar.x, y: bar.y, width: bar.width, height: bar.height });
    attributes(rect, { rx: Math.min(4, bar.width / 2, Math.max(bar.height, 1) / 2) });
    const share = strength(chart, bar, single, largest);
    rect.style.setProperty("fill", `color-mix(in oklab, ${single ? "var(--accent)" : tone(bar.row)} ${(100 * share).toFixed(0)}%, var(--card))`);
  });
}

/** With a highlight the others step back; without one, larger values are stronger. */
function strength(chart, bar, single, largest) {
  if (chart.highlight !== null) return bar.index === chart.highlight ? 1 : 0.38;
  return single ? 0.45 + 0.55 * (Math.abs(bar.value ?? 0) / largest) : 1;
}

/** Numbers travel with their bars: a transform can be animated where x and y of a text cannot. */
const move = (text, x, y) => text.style.setProperty("transform", `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`);

function axisName(root, text, x, y) {
  const element = layer(root, "axis").appendChild(document.createElementNS("http://www.w3.org/2000/svg", "text"));
  const before = root["teachllmAxisName"];
  before?.remove();
  root["teachllmAxisName"] = element;
  attributes(element, { x, y, "text-anchor": "middle", class: "name" });
  element.textContent = text;
}

function domain(chart) {
  const [low, high] = extent(flatten(chart).map((bar) => bar.value));
  return [Math.min(0, low), chart.y_max ?? Math.max(0, high, low < 0 ? 0 : 1e-12)];
}

const flatten = (chart) => chart.series.flatMap((series, row) => series.values.map((value, index) => ({ value, index, row })));
const withUnit = (label, unit) => (label && unit ? `${label} (${unit})` : (label ?? unit));
