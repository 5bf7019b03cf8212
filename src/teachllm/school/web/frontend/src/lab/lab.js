/** A lab: a longer run on real data, in a process of its own. Its events stream in; leaving the page stops it. */
import { chartView } from "../charts/chart.js";
import { call, stream, wasAborted } from "../core/api.js";
import { dataOf, fill, h } from "../core/dom.js";
import { duration, fromNow, readable, t } from "../core/strings.js";
import { controlPanel } from "../figure/controls.js";
import { liveLines } from "./live.js";

/** @param {HTMLElement} element  the placeholder */
export function mount(element) {
  const { lesson, name } = element.dataset;
  const spec = dataOf(element);
  const base = `/api/lab/${encodeURIComponent(lesson)}/${encodeURIComponent(name)}`;
  const panel = controlPanel(spec.controls, () => {});
  const fieldset = /** @type {HTMLFieldSetElement} */ (h("fieldset.panel", { "aria-label": spec.title }, panel.element));
  fieldset.hidden = !spec.controls.length;
  const results = resultsView();
  const status = h("span.state", { role: "status" });
  const problem = h("div.problem", { role: "alert", hidden: true });
  const run = h("button.button.primary", { type: "button", onclick: start }, t("lab.run"));
  const cancel = h("button.button", { type: "button", hidden: true, onclick: stop }, t("cancel"));
  const mine = mineSwitch(spec.mine, lesson);

  let controller = null;
  let runId = null;
  let cancelled = false;

  element.setAttribute("aria-label", spec.title);
  fill(element, h("div.cap", null, h("b", null, spec.title), h("span", null, t("lab.about", { time: duration(spec.seconds) }))),
    h("p.summary", null, spec.summary), fieldset,
    h("div.actions", null, run, cancel, mine.element, status), results.progress, problem, results.element);
  element.addEventListener("teachllm:mine", () => { mine.allow(true); mine.set(true); start(); });
  document.addEventListener("teachllm:draft", (event) => { if (event.detail.lesson === lesson) mine.allow(event.detail.passed); });
  restore();

  async function restore() {
    try {
      const last = await call("GET", `${base}/last`);
      if (controller || last === null) return;
      panel.set(last.args);
      results.clear();
      for (const event of last.events) results.take(event, true);
      results.progress.hidden = true;
      status.textContent = t(last.mine ? "lab.last-mine" : "lab.last", { when: fromNow(last.finished) });
      run.textContent = t("lab.again");
    } catch { /* nothing to restore; running still works */ }
  }

  async function start() {
    if (controller) return;
    controller = new AbortController();
    cancelled = false;
    let ended = false;
    running(true);
    try {
      ({ run: runId } = await call("POST", base, { args: panel.args(), mine: mine.wanted() }, { signal: controller.signal }));
      for await (const event of stream("GET", `/api/lab/run/${runId}/events`, undefined, { signal: controller.signal })) {
        ended ||= take(event);
      }
      if (!ended && !cancelled) fail(t("lab.cut"));
    } catch (error) {
      if (!wasAborted(error) && !cancelled) fail(error.message);
    } finally {
      if (cancelled) status.textContent = t("lab.cancelled");
      controller = null;
      runId = null;
      running(false);
    }
  }

  /** Returns whether this event ends the run. */
  function take(event) {
    if (event.event === "done") {
      status.textContent = t("lab.done", { time: duration(event.seconds) });
      element.dispatchEvent(new CustomEvent("teachllm:progress", { bubbles: true }));
      return true;
    }
    if (event.event === "cancelled") { cancelled = true; return true; }
    if (event.event === "error") { fail(event.message, event.traceback); return true; }
    if (event.event === "queued") { status.textContent = t("lab.queued", { n: event.position }); return false; }
    status.textContent = "";
    results.take(event);
    return false;
  }

  async function stop() {
    cancelled = true;
    status.textContent = t("lab.cancelled");
    if (runId !== null) call("POST", `/api/lab/run/${runId}/cancel`, {}).catch(() => {});
    controller?.abort();
  }

  function running(on) {
    fieldset.disabled = on;
    mine.lock(on);
    run.hidden = on;
    cancel.hidden = !on;
    run.textContent = t("lab.again");
    element.classList.toggle("running", on);
    results.progress.hidden = !on;
    if (!on) return;
    problem.hidden = true;
    status.textContent = t("lab.starting");
    results.clear();
    cancel.focus({ preventScroll: true });
  }

  function fail(message, details) {
    status.textContent = "";
    problem.hidden = false;
    fill(problem, h("span", null, t("lab.failed", { message })),
      details ? h("details", null, h("summary", null, t("lab.failed-why")), h("pre", { tabindex: "0" }, details)) : null);
  }
}

