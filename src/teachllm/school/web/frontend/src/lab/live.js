/** The lines of a running lab: uPlot, because it redraws a thousand points in a millisecond. */
import uPlot from "uplot";
import { h } from "../core/dom.js";
import { readable, t } from "../core/strings.js";

const HEIGHT = 190;
const DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3]];

/** @returns {{element: HTMLElement, add: (sample: any) => void, clear: () => void}} */
export function liveLines() {
  const host = h("div");
  const element = h("div.live", { hidden: true, role: "img" }, host);
  let names = [];
  let points = new Map();
  let labels = [null, null];
  let chart = null;
  let frame = 0;

  const redraw = () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); };
  new ResizeObserver(() => { if (chart && host.clientWidth && Math.abs(chart.width - host.clientWidth) > 1) chart.setSize({ width: host.clientWidth, height: HEIGHT }); }).observe(host);
  new MutationObserver(rebuild).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);

  function add({ name, x, y, x_label: xLabel, y_label: yLabel }) {
    if (!points.has(name)) {
      points.set(name, new Map());
      names = [...points.keys()];
      chart?.destroy();
      chart = null;
    }
    points.get(name).set(x, y);
    labels = [labels[0] ?? xLabel, labels[1] ?? yLabel];
    redraw();
  }

  function clear() {
    chart?.destroy();
    chart = null;
    names = [];
    points = new Map();
    labels = [null, null];
    element.hidden = true;
  }

  function rebuild() {
    if (!chart) return;
    chart.destroy();
    chart = null;
    redraw();
  }

  function draw() {
    if (!names.length) return;
    element.hidden = false;
    const xs = [...new Set(names.flatMap((name) => [...points.get(name).keys()]))].sort((one, other) => one - other);
    const data = [xs, ...names.map((name) => xs.map((x) => points.get(name).get(x)))];
    if (chart) chart.setData(data);
    else chart = new uPlot(options(), data, host);
    const last = names.map((name) => `${name} ${readable([...points.get(name).values()].at(-1))}`).join(t("list.separator"));
    element.setAttribute("aria-label", `${t("lab.live")}: ${last}`);
  }

  function options() {
    const style = getComputedStyle(element);
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = `11px ${colour("--sans") || "sans-serif"}`;
    /** Without a pointer the legend shows the last values. */
    const latest = (plot, value, index) => readable(value ?? plot.data[index].findLast((one) => one !== null && one !== undefined));
    const axis = (label, size) => ({
      stroke: colour("--faint"), font, labelFont: font, label: label ?? undefined, labelSize: 18, size, gap: 6,
      grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, values: (_, values) => values.map((value) => readable(value)),
    });
    return {
      width: host.clientWidth || 560,
      height: HEIGHT,
      padding: [10, 12, 0, 0],
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      legend: { show: true, live: true },
      scales: { x: { time: false } },
      axes: [axis(labels[0], 26), axis(labels[1], 52)],
      series: [
        { label: labels[0] ?? "x", value: latest },
        ...names.map((name, index) => ({
          label: name, stroke: colour(`--tone-${(index % 8) + 1}`), width: 1.75, dash: DASHES[index % 4], spanGaps: true, points: { show: false }, value: latest,
        })),
      ],
    };
  }

  return { element, add, clear };
}
