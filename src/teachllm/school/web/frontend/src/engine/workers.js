/** The processes of a disaggregated server, and the keys and values that went from one to another. */
import { fill, h } from "../core/dom.js";
import { readable, t } from "../core/strings.js";

const COLUMNS = ["engine.worker", "engine.jobs", "engine.queued", "engine.kept", "engine.held", "engine.last-step"];

/** Hidden for an engine that has no workers. */
export function workerTable() {
  const rows = h("tbody");
  const moved = h("p.block-words");
  const table = h("div.scroll", { tabindex: "0", role: "region", "aria-label": t("engine.workers") },
    h("table.data.engine-workers", null, h("thead", null, h("tr", null, COLUMNS.map((name) => h("th", { scope: "col" }, t(name))))), rows));
  const element = h("section", { hidden: true }, h("h2", null, t("engine.workers")), table, moved);
  return {
    element,
    /** @param {{workers?: any[], transfers?: any}} engine */
    show({ workers = [], transfers }) {
      element.hidden = !workers.length;
      if (!workers.length) return;
      fill(rows, workers.map((worker) => h("tr", null, cellsOf(worker).map((text) => h("td", null, text)))));
      moved.textContent = wordsOf(transfers);
    },
  };
}

/** @returns {string[]} */
export function cellsOf({ name, pid, is_alive: alive, n_jobs: jobs, queued_tokens: queued, n_kept: kept, n_owned: owned, n_blocks: blocks, steps }) {
  if (!alive) return [`${name} (${pid})`, t("engine.ended-process"), "–", "–", "–", "–"];
  const last = steps.at(-1);
  return [
    `${name} (${pid})`, readable(jobs), readable(queued), readable(kept), `${readable(owned)} / ${readable(blocks)}`,
    last ? t("engine.step-words", { prefill: readable(last.prefill), decode: readable(last.decode), ms: readable(Math.round(1000 * last.seconds)) }) : "–",
  ];
}

/** What was handed over until now. @param {any} transfers */
export function wordsOf(transfers) {
  if (!transfers?.n && !transfers?.n_failed) return t("engine.moved-none");
  const ms = (seconds) => (seconds === null ? "–" : readable(Math.round(1000 * seconds)));
  return t("engine.moved", {
    n: readable(transfers.n), tokens: readable(transfers.n_tokens), mb: readable(Math.round(transfers.n_bytes / 1e6)),
    half: ms(transfers.seconds_p50), most: ms(transfers.seconds_p95), failed: readable(transfers.n_failed),
  });
}