/** "Run it with my function": offered where the lab allows it; says when the function has not passed yet. */
function mineSwitch(symbol, lesson) {
  if (!symbol) return { element: null, wanted: () => false, set() {}, lock() {}, allow() {} };
  const input = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", role: "switch" }));
  const hint = h("small");
  const allow = (passed) => { hint.textContent = passed ? "" : t("lab.mine-not-passed"); };
  call("GET", `/api/exercise/${encodeURIComponent(lesson)}`).then(({ passed }) => allow(passed), () => {});
  return {
    element: h("label.control", { class: "is-toggle mine" }, input, h("span", null, t("lab.mine"), " ", hint)),
    wanted: () => input.checked,
    set(on) { input.checked = on; },
    lock(on) { input.disabled = on; },
    allow,
  };
}

/** Everything that a run shows, built up event by event (live, or from the kept events of the last run). */
export function resultsView() {
  const bar = h("div.bar-fill");
  const track = h("div.bar-track", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, bar);
  const note = h("span.note");
  const left = h("span.left");
  const progress = h("div.progress", { hidden: true }, track, h("div.bar-words", null, note, left));
  const metrics = h("dl.metrics");
  const said = h("ul.said-list");
  const live = liveLines();
  const charts = h("div.charts");
  const element = h("div.results", { hidden: true }, metrics, live.element, charts, said);
  const metricCells = new Map();
  const views = new Map();
  let began = 0;
  let firstDone = null;

  return {
    element,
    progress,
    clear() {
      metrics.replaceChildren();
      said.replaceChildren();
      charts.replaceChildren();
      live.clear();
      metricCells.clear();
      views.clear();
      began = performance.now();
      firstDone = null;
      note.textContent = left.textContent = "";
      bar.style.setProperty("width", "0%");
      track.removeAttribute("aria-valuenow");
      element.hidden = true;
    },
    take(event, restored = false) {
      if (!["progress", "done", "queued"].includes(event.event)) element.hidden = false;
      if (event.event === "progress") advance(event, restored);
      else if (event.event === "metric") measure(event);
      else if (event.event === "sample") live.add(event);
      else if (event.event === "say") said.append(h("li", null, event.text));
      else if (event.event === "show") show(event);
    },
  };

  function advance({ done, total, note: text }, restored) {
    if (restored) return;
    const share = total > 0 ? Math.min(1, done / total) : 0;
    bar.style.setProperty("width", `${share * 100}%`);
    track.setAttribute("aria-valuenow", String(Math.round(share * 100)));
    note.textContent = text ?? "";
    track.setAttribute("aria-label", text || t("lab.run"));
    left.textContent = timeLeft(share);
  }

  /** From the speed since the first progress, so that a slow start (imports) does not count. */
  function timeLeft(share) {
    const now = performance.now();
    if (firstDone === null) firstDone = { share, now };
    const gained = share - firstDone.share;
    if (gained < 0.04 || now - began < 1500 || share >= 1) return "";
    return t("lab.left", { time: duration(((now - firstDone.now) / 1000) * ((1 - share) / gained)) });
  }

  function measure({ name, value, unit }) {
    let cell = metricCells.get(name);
    if (!cell) {
      cell = h("dd");
      metricCells.set(name, cell);
      metrics.append(h("div", null, h("dt", null, name), cell));
    }
    fill(cell, readable(value), unit ? h("small", null, ` ${unit}`) : null);
  }

  function show({ name, chart }) {
    const view = views.get(name);
    if (view) return view.update(chart);
    const fresh = chartView(chart);
    views.set(name, fresh);
    charts.append(fresh.element);
    return undefined;
  }
}
