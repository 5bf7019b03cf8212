/** After the last question: each answer beside the points it should have made. A tick is saved as it is set. */
import { call } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { fromServer } from "../core/server-html.js";
import { t } from "../core/strings.js";

/**
 * @param {HTMLElement} box
 * @param {any} held  `GET /api/interviews/…`, all of its questions answered
 */
export function judge(box, held) {
  const sheets = held.questions.map((one) => sheet(held, one));
  const state = h("span.state", { role: "status" });
  const finish = /** @type {HTMLButtonElement} */ (h("button.button.primary", { type: "button", onclick: end }, t("interview.finish")));
  fill(box, h("p.lead", { tabindex: "-1" }, t("interview.judge")), sheets.map((one) => one.element), h("p.actions", null, finish, state));
  scrollTo({ top: 0 });
  /** @type {HTMLElement} */ (box.querySelector(".lead")).focus({ preventScroll: true });

  async function end() {
    finish.disabled = true;
    try {
      // Nothing ticked is a verdict too.
      for (const one of sheets) await one.settle();
      await call("POST", `/api/interviews/${held.id}/finish`, {});
      location.reload();
    } catch (error) {
      state.textContent = error.message;
      finish.disabled = false;
    }
  }
}

function sheet(held, one) {
  const path = `/api/interviews/${held.id}/verdicts/${one.place}`;
  const state = h("span.state", { role: "status" });
  // The points of the other language are others: a verdict on those is judged again.
  const fits = one.said?.every((part, index) => part.length === one.rubric[index].length) ?? false;
  let settled = fits;
  let last = Promise.resolve();
  const [points, followup] = one.rubric.map((part, index) => part.map((html, n) => point(html, fits && one.said[index][n], keep)));
  const byModel = /** @type {HTMLButtonElement|null} */ (held.model && one.question_html ? h("button.button", { type: "button", onclick: ask }, t("interview.by-model")) : null);

  const element = h("section.asked", null,
    h("h2", null, t("interview.at", { n: one.place + 1, all: held.questions.length })),
    h("div.question", null, one.question_html ? fromServer(one.question_html) : t("interview.gone")),
    h("p.typed", null, one.answer.trim() || t("interview.nothing")),
    group(t("interview.points"), points),
    followup.length ? [h("h3", null, t("interview.followup")), h("div.prose", null, fromServer(one.followup_html ?? "")), h("p.typed", null, one.followup.trim() || t("interview.nothing")), group(t("interview.followup-points"), followup)] : null,
    h("p.actions", null, byModel, state));

  const said = () => ({ points: points.map((each) => each.box.checked), followup: followup.map((each) => each.box.checked) });

  /** One after the other, so that the last tick is what stands. */
  function keep() {
    settled = true;
    last = last.then(() => call("PUT", path, said())).then(() => { state.textContent = t("interview.saved"); }, (error) => {
      settled = false;
      state.textContent = error.message;
    });
  }

  async function settle() {
    await last;
    if (!settled) await call("PUT", path, said());
    settled = true;
  }

  async function ask() {
    byModel.disabled = true;
    state.textContent = t("interview.judging");
    try {
      await last;
      const verdict = await call("POST", `${path}/model`, {});
      points.forEach((each, n) => each.show(verdict.points[n]));
      followup.forEach((each, n) => each.show(verdict.followup[n]));
      settled = true;
      state.textContent = "";
    } catch (error) {
      state.textContent = error.message;
    }
    byModel.disabled = false;
  }
  return { element, settle };
}

function group(name, points) {
  return points.length ? h("fieldset.points", null, h("legend", null, name), points.map((each) => each.element)) : null;
}

/** One point with its box; `show` takes a verdict of the model. */
function point(html, isSaid, onChange) {
  const box = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", onchange: onChange }));
  box.checked = isSaid;
  const quote = h("q", { hidden: true });
  return {
    box,
    element: h("label", null, box, h("div", null, fromServer(html), quote)),
    show(verdict) {
      box.checked = verdict.said;
      quote.textContent = verdict.quote;
      quote.hidden = !verdict.quote;
    },
  };
}
