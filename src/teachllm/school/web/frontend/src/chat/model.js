/** The chat model's file: is it here, and fetching it with a bar that tells how far it is. */
import { call, stream } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { size, t } from "../core/strings.js";

/** @param {HTMLElement} element  the placeholder */
export async function mount(element) {
  const status = await call("GET", "/api/model");
  show(element, status, () => {});
}

/**
 * @param {HTMLElement} element
 * @param {any} status  `{ready, title, bytes, message}`
 * @param {() => void} onReady
 */
export function show(element, status, onReady) {
  const line = h("p.model-line", null, h("b", null, status.title), " ", status.message);
  if (status.ready) {
    fill(element, line);
    return;
  }
  const bar = h("div.bar-fill");
  const track = h("div.bar-track", { role: "progressbar", "aria-label": status.title, "aria-valuemin": "0", "aria-valuemax": "100" }, bar);
  const words = h("span", { role: "status" });
  const progress = h("div.progress", { hidden: true }, track, h("div.bar-words", null, words));
  const problem = h("p.problem", { role: "alert", hidden: true });
  const button = h("button.button.primary", { type: "button", onclick: get }, t("model.fetch", { size: size(status.bytes) }));
  fill(element, line, button, progress, problem);

  async function get() {
    button.hidden = true;
    problem.hidden = true;
    progress.hidden = false;
    try {
      let finished = false;
      for await (const event of stream("POST", "/api/model/fetch", {})) {
        if (event.event === "error") throw new Error(event.message);
        if (event.event === "done") finished = true;
        if (event.event === "progress") advance(event);
      }
      if (!finished) throw new Error(t("offline.short"));
      const now = await call("GET", "/api/model");
      show(element, now, onReady);
      if (now.ready) onReady();
    } catch (error) {
      progress.hidden = true;
      button.hidden = false;
      problem.hidden = false;
      problem.textContent = t("model.failed", { message: error.message });
    }
  }

  function advance({ done, total }) {
    const share = total ? done / total : 0;
    bar.style.setProperty("width", `${share * 100}%`);
    track.setAttribute("aria-valuenow", String(Math.round(share * 100)));
    words.textContent = t("model.fetching", { done: size(done), total: size(total) });
  }
}
