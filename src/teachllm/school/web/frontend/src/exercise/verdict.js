/** What the grader said: the mistake first, in the learner's colour; then each check; then what the code printed. */
import { h, withCode } from "../core/dom.js";
import { duration, t } from "../core/strings.js";

/**
 * @param {any} verdict
 * @param {{goTo: (line: number) => void}} options
 * @returns {HTMLElement}
 */
export function verdictPanel(verdict, { goTo }) {
  const { status, checks, seconds } = verdict;
  if (verdict.passed) {
    return h("div.verdict.good", null, h("p.headline", null, t("exercise.passed", { n: checks.length, time: duration(seconds) })), list(checks), output(verdict.output));
  }
  if (status === "cancelled") return h("div.verdict", null, h("p.headline", null, t("exercise.cancelled")));
  const told = checks.some((check) => check.message === verdict.message); // below, with its check
  const headline = verdict.diagnosis || t(`exercise.status.${status}`);
  return h("div.verdict.bad", null,
    h("p.headline", null, withCode(headline)),
    verdict.message && !told ? h(verdict.message.includes("\n") ? "pre.message" : "p.message", null, verdict.message) : null,
    verdict.line ? h("button.link.line", { type: "button", onclick: () => goTo(verdict.line) }, t("exercise.line", { line: verdict.line })) : null,
    list(checks), output(verdict.output));
}

/** Failed checks one by one; the passed ones as a number that opens. */
function list(checks) {
  if (!checks.length) return null;
  const failed = checks.filter((check) => check.passed === false);
  const passed = checks.filter((check) => check.passed);
  return h("div.checks", null,
    failed.length ? h("ul", null, failed.map((check, index) => item(check, index > 0))) : null,
    passed.length ? h("details", null, h("summary", null, t(failed.length ? "exercise.checks-rest" : "exercise.checks-passed", { n: passed.length })), h("ul", null, passed.map((check) => item(check, false)))) : null);
}

function item(check, withDiagnosis) {
  return h("li", { class: check.passed ? "passed" : "failed" },
    h("span.sr", null, check.passed ? t("exercise.check-passed") : t("exercise.check-failed")),
    h("code", null, check.name),
    check.passed ? null : [withDiagnosis && check.diagnosis ? h("span.why", null, withCode(check.diagnosis)) : null, check.message ? h(check.message.includes("\n") ? "pre" : "span.why", null, check.message) : null]);
}

function output(text) {
  if (!text.trim()) return null;
  return h("details.output", { open: true }, h("summary", null, t("exercise.output")), h("pre", { tabindex: "0" }, text));
}
