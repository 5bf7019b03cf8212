/** One training run, followed while its files grow. All its texts are text nodes: a model or a data set wrote some of them. */
import { chartView } from "../charts/chart.js";
import { call, stream, wasAborted } from "../core/api.js";
import { onReturn } from "../core/connection.js";
import { dataOf, fill, h } from "../core/dom.js";
import { duration, readable, size, t } from "../core/strings.js";
import { chartsOf, replaced } from "./curves.js";

/** @param {HTMLElement} element  the placeholder */
export function mount(element) {
  const { name, others } = dataOf(element);
  const own = { name, curves: {} };
  let other = null;
  let state = null;
  let firstStatus = null;
  let following = false;

  const head = headView(stop);
  const numbers = h("dl.metrics");
  const results = h("div");
  const problem = h("p.problem", { role: "alert", hidden: true });
  const charts = chartGrid(overlayChooser(others, lay));
  const samples = listView("runs.samples", "runs.samples-none");
  const notes = listView("runs.notes", null);
  const checkpoints = listView("runs.checkpoints", "runs.checkpoints-none");
  fill(element, head.element, problem, numbers, results, charts.element, notes.element, samples.element, checkpoints.element);

  onReturn(begin);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && state && state.status !== "finished") begin(); // somebody may have resumed it
  });
  begin();

  async function begin() {
    if (following) return;
    following = true;
    try {
      for await (const event of stream("GET", address(name))) take(event);
    } catch (error) {
      fail(error);
    } finally {
      following = false;
    }
  }

  function take(event) {
    if (event.event === "curves") {
      keep(own, event.curves);
      draw();
    } else if (event.event === "samples") {
      samples.show(event.samples.map(({ step, prompt, text }) => [t("runs.at-step", { step: readable(step) }), h("p.written", null, h("b", null, prompt), text)]));
    } else if (event.event === "state") {
      show(event);
    } else if (event.event === "error") {
      fail(event);
    }
  }

  function show(fresh) {
    state = fresh;
    firstStatus ??= fresh.status;
    problem.hidden = true;
    // The report on the data is part of the page; it is there as soon as training begins.
    if (firstStatus === "preparing" && fresh.status !== "preparing") location.reload();
    head.show(fresh);
    fill(numbers, measures(fresh).map(([label, value, unit]) => h("div", null, h("dt", null, label), h("dd", null, value, unit ? h("small", null, ` ${unit}`) : null))));
    fill(results, comparison(fresh), tasks(fresh));
    notes.show(fresh.notes.map(({ step, text }) => [t("runs.at-step", { step: readable(step) }), text]));
    draw();
    checkpoints.show(fresh.checkpoints.map(({ step, folder }) => [t("runs.at-step", { step: readable(step) }), h("code", null, folder)]));
  }

  let frame = 0;
  /** At the next frame, once for all that has come; a page that nobody sees has no frames. */
  function draw() {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      charts.show(chartsOf(other ? [own, other] : [own], state?.notes.filter((note) => note.kind === "spike") ?? []));
    });
  }

  let laying = null;
  /** Lays another run over this one; an empty name takes it away. */
  async function lay(chosen) {
    laying?.abort();
    laying = null;
    other = chosen ? { name: chosen, curves: {} } : null;
    draw();
    if (!other) return;
    const mine = other;
    laying = new AbortController();
    try {
      for await (const event of stream("GET", address(chosen), undefined, { signal: laying.signal })) {
        if (event.event !== "curves") continue;
        keep(mine, event.curves);
        draw();
      }
    } catch (error) {
      fail(error);
    }
  }

  async function stop() {
    try {
      await call("POST", `/api/runs/${encodeURIComponent(name)}/stop`, {});
      return true;
    } catch (error) {
      fail(error);
      return false;
    }
  }

  function fail(error) {
    if (wasAborted(error)) return;
    problem.hidden = false;
    problem.textContent = error.message;
  }
}

const address = (name) => `/api/runs/${encodeURIComponent(name)}/events`;

function keep(run, curves) {
  for (const [name, news] of Object.entries(curves)) run.curves[name] = replaced(run.curves[name], news);
}

/** Status, progress, time left, what to type next, and the button that stops it. */
function headView(stop) {
  const status = h("b", { role: "status" });
  const steps = h("span");
  const left = h("span.left");
  const bar = /** @type {HTMLProgressElement} */ (h("progress", { max: "1", value: "0", "aria-label": t("runs.progress") }));
  const message = h("p.problem", { hidden: true });
  const button = /** @type {HTMLButtonElement} */ (h("button.button", { type: "button", hidden: true, onclick: ask }, t("runs.stop")));
  const commands = h("div.run-commands");
  const line = h("div.run-status", null, h("i", { "aria-hidden": "true" }), status, steps, left, h("span.sp"), button);
  let shownCommands = "";

  async function ask() {
    button.disabled = true;
    button.textContent = t("runs.stopping");
    if (!await stop()) reset();
  }

  function reset() {
    button.disabled = false;
    button.textContent = t("runs.stop");
  }

  return {
    element: h("div.run-head", null, line, bar, message, commands),
    show(state) {
      line.dataset.status = state.status;
      if (status.textContent !== state.status_text) status.textContent = state.status_text;
      steps.textContent = t("runs.steps", { step: readable(state.step), steps: readable(state.steps) });
      left.textContent = timeWords(state);
      [bar.max, bar.value] = [Math.max(1, state.steps), state.step];
      message.hidden = !state.message;
      message.textContent = state.message;
      if (button.hidden === state.stoppable) reset();
      button.hidden = !state.stoppable;
      if (shownCommands === String(state.commands)) return;
      shownCommands = String(state.commands);
      fill(commands, state.commands.map((command) => h("div.codebox", null,
        h("pre.highlight", { tabindex: "0" }, h("code", null, command)),
        h("button", { type: "button", dataset: { copy: "" } }, t("runs.copy")))));
    },
  };
}

