/** The last steps as charts: what each computed, and how long it took. */
import { t } from "../core/strings.js";

/**
 * @param {{step: number, prefill: number, decode: number, seconds: number, bookkeeping: number}[]} steps
 * @returns {{name: string, chart: any}[]}
 */
export function stepCharts(steps) {
  if (steps.length < 4) return []; // a line needs some points
  const x = steps.map(({ step }) => step);
  const chart = (name, title, series) => {
    const largest = Math.max(...series.flatMap(({ y }) => y));
    return { name, chart: { kind: "lines", title: t(title), x_label: t("engine.step"), y_label: null, x_log: false, y_log: false, y_range: [0, largest || 1], marks: [], note: null, series } };
  };
  const line = (name, value) => ({ name: t(name), x, y: steps.map(value) });
  return [
    chart("batch", "engine.batch", [line("engine.prefill", ({ prefill }) => prefill), line("engine.decode", ({ decode }) => decode)]),
    chart("time", "engine.time", [line("engine.whole", ({ seconds }) => 1000 * seconds), line("engine.bookkeeping", ({ bookkeeping }) => 1000 * bookkeeping)]),
  ];
}
