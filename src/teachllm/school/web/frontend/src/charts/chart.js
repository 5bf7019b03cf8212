/** One chart of a figure or lab: drawn at the width there is, redrawn when data or width change. */
import { fill, h, svg } from "../core/dom.js";
import { t } from "../core/strings.js";
import { drawBars } from "./bars.js";
import { drawHeatmap } from "./heatmap.js";
import { drawLines } from "./lines.js";
import { drawArrows, drawPoints } from "./points.js";
import { table, text, tokens } from "./strips.js";
import { asTable, summary } from "./summary.js";

const DRAWN = { bars: drawBars, lines: drawLines, points: drawPoints, arrows: drawArrows, heatmap: drawHeatmap };
const WRITTEN = { tokens, table, text };

/**
 * @param {any} chart  the JSON of a chart
 * @param {string} heading  the element of its title: in a lesson no heading, since it stands under any level
 * @returns {{element: HTMLElement, update: (chart: any) => void}}
 */
export function chartView(chart, heading = "p") {
  const title = h(`${heading}.chart-title`);
  const body = h("div.chart-body");
  const note = h("p.chart-note");
  const toggle = h("button.chart-toggle", { type: "button", "aria-pressed": "false" });
  const element = h("div.chart", null, title, body, h("div.chart-foot", null, note, toggle));
  let picture = null;
  let shown = chart;
  let showsTable = false;

  toggle.addEventListener("click", () => {
    showsTable = !showsTable;
    picture = null;
    render();
  });
  new ResizeObserver(([entry]) => {
    if (picture && Math.abs(entry.contentRect.width - Number(picture.getAttribute("width"))) >= 1) drawPicture();
  }).observe(body);

  function render() {
    element.dataset.kind = shown.kind;
    setText(title, shown.title);
    setText(note, shown.note);
    const data = asTable(shown);
    toggle.hidden = data === null;
    toggle.textContent = showsTable ? t("chart.as-chart") : t("chart.as-table");
    toggle.setAttribute("aria-pressed", String(showsTable));
    element.querySelector(":scope > .chart-foot").hidden = toggle.hidden && note.hidden;
    if (data && showsTable) table(body, { ...data, title: shown.title, highlight_row: null });
    else if (DRAWN[shown.kind]) drawPicture();
    else WRITTEN[shown.kind](body, shown);
  }

  function drawPicture() {
    if (!picture || picture.dataset.kind !== shown.kind || picture.parentNode !== body) {
      picture = svg("svg", { role: "img", "data-kind": shown.kind });
      fill(body, picture);
    }
    const width = Math.max(220, Math.floor(body.clientWidth) || 560);
    const height = Math.ceil(DRAWN[shown.kind](picture, shown, width));
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, "aria-label": summary(shown) })) {
      picture.setAttribute(name, String(value));
    }
  }

  function setText(target, value) {
    target.textContent = value ?? "";
    target.hidden = !value;
  }

  render();
  requestAnimationFrame(() => { if (picture) drawPicture(); });
  return { element, update(next) { shown = next; if (picture && picture.dataset.kind !== next.kind) picture = null; render(); } };
}

/**
 * The charts of one figure, kept in step with a list: those that stay are updated in place.
 * @param {HTMLElement} box
 */
export function chartList(box) {
  let views = [];
  return (charts) => {
    views = charts.map((chart, index) => {
      const view = views[index] ?? chartView(chart);
      if (views[index]) view.update(chart);
      return view;
    });
    if (box.children.length !== views.length || views.some((view, index) => box.children[index] !== view.element)) {
      box.replaceChildren(...views.map((view) => view.element));
    }
  };
}