function timeWords(state) {
  if (state.status === "training" && state.seconds_left !== null) return t("runs.left", { time: duration(state.seconds_left) });
  return state.seconds ? t("runs.took", { time: duration(state.seconds) }) : "";
}

/** Name, value and unit of the last measures. @returns {[string, string, string?][]} */
function measures({ last, held_out: heldOut }) {
  const shown = [];
  if (last.loss !== undefined) {
    const [memory, unit] = last.memory_bytes === null ? ["–", ""] : size(last.memory_bytes).split(" ");
    shown.push([t("runs.curve.loss"), readable(last.loss), "nat/token"], [t("runs.speed"), readable(last.tokens_per_second), "token/s"]);
    if (last.matmul_fraction !== null) shown.push([t("runs.peak"), readable(Math.round(last.matmul_fraction * 100)), "%"]);
    shown.push([t("runs.memory"), memory, unit], [t("runs.chart.learning_rate"), readable(last.learning_rate)], [t("runs.chart.gradient_norm"), readable(last.gradient_norm)]);
  }
  if (heldOut !== null) shown.splice(1, 0, [t("runs.held-out"), readable(heldOut), t("runs.bits")]);
  return /** @type {any} */ (shown);
}

function comparison({ comparison: rows }) {
  if (!rows.length) return null;
  const names = { bits_per_byte: t("runs.bits"), minutes: t("runs.minutes") };
  return [h("h2", null, t("runs.comparison")), tableOf(t("runs.comparison"), [t("runs.what"), t("runs.expected"), t("runs.found"), ""],
    rows.map((row) => [names[row.what] ?? row.what, row.expected, row.found, h("span", { class: row.fine ? "yes" : "no" }, t(row.fine ? "runs.fine" : "runs.not-fine"))]))];
}

function tasks({ tasks: rows }) {
  if (!rows.length) return null;
  const metrics = { accuracy: t("runs.accuracy"), bits_per_byte: t("runs.bits") };
  return [h("h2", null, t("runs.tasks")), tableOf(t("runs.tasks"), [t("runs.task"), t("runs.metric"), t("runs.value"), t("runs.items")],
    rows.map((row) => [row.task, metrics[row.metric] ?? row.metric, row.metric === "accuracy" && row.value !== null ? `${readable(row.value * 100)} %` : readable(row.value), readable(row.items)]))];
}

function tableOf(label, columns, rows) {
  return h("div.scroll", { tabindex: "0", role: "region", "aria-label": label }, h("table.data", null,
    h("thead", null, h("tr", null, columns.map((column) => h(column ? "th" : "td", { scope: column ? "col" : null }, column)))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map((cell) => h("td", null, cell)))))));
}

/** A heading over entries with a place before each; hidden without entries unless there is a text for that. */
function listView(title, none) {
  const list = h("ul.run-entries");
  const empty = none ? h("p.empty", null, t(none)) : null;
  const element = h("section.run-part", { hidden: !none }, h("h2", null, t(title)), empty, list);
  let shown = "";
  return {
    element,
    show(entries) {
      const texts = JSON.stringify(entries.map(([place, content]) => [place, content.textContent ?? content]));
      if (texts === shown) return;
      shown = texts;
      element.hidden = !none && !entries.length;
      if (empty) empty.hidden = entries.length > 0;
      fill(list, entries.map(([place, content]) => h("li", null, h("small", null, place), content)));
    },
  };
}

/** The charts, each in its place, below what chooses another run; those that stay are redrawn. */
function chartGrid(chooser) {
  const grid = h("div.run-charts");
  const element = h("section", { hidden: true }, h("h2", null, t("runs.curves")), chooser, grid);
  const views = new Map();
  return {
    element,
    show(charts) {
      element.hidden = !charts.length;
      for (const { name, chart } of charts) {
        if (views.has(name)) views.get(name).update(chart);
        else {
          const view = chartView(chart, "h3");
          view.element.dataset.chart = name;
          views.set(name, view);
          grid.append(view.element);
        }
      }
    },
  };
}

function overlayChooser(others, lay) {
  if (!others.length) return null;
  const select = /** @type {HTMLSelectElement} */ (h("select", { onchange: () => lay(select.value) },
    h("option", { value: "" }, t("runs.overlay-none")), others.map((name) => h("option", { value: name }, name))));
  return h("label.control.run-overlay", null, h("span", null, t("runs.overlay")), select);
}
