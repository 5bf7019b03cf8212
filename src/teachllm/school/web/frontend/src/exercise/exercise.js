/** An exercise: the hole in the real code, its hints, its verdicts, and afterwards the stack's own version beside it. */
import { call } from "../core/api.js";
import { fill, h, withCode } from "../core/dom.js";
import { fromServer } from "../core/server-html.js";
import { duration, fromNow, t } from "../core/strings.js";
import { toast } from "../core/toast.js";
import { draftKeeper } from "./draft.js";
import { editor } from "./editor.js";
import { verdictPanel } from "./verdict.js";

/** @param {HTMLElement} element  the placeholder */
export async function mount(element) {
  const lesson = element.dataset.lesson;
  const path = `/api/exercise/${encodeURIComponent(lesson)}`;
  const exercise = await call("GET", path);

  const host = h("div.editor-host");
  const saved = h("span.state.saved", { role: "status" }, t("exercise.draft-clean"));
  const drafts = draftKeeper(lesson, saved);
  const verdictBox = h("div.verdict-box", { "aria-live": "polite" });
  const running = h("span.state", { role: "status" });
  const submitButton = h("button.button.primary", { type: "button", onclick: submit, title: "⌘/Ctrl ↵" }, t("exercise.submit"));
  const cancelButton = h("button.button", { type: "button", hidden: true, onclick: cancel }, t("cancel"));
  const hints = hintList(path, exercise.hints_count);
  const after = h("div.after");
  const past = h("div.past");
  const badge = h("span.badge", { hidden: !exercise.passed }, t("exercise.passed-before"));
  let busy = false;
  let submissions = exercise.submissions;

  fill(element,
    h("div.cap", null, h("b", null, t("exercise.title", { lesson }), ` · ${exercise.title}`), h("span", null, badge, h("code", null, exercise.symbol.split(":").at(-1)))),
    h("div.task", null, fromServer(exercise.task_html)),
    host,
    h("div.actions", null, submitButton, cancelButton, hints.button,
      h("button.link", { type: "button", onclick: () => document.dispatchEvent(new CustomEvent("teachllm:ask", { detail: { exercise: true } })) }, t("tutor.from-exercise")),
      h("button.link", { type: "button", onclick: reset }, t("exercise.reset")), running, h("span.sp"), saved),
    hints.element, verdictBox, after, past);
  element.setAttribute("aria-label", t("exercise.title", { lesson }));

  const unsent = drafts.unsent();
  const code = editor(host, {
    source: unsent ?? exercise.draft ?? exercise.stub,
    label: t("exercise.editor", { lesson }),
    onChange: (source) => drafts.changed(source),
    onSubmit: submit,
  });
  host.title = t("exercise.escape");
  if (unsent !== null) drafts.changed(unsent);
  else if (exercise.draft !== null) drafts.say("exercise.draft-saved");
  if (exercise.passed) showAfter();
  showPast();

  async function submit() {
    if (busy) return;
    busy = true;
    submitButton.hidden = true;
    cancelButton.hidden = false;
    code.mark(null);
    const began = performance.now();
    const clock = setInterval(() => { running.textContent = `${t("exercise.checking")} ${duration(Math.round((performance.now() - began) / 100) / 10)}`; }, 100);
    running.textContent = t("exercise.checking");
    const source = code.source();
    try {
      drafts.now();
      const verdict = await call("POST", `${path}/submit`, { source });
      fill(verdictBox, verdictPanel(verdict, { goTo: code.goTo }));
      if (verdict.line && !verdict.passed) code.mark(verdict.line);
      submissions = [{ source, verdict, created: new Date().toISOString() }, ...submissions];
      showPast();
      if (verdict.passed) passed();
    } catch (error) {
      fill(verdictBox, h("div.problem", { role: "alert" }, h("span", null, error.message), h("button.button", { type: "button", onclick: submit }, t("retry"))));
    } finally {
      clearInterval(clock);
      running.textContent = "";
      busy = false;
      submitButton.hidden = false;
      cancelButton.hidden = true;
    }
  }

  function cancel() {
    call("POST", `${path}/cancel`, {}).catch((error) => toast(error.message, { tone: "bad" }));
  }

  function passed() {
    badge.hidden = false;
    exercise.passed = true;
    showAfter();
    document.dispatchEvent(new CustomEvent("teachllm:draft", { detail: { lesson, passed: true } }));
    element.dispatchEvent(new CustomEvent("teachllm:progress", { bubbles: true }));
  }

  async function reset() {
    const before = code.source();
    code.set(exercise.stub);
    code.mark(null);
    fill(verdictBox);
    toast(t("exercise.reset-done"), { undo: () => code.set(before), ms: 10000 });
  }

  function showAfter() {
    if (after.childElementCount) return;
    const place = h("div");
    const compare = h("button.button", { type: "button", "aria-expanded": "false", onclick: toggle }, t("exercise.compare"));
    async function toggle() {
      if (place.childElementCount) {
        fill(place);
        compare.textContent = t("exercise.compare");
        return compare.setAttribute("aria-expanded", "false");
      }
      try {
        const [solution, { comparison }] = await Promise.all([call("GET", `${path}/solution`), import("./compare.js")]);
        fill(place, comparison(code.source(), solution.source));
        compare.textContent = t("exercise.compare-hide");
        compare.setAttribute("aria-expanded", "true");
      } catch (error) {
        fill(place, h("p.problem", { role: "alert" }, error.message));
      }
      return undefined;
    }
    const lab = exercise.try_it ? document.querySelector(`[data-island="lab"][data-lesson="${CSS.escape(lesson)}"][data-name="${CSS.escape(exercise.try_it)}"]`) : null;
    const tryIt = lab ? h("button.button", { type: "button", onclick: () => runWithMine(lab) }, t("exercise.run-with-mine")) : null;
    fill(after, h("div.actions", null, compare, tryIt), place);
  }

  function showPast() {
    if (!submissions.length) return;
    const open = past.querySelector("details")?.open ?? false;
    fill(past, h("details", { open }, h("summary", null, t("exercise.history", { n: submissions.length })),
      h("ol", null, submissions.slice(0, 30).map((submission) => h("li", null,
        h("span", { class: submission.verdict.passed ? "good" : "bad" }, t(`exercise.status.${submission.verdict.status}`)),
        h("span.why", null, withCode(submission.verdict.diagnosis ?? "")),
        h("time", null, fromNow(submission.created)),
        h("button.link", { type: "button", onclick: () => putBack(submission.source) }, t("exercise.history-load")))))));
  }

  function putBack(source) {
    const before = code.source();
    code.set(source);
    code.focus();
    toast(t("exercise.history-loaded"), { undo: () => code.set(before) });
  }
}

/** One at a time: the next is asked for only when the learner wants it. */
function hintList(path, count) {
  const list = h("ol.hints", { hidden: true });
  const button = h("button.link", { type: "button", hidden: count === 0, onclick: next }, t("exercise.hint-next"));
  let shown = 0;
  async function next() {
    try {
      const hint = await call("GET", `${path}/hint/${shown}`);
      shown += 1;
      list.hidden = false;
      list.append(h("li", null, h("b", null, t("exercise.hint", { n: shown, count })), fromServer(hint.html)));
      button.textContent = t("exercise.hint-more");
      button.hidden = shown >= count;
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }
  return { element: list, button };
}

/** Goes to the lab, waits until it lives, and starts it with the learner's function. */
function runWithMine(lab) {
  lab.scrollIntoView({ block: "start" });
  const go = () => lab.dispatchEvent(new CustomEvent("teachllm:mine"));
  if ("alive" in lab.dataset) return go();
  const observer = new MutationObserver(() => { if ("alive" in lab.dataset) { observer.disconnect(); go(); } });
  observer.observe(lab, { attributes: true, attributeFilter: ["data-alive"] });
  return undefined;
}
