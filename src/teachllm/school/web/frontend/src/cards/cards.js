/** The cards of a lesson: to read through, to take into the reviews, and to review those that are due. */
import { call } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { fromServer } from "../core/server-html.js";
import { fromNow, t } from "../core/strings.js";
import { toast } from "../core/toast.js";
import { answerOf } from "./card.js";
import { reviewSession } from "./review.js";

/** @param {HTMLElement} element  the placeholder */
export async function mount(element) {
  const lesson = element.dataset.lesson;
  const session = h("div.session");
  const list = h("ol.card-list");
  const actions = h("div.actions");
  fill(element, actions, session, list);
  let cards = [];
  await load();

  async function load() {
    const answer = await call("GET", `/api/cards/${encodeURIComponent(lesson)}`);
    cards = answer.cards;
    show(answer.learning);
  }

  function show(learning) {
    const due = cards.filter((card) => card.is_due).length;
    const review = h("button.button.primary", { type: "button", onclick: start }, t("cards.review-now", { n: due }));
    fill(actions, learning
      ? (due ? review : [h("span.state", null, t("cards.learning", { n: cards.length })), h("span.state", null, t("cards.none-due"))])
      : h("button.button.primary", { type: "button", onclick: learn }, t("cards.learn", { n: cards.length })));
    fill(list, cards.map(row));
  }

  async function learn() {
    try {
      await call("POST", `/api/cards/${encodeURIComponent(lesson)}/learn`, {});
      await load();
      element.dispatchEvent(new CustomEvent("teachllm:progress", { bubbles: true }));
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }

  function start() {
    list.hidden = actions.hidden = true;
    reviewSession(session, { lesson, onChange: () => element.dispatchEvent(new CustomEvent("teachllm:progress", { bubbles: true })), onEnd: async () => {
      list.hidden = actions.hidden = false;
      await load();
    } });
  }
}

function row(card) {
  const state = card.due ? (card.is_due ? h("span.due", null, t("cards.due")) : h("span.when", null, t("cards.due-at", { when: fromNow(card.due) }))) : null;
  const level = h("span.level", { role: "img", "aria-label": t("cards.level", { n: card.difficulty }) }, "●".repeat(card.difficulty) + "○".repeat(3 - card.difficulty));
  const details = h("details", null, h("summary", null, fromServer(card.question_html), h("span.card-state", null, level, state)));
  details.addEventListener("toggle", () => { if (/** @type {HTMLDetailsElement} */ (details).open && details.childElementCount === 1) details.append(answerOf(card)); });
  return h("li", { id: `card-${card.id}` }, details);
}
