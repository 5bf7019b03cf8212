/** The curves of a run as they come from the studio, and the charts that they make, one run beside another or not. */
import { t } from "../core/strings.js";

const MOST_MARKS = 8;

/**
 * What each chart shows: curves of the studio, and what their values are divided by for the unit that its title names.
 * fromZero: a learning rate that has hardly fallen yet shall look like that.
 */
const CHARTS = [
  { name: "loss", curves: ["loss", "held_out_loss"], unit: 1 },
  { name: "learning_rate", curves: ["learning_rate"], unit: 1, fromZero: true },
  { name: "gradient_norm", curves: ["gradient_norm"], unit: 1 },
  { name: "tokens_per_second", curves: ["tokens_per_second"], unit: 1 },
  { name: "matmul_fraction", curves: ["matmul_fraction"], unit: 0.01 },
  { name: "memory_bytes", curves: ["memory_bytes"], unit: 1e6 },
];

/**
 * New points take the place of all from step `from` on.
 * @param {{x: number[], y: number[]}|undefined} known
 * @param {{from: number, x: number[], y: number[]}} news
 */
export function replaced(known, { from, x, y }) {
  if (!known) return { x, y };
  const first = known.x.findIndex((step) => step >= from);
  const kept = first < 0 ? known.x.length : first;
  return { x: [...known.x.slice(0, kept), ...x], y: [...known.y.slice(0, kept), ...y] };
}

/**
 * The charts that have something to show.
 * @param {{name: string, curves: Record<string, {x: number[], y: number[]}>}[]} runs  the first is the page's own
 * @param {{step: number|null}[]} spikes  steps that are marked in the chart of the loss
 * @returns {{name: string, chart: any}[]}
 */
export function chartsOf(runs, spikes) {
  return CHARTS.map(({ name, curves, unit, fromZero }) => {
    const series = runs.flatMap((run) => curves.filter((curve) => run.curves[curve]?.x.length).map((curve) => ({
      name: seriesName(curve, run.name, curves.length > 1, runs.length > 1),
      x: run.curves[curve].x,
      y: run.curves[curve].y.map((value) => value / unit),
    })));
    // Spikes often stand close to each other: only the newest is named.
    const marks = name === "loss" ? spikes.slice(0, MOST_MARKS).map(({ step }, index) => ({ x: step, label: index ? "" : t("runs.spike") })) : [];
    return { name, chart: { kind: "lines", title: t(`runs.chart.${name}`), x_label: t("runs.step"), y_label: null, x_log: false, y_log: false, y_range: fromZero ? [0, largest(series) || 1] : null, marks, note: null, series } };
  }).filter(({ chart }) => chart.series.length);
}

const largest = (series) => series.reduce((most, { y }) => y.reduce((one, other) => Math.max(one, other), most), 0);

/** A curve that is alone in its chart needs no name: the title says what it is. */
function seriesName(curve, run, amongCurves, amongRuns) {
  const what = amongCurves ? t(`runs.curve.${curve}`) : null;
  return [what, amongRuns ? run : null].filter(Boolean).join(" · ") || null;
}
