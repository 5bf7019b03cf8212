/** One question with its clock: the answer, then the follow-up. All that is typed is saved as it is typed. */
import { debounce, fill, h, uniqueId } from "../core/dom.js";
import { fromServer } from "../core/server-html.js";
import { t } from "../core/strings.js";
import { save } from "../core/unsaved.js";
import { voiceButton } from "./voice.js";

const SAVE_AFTER_MS = 400;
const SAVE_TIME_EVERY_MS = 10_000;
/** A computer that sleeps does not think: a longer gap of the clock is no time of the answer. */
const ASLEEP_MS = 60_000;

/**
 * @param {HTMLElement} box
 * @param {any} held  `GET /api/interviews/…`
 * @param {any} one  the question of it that is open
 * @param {() => void} goOn  asks the studio where the interview stands now
 */
export function ask(box, held, one, goOn) {
  const key = `interview.${held.id}.${one.place}`;
  const path = `/api/interviews/${held.id}/answers/${one.place}`;
  const typed = { answer: one.answer, followup: one.followup, seconds: one.seconds, followup_seconds: one.followup_seconds, stage: one.stage };
  const isFollowup = typed.stage === "followup";
  const field = isFollowup ? "followup" : "answer";
  const time = isFollowup ? "followup_seconds" : "seconds";
  const isLast = one.place === held.questions.length - 1;
  let spent = typed[time];
  let last = performance.now();
  let isOver = false;
  let isChanged = false;

  const state = h("span.state", { role: "status" });
  const clock = h("span.clock", { role: "timer" });
  const late = h("span.over", { hidden: true }, t("interview.over-time"));
  const name = uniqueId("interview");
  const text = /** @type {HTMLTextAreaElement} */ (h("textarea.field", { id: name, rows: "9", maxlength: "20000" }));
  text.value = typed[field];
  const voice = voiceButton(text);
  const done = /** @type {HTMLButtonElement} */ (h("button.button.primary", { type: "button", onclick: go },
    t(!isFollowup ? "interview.done-answer" : isLast ? "interview.last" : "interview.next")));

  fill(box,
    h("p.where", null, h("span", null, t("interview.at", { n: one.place + 1, all: held.questions.length })), one.difficulty ? h("span", null, t(`interview.level.${one.difficulty}`)) : null, h("span.sp"), late, clock),
    h("div.question", null, one.question_html ? fromServer(one.question_html) : t("interview.gone")),
    isFollowup ? [h("p.typed", null, typed.answer.trim() || t("interview.nothing")), h("h2", null, t("interview.followup")), h("div.question", null, fromServer(one.followup_html ?? ""))] : null,
    h("label", { for: name }, t(isFollowup ? "interview.followup-answer" : "interview.answer")), text,
    h("p.actions", null, done, voice.element, state),
    h("p.keys", null, t("interview.keys")));
  text.focus({ preventScroll: true });
  text.setSelectionRange(text.value.length, text.value.length);
  text.addEventListener("input", () => {
    state.textContent = "";
    isChanged = true;
    later();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    go();
  });

  const later = debounce(keep, SAVE_AFTER_MS);
  const ticking = setInterval(tick, 250);
  // A window that nobody looks at must not write its old words over those of another.
  const saving = setInterval(() => { if (document.hasFocus()) keep(); }, SAVE_TIME_EVERY_MS);
  const leave = () => { if (isChanged) keep(); };
  addEventListener("pagehide", leave);
  tick();

  function tick() {
    const now = performance.now();
    if (now - last < ASLEEP_MS) spent += (now - last) / 1000;
    last = now;
    const seconds = Math.floor(spent);
    clock.textContent = isFollowup ? minutes(seconds) : `${minutes(seconds)} / ${minutes(held.seconds)}`;
    late.hidden = isFollowup || seconds <= held.seconds;
    clock.classList.toggle("over", !late.hidden);
  }

  const request = (stage) => ({ method: "PUT", path, body: { ...typed, [field]: text.value, [time]: spent, stage } });

  async function keep() {
    if (isOver) return;
    isChanged = false;
    try {
      if (await save(key, request(typed.stage)) === "saved") state.textContent = t("interview.saved");
    } catch (error) {
      state.textContent = error.message;
    }
  }

  async function go() {
    if (isOver) return;
    isOver = true;
    done.disabled = true;
    later.cancel();
    try {
      if (await save(key, request(isFollowup ? "answered" : "followup")) === "saved") {
        clearInterval(ticking);
        clearInterval(saving);
        removeEventListener("pagehide", leave);
        voice.stop();
        goOn();
        return;
      }
      state.textContent = t("offline.short");
    } catch (error) {
      state.textContent = error.message;
    }
    isOver = false;
    done.disabled = false;
  }
}

const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
