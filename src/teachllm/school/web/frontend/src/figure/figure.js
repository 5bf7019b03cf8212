/** A figure: asks first, then moves. Every redraw is computed by the studio with the stack's own code. */
import { chartList } from "../charts/chart.js";
import { call, wasAborted } from "../core/api.js";
import { dataOf, debounce, fill, h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { controlPanel } from "./controls.js";
import { predictionBox } from "./prediction.js";

const QUIET_MS = 40;

/** @param {HTMLElement} element  the placeholder */
export function mount(element) {
  const { lesson, name } = element.dataset;
  const spec = dataOf(element);
  const path = `/api/figure/${encodeURIComponent(lesson)}/${encodeURIComponent(name)}`;
  const charts = h("div.charts", { "aria-live": "off" });
  const drawCharts = chartList(charts);
  const state = h("span.state", { role: "status" });
  const problem = h("div.problem", { role: "alert", hidden: true });
  const reset = /** @type {HTMLButtonElement} */ (h("button.link", { type: "button", hidden: true, onclick: () => { panel.reset(); changed(); } }, t("figure.reset")));
  const panel = controlPanel(spec.controls, changed);
  const fieldset = /** @type {HTMLFieldSetElement} */ (h("fieldset.panel", { "aria-label": spec.title }, panel.element, reset));
  fieldset.hidden = !spec.controls.length;
  const inner = h("div.inner");

  let request = null;
  let moved = false;
  const ask = debounce(compute, QUIET_MS);

  function changed() {
    reset.hidden = panel.isDefault();
    moved = true;
    ask();
  }

  async function compute() {
    request?.abort();
    const mine = request = new AbortController();
    const slow = setTimeout(() => { state.textContent = t("figure.computing"); }, 300);
    element.setAttribute("aria-busy", "true");
    try {
      const answer = await call("POST", path, { args: panel.args() }, { signal: mine.signal });
      if (request !== mine) return;
      problem.hidden = true;
      drawCharts(answer.charts);
      if (moved) element.dispatchEvent(new CustomEvent("teachllm:progress", { bubbles: true }));
      moved = false;
    } catch (error) {
      if (wasAborted(error) || request !== mine) return;
      problem.hidden = false;
      fill(problem, h("span", null, t("figure.failed", { message: error.message })), h("button.button", { type: "button", onclick: compute }, t("retry")));
    } finally {
      clearTimeout(slow);
      if (request === mine) {
        state.textContent = "";
        element.removeAttribute("aria-busy");
      }
    }
  }

  const open = () => { fieldset.disabled = false; fieldset.removeAttribute("title"); element.classList.remove("locked"); };
  const question = spec.prediction
    ? predictionBox(spec.prediction, { path: `${path}/predict`, kept: spec.predicted, onOpen: open })
    : null;
  if (question && !spec.predicted) {
    fieldset.disabled = true;
    element.classList.add("locked");
    fieldset.title = t("figure.locked");
  }
  fill(inner, h("div.cap", null, h("b", null, spec.title), h("span", null, state, spec.computed_by ? t("figure.computed", { symbol: spec.computed_by }) : null)), question, fieldset, charts, problem);
  element.setAttribute("aria-label", spec.title);
  fill(element, inner);
  if (spec.initial) drawCharts(spec.initial.charts);
  else compute();
}
