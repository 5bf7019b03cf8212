/** A chart in words (for those who do not see it) and as a table (for those who want its numbers). */
import { readable, t } from "../core/strings.js";
import { extent } from "./plot.js";

/** Of a chart that is drawn. @param {any} chart @returns {string} */
export function summary(chart) {
  const words = describe(chart);
  return [chart.title, words, chart.note].filter(Boolean).join(" ");
}

function describe(chart) {
  switch (chart.kind) {
    case "bars": {
      const values = chart.series.flatMap((series) => series.values);
      const [min, max] = extent(values);
      const at = values.indexOf(max) % Math.max(1, chart.labels.length);
      return t("chart.bars", { n: chart.labels.length, max: readable(max), at: chart.labels[at] ?? "–", min: readable(min) });
    }
    case "lines": {
      const [x0, x1] = extent(chart.series.flatMap((series) => series.x));
      const [y0, y1] = extent(chart.series.flatMap((series) => series.y));
      const names = chart.series.map((series) => series.name ?? chart.y_label ?? chart.title).join(t("list.separator"));
      return t("chart.lines", { names, x0: readable(x0), x1: readable(x1), y0: readable(y0), y1: readable(y1) });
    }
    case "points":
      return t("chart.points", { n: chart.points.length });
    case "arrows":
      return t("chart.arrows", { n: chart.vectors.length });
    case "heatmap": {
      const [min, max] = extent(chart.values.flat());
      return t("chart.heatmap", { rows: chart.values.length, columns: chart.values[0]?.length ?? 0, min: readable(min), max: readable(max) });
    }
    default:
      throw new Error(`${chart.kind} is read as it stands`);
  }
}

/** @param {any} chart @returns {{columns: string[], rows: any[][]}|null} `null` for charts that are text already */
export function asTable(chart) {
  switch (chart.kind) {
    case "bars":
      return {
        columns: [chart.x_label ?? t("chart.name"), ...chart.series.map((series) => series.name ?? chart.y_label ?? t("chart.value"))],
        rows: chart.labels.map((label, index) => [label, ...chart.series.map((series) => series.values[index])]),
      };
    case "lines": {
      const xs = [...new Set(chart.series.flatMap((series) => series.x))].sort((one, other) => one - other);
      const columns = chart.series.map((series) => new Map(series.x.map((value, index) => [value, series.y[index]])));
      return { columns: [chart.x_label ?? t("chart.x"), ...chart.series.map((series) => series.name ?? chart.y_label ?? t("chart.value"))], rows: xs.map((value) => [value, ...columns.map((column) => column.get(value) ?? null)]) };
    }
    case "points":
    case "arrows": {
      const items = chart.points ?? chart.vectors;
      const grouped = items.some((item) => item.group !== null);
      return {
        columns: [t("chart.name"), ...(grouped ? [t("chart.group")] : []), chart.x_label ?? t("chart.x"), chart.y_label ?? t("chart.y")],
        rows: items.map((item) => [item.label, ...(grouped ? [item.group] : []), item.x, item.y]),
      };
    }
    case "heatmap":
      return {
        columns: [chart.y_label ?? t("chart.row"), ...(chart.values[0] ?? []).map((_, index) => chart.x_labels?.[index] ?? String(index))],
        rows: chart.values.map((row, index) => [chart.y_labels?.[index] ?? String(index), ...row]),
      };
    default:
      return null;
  }
}
