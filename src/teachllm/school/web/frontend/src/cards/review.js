/** Reviewing: question, answer, one of four ratings with the interval it leads to. Space, 1–4 and u on the keyboard. */
import { call } from "../core/api.js";
import { fill, h, isTyping } from "../core/dom.js";
import { fromServer } from "../core/server-html.js";
import { duration, fromNow, t } from "../core/strings.js";
import { toast } from "../core/toast.js";
import { answerOf, proofAddress, speakingClock } from "./card.js";

const RATINGS = [1, 2, 3, 4];

/** The review page. @param {HTMLElement} element  the placeholder */
export function mount(element) {
  return reviewSession(element, { lesson: element.dataset.lesson ?? null, onChange: updateBadge, onEnd: null });
}

/** The number of due cards in the bar follows. */
function updateBadge(left) {
  for (const badge of document.querySelectorAll("[data-due-count]")) {
    badge.textContent = left ? String(left) : "";
    /** @type {HTMLElement} */ (badge).hidden = !left;
  }
}

/** A card that is forgotten again and again: reading the section anew helps more than asking once more. */
function tellLeech(card, times) {
  toast(t("cards.leech", { n: times }), { ms: 12000, link: card.lesson && card.proof ? { text: t("cards.reread"), href: proofAddress(card) } : undefined });
}

/**
 * @param {HTMLElement} box
 * @param {{lesson: string|null, onChange: (left: number) => void, onEnd: (() => void)|null}} options  `onEnd`: what a closed session gives way to
 */
export async function reviewSession(box, { lesson, onChange, onEnd }) {
  const where = lesson ? `?lesson=${encodeURIComponent(lesson)}` : "";
  let state = null;
  let revealed = false;
  let busy = false;
  let count = 0;

  document.addEventListener("keydown", onKey);
  await next();

  async function next() {
    try {
      state = await call("GET", `/api/review/next${where}`);
      revealed = false;
      show();
    } catch (error) {
      fill(box, h("div.problem", { role: "alert" }, h("span", null, error.message), h("button.button", { type: "button", onclick: next }, t("retry"))));
    }
  }

  function show() {
    onChange(state.left);
    if (!state.card) return showEnd();
    const { card } = state;
    const clock = speakingClock();
    const reveal = h("button.button.primary.reveal", { type: "button", onclick: open }, t("cards.reveal"));
    fill(box, h("article.card", { "aria-label": t("cards.question") },
      h("div.card-head", null,
        h("span", null, card.own ? `${t("cards.own")} ` : null, card.lesson_title ? h("a", { href: card.own ? `/lesson/${card.lesson}${card.proof}` : `/lesson/${card.lesson}#recall` }, `${card.lesson} ${card.lesson_title}`) : null),
        h("span", null, card.reviews === 0 ? h("span.new", null, t("cards.new")) : h("span.due", null, t("cards.due")), " · ", t("cards.left", { n: state.left }))),
      h("div.question", { tabindex: "-1" }, fromServer(card.question_html)),
      h("div.reveal-line", null, reveal, clock.element),
      h("div.answer-place", { "aria-live": "polite" })),
    h("p.keys", null, t("cards.keys"), h("span.sp"), h("button.link", { type: "button", onclick: () => setAside("buried") }, t("cards.bury")), h("button.link", { type: "button", onclick: () => setAside("suspended") }, t("cards.suspend")), h("button.link", { type: "button", onclick: undo }, t("undo")),
      onEnd ? h("button.link", { type: "button", onclick: end }, t("close")) : null));
    reveal.focus({ preventScroll: true });
    function open() {
      if (revealed) return;
      revealed = true;
      clock.stop();
      box.querySelector(".reveal-line").remove();
      fill(box.querySelector(".answer-place"), answerOf(card), ratings(state.intervals));
      /** @type {HTMLElement|null} */ (box.querySelector(".rating[data-rating='3']"))?.focus({ preventScroll: true });
    }
    return undefined;
  }

  function ratings(intervals) {
    return h("div.ratings", { role: "group", "aria-label": t("cards.how") }, h("p", null, t("cards.how")), h("div.rating-row", null, RATINGS.map((rating, index) =>
      h("button.button.rating", { type: "button", dataset: { rating: String(rating) }, onclick: () => rate(rating) },
        h("b", null, t(`cards.${rating}`)), h("small", null, duration(Math.max(60, intervals[index]))), h("kbd", { "aria-hidden": "true" }, String(rating))))));
  }

  async function rate(rating) {
    if (busy || !revealed) return;
    busy = true;
    try {
      const { leech } = await call("POST", `/api/review/${encodeURIComponent(state.card.id)}`, { rating, reviews: state.card.reviews });
      if (leech) tellLeech(state.card, leech);
      count += 1;
      await next();
    } catch (error) {
      toast(error.message, { tone: "bad" });
      if (error.status === 409) await next(); // answered in another window: this one goes on from there
    } finally {
      busy = false;
    }
  }

  async function setAside(wanted) {
    if (busy || !state?.card) return;
    busy = true;
    const { id } = state.card;
    try {
      await call("POST", `/api/cards/${encodeURIComponent(id)}/aside`, { state: wanted });
      toast(t(`cards.is-${wanted}`), { undo: async () => {
        await call("POST", `/api/cards/${encodeURIComponent(id)}/aside`, { state: "active" });
        await next();
      } });
      await next();
    } catch (error) {
      toast(error.message, { tone: "bad" });
    } finally {
      busy = false;
    }
  }

  async function undo() {
    if (busy) return;
    busy = true;
    try {
      const { card } = await call("POST", "/api/review/undo", {});
      if (card === null) toast(t("cards.nothing-to-undo"));
      else {
        count = Math.max(0, count - 1);
        toast(t("cards.undone"), { ms: 1800 });
        await next();
      }
    } catch (error) {
      toast(error.message, { tone: "bad" });
    } finally {
      busy = false;
    }
  }

  function showEnd() {
    if (onEnd && !count) return end();
    const due = state.next_due;
    fill(box, h("div.review-end", null, h("h2", null, t("cards.done")), count ? h("p", null, t("cards.done-count", { n: count })) : null,
      due ? h("p", null, t("cards.next-due", { when: fromNow(due) })) : null,
      h("p.keys", null, count ? h("button.link", { type: "button", onclick: undo }, t("undo")) : null, onEnd ? h("button.link", { type: "button", onclick: end }, t("close")) : null)));
    return undefined;
  }

  function end() {
    document.removeEventListener("keydown", onKey);
    fill(box);
    onEnd?.();
  }

  function onKey(event) {
    if (isTyping(event) || event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]") || !box.isConnected) return;
    if (event.key === " " && !revealed && state?.card) {
      event.preventDefault();
      /** @type {HTMLElement|null} */ (box.querySelector(".reveal"))?.click();
    } else if (revealed && "1234".includes(event.key)) {
      event.preventDefault();
      rate(Number(event.key));
    } else if ((event.key === "b" || event.key === "s") && state?.card) {
      event.preventDefault();
      setAside(event.key === "b" ? "buried" : "suspended");
    } else if (event.key === "u") {
      event.preventDefault();
      undo();
    }
  }
}
