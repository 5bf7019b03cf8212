/** A scatter of points, and arrows from the origin on equal axes. */
import { scaleLinear } from "d3-scale";
import { svg } from "../core/dom.js";
import { attributes, axes, axisWidth, clip, extent, join, layer, legend, place, tone } from "./plot.js";

/** @param {SVGElement} root @param {any} chart @param {number} width @returns {number} the height */
export function drawPoints(root, chart, width) {
  for (const name of ["grid", "axis", "marks", "names", "legend"]) layer(root, name);
  const groups = [...new Set(chart.points.map((point) => point.group).filter((group) => group !== null))];
  const top = legend(root, groups, { left: 0, right: width, top: 12, shape: "square" }) + (chart.y_label ? 30 : 12);
  const bottom = top + Math.min(300, Math.max(200, width * 0.5));
  const y = scaleLinear(padded(chart.points.map((point) => point.y)), [bottom - 6, top + 6]);
  const left = axisWidth(y, 5);
  const x = scaleLinear(padded(chart.points.map((point) => point.x)), [left + 8, width - 12]);
  axes(root, { left, right: width, top, bottom, x, y, xLabel: chart.x_label, yLabel: chart.y_label });
  const shown = chart.points.filter((point) => point.x !== null && point.y !== null);
  join(layer(root, "marks"), "circle", shown, (circle, point) => {
    place(circle, { cx: x(point.x), cy: y(point.y), r: shown.length > 60 ? 3 : 4.5 });
    circle.style.setProperty("fill", tone(Math.max(0, groups.indexOf(point.group))));
  });
  const labelled = shown.filter((point) => point.label).slice(0, 60);
  join(layer(root, "names"), "text", labelled, (text, point) => {
    const flips = x(point.x) > width * 0.8;
    attributes(text, { x: x(point.x) + (flips ? -8 : 8), y: y(point.y) + 4, "text-anchor": flips ? "end" : "start", class: "name" });
    text.textContent = clip(point.label, width * 0.4);
  });
  return bottom + (chart.x_label ? 46 : 28);
}

/** @param {SVGElement} root @param {any} chart @param {number} width @returns {number} the height */
export function drawArrows(root, chart, width) {
  for (const name of ["grid", "circle", "marks", "names", "legend"]) layer(root, name);
  const groups = [...new Set(chart.vectors.map((vector) => vector.group).filter((group) => group !== null))];
  const top = legend(root, groups, { left: 0, right: width, top: 12 }) + 8;
  const side = Math.min(width, 340);
  const lengths = chart.vectors.map((vector) => Math.hypot(vector.x ?? 0, vector.y ?? 0));
  const reach = Math.max(chart.radius ?? 0, ...lengths, 1e-9) * 1.22;
  const centre = [width / 2, top + side / 2];
  const at = (vector) => [centre[0] + (vector.x / reach) * (side / 2), centre[1] - (vector.y / reach) * (side / 2)];
  join(layer(root, "grid"), "line", [[-1, 0, 1, 0], [0, -1, 0, 1]], (line, [x1, y1, x2, y2]) => {
    attributes(line, { x1: centre[0] + (x1 * side) / 2, x2: centre[0] + (x2 * side) / 2, y1: centre[1] + (y1 * side) / 2, y2: centre[1] + (y2 * side) / 2, class: "hair" });
  });
  join(layer(root, "circle"), "circle", chart.radius ? [chart.radius] : [], (circle, radius) => {
    attributes(circle, { cx: centre[0], cy: centre[1], r: (radius / reach) * (side / 2), class: "orbit" });
  });
  const vectors = chart.vectors.filter((vector) => vector.x !== null && vector.y !== null);
  join(layer(root, "marks"), "g", vectors, (group, vector) => {
    if (!group.firstChild) group.append(svg("path.series"), svg("path.head"));
    const [shaft, head] = group.children;
    const [x, y] = at(vector);
    const angle = Math.atan2(y - centre[1], x - centre[0]);
    const back = (spread) => `${x - 10 * Math.cos(angle + spread)},${y - 10 * Math.sin(angle + spread)}`;
    const colour = tone(Math.max(0, groups.indexOf(vector.group)));
    attributes(shaft, { d: `M${centre[0]},${centre[1]}L${x - 7 * Math.cos(angle)},${y - 7 * Math.sin(angle)}` });
    attributes(head, { d: `M${x},${y}L${back(0.38)}L${back(-0.38)}Z` });
    shaft.style.setProperty("stroke", colour);
    head.style.setProperty("fill", colour);
  });
  join(layer(root, "names"), "text", vectors.filter((vector) => vector.label), (text, vector) => {
    const [x, y] = at(vector);
    const [dx, dy] = [x - centre[0], y - centre[1]];
    const far = Math.hypot(dx, dy) || 1;
    attributes(text, { x: x + (dx / far) * 10, y: y + (dy / far) * 12 + 4, "text-anchor": dx / far > 0.35 ? "start" : dx / far < -0.35 ? "end" : "middle", class: "name strong" });
    text.textContent = vector.label;
  });
  return top + side + 8;
}

function padded(values) {
  const [low, high] = extent(values);
  const room = (high - low || 1) * 0.06;
  return [low - room, high + room];
}
