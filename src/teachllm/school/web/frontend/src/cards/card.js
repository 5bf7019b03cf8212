/** One card: the question, then the spoken answer, the follow-up and where it is shown. */
import { h } from "../core/dom.js";
import { fromServer } from "../core/server-html.js";
import { t } from "../core/strings.js";

/** @param {any} card @returns {HTMLElement} */
export function answerOf(card) {
  const followup = card.followup && followupOf(card);
  return h("div.answer", null, fromServer(card.answer_html), followup,
    card.lesson && card.proof ? h("p.proof", null, h("a", { href: proofAddress(card) }, t("cards.proof"))) : null);
}

function followupOf(card) {
  const reveal = h("button.link", { type: "button", "aria-expanded": "false" }, t("cards.followup-reveal"));
  const answer = h("div.followup-answer", { hidden: true }, fromServer(card.followup.answer_html));
  reveal.addEventListener("click", () => { answer.hidden = false; reveal.remove(); });
  return h("div.followup", null, h("b", null, t("cards.followup")), fromServer(card.followup.question_html), reveal, answer);
}

/** A section of the card's lesson, or where its code is shown. */
export const proofAddress = ({ lesson, proof }) => `/lesson/${lesson}${proof.startsWith("#") ? proof : "#code"}`;

/** "Say it aloud": a clock of 90 seconds; it only counts. */
export function speakingClock() {
  const LENGTH = 90;
  let timer = 0;
  const time = h("span.clock", { hidden: true, role: "timer" });
  const button = h("button.link", { type: "button", onclick: toggle }, t("cards.speak"));
  function stop() {
    clearInterval(timer);
    timer = 0;
    button.textContent = t("cards.speak");
  }
  function toggle() {
    if (timer) return stop();
    const began = performance.now();
    const show = () => {
      const seconds = Math.floor((performance.now() - began) / 1000);
      time.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
      time.classList.toggle("over", seconds > LENGTH);
    };
    time.hidden = false;
    button.textContent = t("cards.speak-stop");
    timer = setInterval(show, 250);
    show();
    return undefined;
  }
  return { element: h("span.speak", null, button, time), stop };
}
