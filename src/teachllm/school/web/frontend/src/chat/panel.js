/** The tutor beside a lesson: it knows the section, the selection and the exercise, and keeps one conversation a lesson. */
import { call } from "../core/api.js";
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { conversation } from "./conversation.js";

/**
 * @param {string} lesson
 * @param {() => string|null} place  the anchor of the section that one is in
 */
export function enableTutor(lesson, place) {
  const context = () => (place() ? `${lesson}#${place()}` : lesson);
  let panel = null;
  let talk = null;
  let from = null;

  const button = h("button.button.tutor-open", { type: "button", "aria-expanded": "false", onclick: () => open() }, t("tutor.open"), h("kbd", { "aria-hidden": "true" }, "a"));
  document.body.append(button);
  document.addEventListener("teachllm:ask", (event) => open(/** @type {CustomEvent} */ (event).detail));
  document.addEventListener("click", (event) => {
    const link = /** @type {HTMLElement} */ (event.target).closest?.(`a[href="/chat?context=${lesson}"]`);
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  });

  /** @param {{selection?: string, exercise?: boolean}} [about] */
  async function open({ selection = "", exercise = false } = {}) {
    from = document.activeElement;
    if (!panel) await make();
    panel.hidden = false;
    document.body.classList.add("has-tutor");
    button.setAttribute("aria-expanded", "true");
    if (selection) talk.quote(selection);
    if (exercise) talk.ask(t("tutor.hint-ask"), { exercise: true });
    else talk.focus();
  }

  function close() {
    panel.hidden = true;
    document.body.classList.remove("has-tutor");
    button.setAttribute("aria-expanded", "false");
    if (from instanceof HTMLElement && from.isConnected) from.focus({ preventScroll: true });
  }

  async function make() {
    const hint = document.querySelector('[data-island="exercise"]') ? h("button.link", { type: "button", onclick: () => talk.ask(t("tutor.hint-ask"), { exercise: true }) }, t("tutor.hint")) : null;
    talk = conversation({ context, about: h("p.about", null, t("tutor.knows"), hint ? [" ", hint] : null) });
    panel = h("aside.tutor-panel", { "aria-label": t("tutor.title"), hidden: true },
      h("header.tutor-head", null, h("h2", null, t("tutor.title")),
        h("button.link", { type: "button", onclick: () => { talk.open(null); talk.focus(); } }, t("chat.new")),
        h("a", { href: `/chat?context=${lesson}`, class: "tutor-whole" }, t("tutor.whole")),
        h("button.close", { type: "button", "aria-label": t("close"), onclick: close }, "×")),
      talk.log, talk.form);
    panel.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.preventDefault(); close(); } });
    panel.querySelector(".tutor-whole").addEventListener("click", (event) => event.stopPropagation());
    document.body.append(panel);
    await talk.open(await lastThread());
  }

  async function lastThread() {
    try {
      const { threads } = await call("GET", "/api/chat/threads");
      return threads.find((one) => (one.context ?? "").split("#")[0] === lesson)?.id ?? null;
    } catch {
      return null;
    }
  }
}
