/** Predict, then move: the question before the controls, and afterwards how far off one was and why. */
import { call } from "../core/api.js";
import { fill, h, uniqueId } from "../core/dom.js";
import { readable, t } from "../core/strings.js";
import { niceStep, shownValue, sliderScale } from "./scale.js";

/**
 * @param {any} question  JSON of the prediction
 * @param {{path: string, kept: any, onOpen: () => void}} options  `kept`: an earlier judgement, if there is one
 * @returns {HTMLElement}
 */
export function predictionBox(question, { path, kept, onOpen }) {
  const box = h("div.predict");
  if (kept) judged(kept);
  else ask();
  return box;

  function ask() {
    const id = uniqueId("question");
    const problem = h("p.problem", { role: "alert", hidden: true });
    const skip = h("button.link", { type: "button", onclick: () => { box.remove(); onOpen(); } }, t("figure.skip"));
    box.className = "predict";
    fill(box, h("p.question", { id }, h("b", null, t("figure.predict")), question.question),
      h("div.answers", { role: "group", "aria-labelledby": id }, question.kind === "choice" ? choices() : guess(), skip), problem);

    async function send(answer) {
      for (const button of box.querySelectorAll("button, input")) button.disabled = true;
      try {
        judged(await call("POST", path, { answer }));
        onOpen();
      } catch (error) {
        for (const button of box.querySelectorAll("button, input")) button.disabled = false;
        problem.hidden = false;
        problem.textContent = t("figure.not-kept", { message: error.message });
      }
    }

    function choices() {
      return question.choices.map((label, index) => h("button.button.choice", { type: "button", onclick: () => send(index) }, label));
    }

    function guess() {
      const control = { low: question.low, high: question.high, step: question.step ?? niceStep(question.low, question.high), unit: question.unit, log: false, integer: false };
      const scale = sliderScale(control);
      const output = h("output");
      const input = /** @type {HTMLInputElement} */ (h("input", { type: "range", min: scale.min, max: scale.max, step: scale.step, "aria-labelledby": id }));
      const show = () => {
        const text = shownValue(control, Number(input.value));
        output.textContent = text;
        input.setAttribute("aria-valuetext", text);
        input.style.setProperty("--share", `${((Number(input.value) - scale.min) / (scale.max - scale.min)) * 100}%`);
      };
      input.value = String((question.low + question.high) / 2);
      input.addEventListener("input", show);
      show();
      return [h("span.guess", null, input, output), h("button.button.choice", { type: "button", onclick: () => send(Number(input.value)) }, t("figure.answer"))];
    }
  }

  function judged(judgement) {
    const { given } = judgement;
    box.className = `predict judged ${judgement.right ? "right" : "wrong"}`;
    const guess = question.kind === "choice" ? question.choices[given] : `${readable(given)}${question.unit ? ` ${question.unit}` : ""}`;
    fill(box,
      h("p.question", null, question.question),
      h("p.outcome", { role: "status" }, h("b", null, outcome(question, judgement)), " ", h("span.given", null, t("figure.your-guess", { guess }))),
      h("p.explain", null, judgement.explain),
      h("button.link", { type: "button", onclick: ask }, t("figure.again")));
  }
}

function outcome(question, judgement) {
  const answer = judgement.answer_text;
  if (question.kind === "choice") return judgement.right ? t("figure.right") : t("figure.wrong", { answer });
  const off = `${readable(Math.abs(judgement.off_by))}${question.unit ? ` ${question.unit}` : ""}`;
  if (Math.abs(judgement.off_by) < 1e-12) return t("figure.right");
  return t(judgement.right ? "figure.close" : "figure.off", { answer, off });
}
