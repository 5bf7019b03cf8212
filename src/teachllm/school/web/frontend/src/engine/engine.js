/** An engine at work, followed while somebody looks. All its texts are text nodes: models and clients wrote some of them. */
import { chartView } from "../charts/chart.js";
import { call, stream, wasAborted } from "../core/api.js";
import { onReturn } from "../core/connection.js";
import { dataOf, fill, h } from "../core/dom.js";
import { readable, t } from "../core/strings.js";
import { blockMap } from "./block-map.js";
import { stepCharts } from "./steps.js";
import { Tones, textTable } from "./texts.js";
import { workerTable } from "./workers.js";

const OWN = "studio";

/** @param {HTMLElement} element  the placeholder */
export function mount(element) {
  const { sources, can_send: canSend } = dataOf(element);
  const tones = new Tones();
  let chosen = sources.find(({ id }) => id !== OWN)?.id ?? OWN;
  let following = null;

  const head = headView(sources, chosen, canSend, { choose, send, stop });
  const problem = h("p.problem", { role: "alert", hidden: true });
  const numbers = h("dl.metrics");
  const blocks = blockMap(tones);
  const texts = textTable(tones, blocks.point);
  const workers = workerTable();
  const charts = new Map();
  const grid = h("div.run-charts");
  const steps = h("section", { hidden: true }, h("h2", null, t("engine.steps")), grid);
  const samples = samplesView();
  const body = h("div", { hidden: true }, numbers, workers.element, blocks.element, texts.element, steps);
  fill(element, head.element, problem, body, samples.element);

  onReturn(() => begin());
  document.addEventListener("visibilitychange", () => (document.hidden ? following?.abort() : begin()));
  begin();

  async function begin() {
    following?.abort();
    const mine = following = new AbortController();
    try {
      for await (const event of stream("GET", `/api/engine/${encodeURIComponent(chosen)}/events`, undefined, { signal: mine.signal })) take(event);
    } catch (error) {
      fail(error);
    }
  }

  function take(event) {
    if (event.event === "view") show(event);
    else if (event.event === "samples") {
      samples.show(event.samples);
      head.sending(event.sending);
    } else if (event.event === "error") fail(event);
  }

  function show({ model, device, dtype, engine }) {
    problem.hidden = true;
    head.show({ about: [model, device, dtype].filter(Boolean).join(" · "), engine });
    body.hidden = engine === null;
    if (engine === null) return;
    fill(numbers, measures(engine).map(([label, value, unit]) => h("div", null, h("dt", null, label), h("dd", null, value, unit ? h("small", null, ` ${unit}`) : null))));
    blocks.show(engine);
    texts.show(engine.texts);
    workers.show(engine);
    const drawn = stepCharts(engine.steps);
    steps.hidden = !drawn.length;
    for (const { name, chart } of drawn) {
      if (charts.has(name)) charts.get(name).update(chart);
      else {
        charts.set(name, chartView(chart, "h3"));
        charts.get(name).element.dataset.chart = name;
        grid.append(charts.get(name).element);
      }
    }
  }

  function choose(id) {
    chosen = id;
    body.hidden = true;
    samples.show([]);
    head.choose(id);
    begin();
  }

  async function send() {
    if (chosen !== OWN) choose(OWN);
    await post("/api/engine/samples");
  }

  function stop() {
    return post("/api/engine/samples/stop");
  }

  async function post(address) {
    try {
      await call("POST", address, {});
    } catch (error) {
      fail(error);
    }
  }

  function fail(error) {
    if (error.name !== undefined && wasAborted(error)) return;
    problem.hidden = false;
    problem.textContent = error.message;
  }
}

/** Which engine, what it runs on, whether it works, and the buttons of the sample requests. */
function headView(sources, chosen, canSend, { choose, send, stop }) {
  const status = h("b", { role: "status" });
  const about = h("span");
  const sendButton = /** @type {HTMLButtonElement} */ (h("button.button.primary", { type: "button", hidden: !canSend, onclick: begin }, t("engine.send")));
  const stopButton = /** @type {HTMLButtonElement} */ (h("button.button", { type: "button", hidden: true, onclick: stop }, t("engine.stop")));
  const select = /** @type {HTMLSelectElement} */ (h("select", { onchange: () => choose(select.value) }, sources.map(({ id, title }) => h("option", { value: id, selected: id === chosen }, title))));
  const line = h("div.run-status", null, h("i", { "aria-hidden": "true" }), status, about, h("span.sp"), stopButton, sendButton);
  const chooser = h("label.control", null, h("span", null, t("engine.which")), select);

  async function begin() {
    sendButton.disabled = true;
    sendButton.textContent = t("engine.sending");
    await send();
    sendButton.disabled = false;
    sendButton.textContent = t("engine.send");
  }

  return {
    element: h("div.run-head.engine-head", null, sources.length > 1 ? chooser : null, line),
    choose(id) {
      select.value = id;
      stopButton.hidden = true;
      sendButton.hidden = !canSend;
    },
    sending(is) {
      stopButton.hidden = !is;
      sendButton.hidden = is || !canSend;
    },
    show({ about: words, engine }) {
      const working = engine !== null && engine.texts.length > 0;
      line.dataset.status = working ? "training" : engine ? "finished" : "none";
      const text = t(engine === null ? "engine.asleep" : working ? "engine.working" : "engine.idle");
      if (status.textContent !== text) status.textContent = text;
      about.textContent = words;
    },
  };
}

/** Name, value and unit. @returns {[string, string, string?][]} */
function measures(engine) {
  const count = (state) => engine.texts.filter((text) => (text.state === "running") === state).length;
  const { ttft_p50: ttft, ttft_p95: slowTtft, tpot_p50: tpot, tpot_p95: slowTpot } = engine.latencies;
  const milliseconds = (one, other) => (one === null ? "–" : `${readable(Math.round(one * 1000))} / ${readable(Math.round(other * 1000))}`);
  return [
    [t("engine.running"), readable(count(true))],
    [t("engine.waiting"), readable(count(false))],
    [t("engine.speed"), readable(Math.round(engine.tokens_per_second)), "token/s"],
    [t("engine.ttft"), milliseconds(ttft, slowTtft), "ms"],
    [t("engine.tpot"), milliseconds(tpot, slowTpot), "ms"],
    [t("engine.hits"), engine.prompt_tokens ? readable(Math.round((100 * engine.cached_tokens) / engine.prompt_tokens)) : "–", "%"],
    [t("engine.preemptions"), readable(engine.preemptions)],
    [t("engine.ended"), `${readable(engine.requests_finished)} / ${readable(engine.requests_cancelled)} / ${readable(engine.requests_failed)}`],
  ];
}

/** Questions and what is being written to each. */
function samplesView() {
  const list = h("ul.run-entries");
  const element = h("section.run-part", { hidden: true }, h("h2", null, t("engine.samples")), list);
  return {
    element,
    show(samples) {
      element.hidden = !samples.length;
      fill(list, samples.map(({ question, texts, state }) => h("li", null, h("small", null, t(`engine.sample.${state}`)),
        h("div", null, h("p.written", null, h("b", null, question)), texts.map((text) => h("p.written", null, text || "…"))))));
    },
  };
}
