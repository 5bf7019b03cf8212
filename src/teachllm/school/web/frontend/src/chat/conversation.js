/** A conversation with the tutor: the log, the form below it, an answer that appears as it is written and can be stopped. */
import { call, stream, wasAborted } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { toast } from "../core/toast.js";
import { messageView } from "./message.js";

/**
 * @param {{context: () => string|null, about?: Node|null, started?: (thread: number) => void, ended?: () => void}} place
 *   what one asks about; called when a thread is known, and when an answer has ended
 */
export function conversation({ context, about = null, started = () => {}, ended = () => {} }) {
  const log = h("div.chat-log", { role: "log", "aria-live": "off", "aria-label": t("chat.threads"), tabindex: "0" });
  const input = /** @type {HTMLTextAreaElement} */ (h("textarea", { rows: "2", placeholder: t("chat.placeholder"), "aria-label": t("chat.placeholder") }));
  const send = h("button.button.primary", { type: "submit" }, t("chat.send"));
  const stop = h("button.button", { type: "button", hidden: true, onclick: cancel }, t("chat.stop"));
  const said = h("span.sr", { role: "status" });
  const quoted = h("div.quoted", { hidden: true });
  const form = h("form.chat-form", { onsubmit: (event) => { event.preventDefault(); ask(); } }, about, quoted, input,
    h("div.actions", null, send, stop, h("span.state", null, t("chat.enter"))), said);
  let thread = null;
  let selection = "";
  let controller = null;

  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });

  /** Shows a thread; `null` begins a new one. */
  async function open(id) {
    controller?.abort();
    thread = id;
    quote("");
    let messages = [];
    if (id !== null) {
      try {
        ({ messages } = await call("GET", `/api/chat/threads/${encodeURIComponent(id)}`));
      } catch (error) {
        toast(error.message, { tone: "bad" });
      }
    }
    fill(log, messages.length ? messages.map((one) => messageView(one.role, one.text, one.reply).element) : h("p.empty", null, t("chat.empty")));
    log.scrollTop = log.scrollHeight;
  }

  /** The words of the page that the next question is about. */
  function quote(words) {
    selection = words;
    quoted.hidden = !words;
    fill(quoted, h("blockquote", null, words), h("button.close", { type: "button", "aria-label": t("tutor.unquote"), onclick: () => quote("") }, "×"));
  }

  async function ask(given = "", { exercise = false } = {}) {
    const text = given || input.value.trim();
    if (!text || controller) return;
    const about = selection;
    if (!given) input.value = "";
    log.querySelector(".empty")?.remove();
    log.append(messageView("user", about ? `> ${about}\n\n${text}` : text).element);
    quote("");
    const answer = messageView("assistant", "");
    answer.state(t("chat.thinking"));
    log.append(answer.element);
    log.scrollTop = log.scrollHeight;
    controller = new AbortController();
    const mine = controller;
    send.hidden = true;
    stop.hidden = false;
    let whole = "";
    let finished = false;
    try {
      const body = { thread, text, context: context(), selection: about, exercise };
      for await (const event of stream("POST", "/api/chat", body, { signal: mine.signal })) {
        if (event.event === "thread") {
          thread = event.thread;
          started(thread);
        } else if (event.event === "reply") {
          answer.reply(event.reply, false);
        } else if (event.event === "delta") {
          if (!whole) answer.state("");
          whole += event.text;
          const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
          answer.text(whole);
          if (atEnd) log.scrollTop = log.scrollHeight;
        } else if (event.event === "error") {
          throw new Error(event.message);
        } else if (event.event === "done") {
          finished = true;
          if (event.reply) answer.reply(event.reply, true);
          answer.state(event.tokens ? t("chat.speed", { n: event.tokens, speed: Math.round(event.tokens_per_second) }) : "");
          said.textContent = whole;
        }
      }
      if (!finished) answer.state(t("chat.stopped"));
    } catch (error) {
      answer.state(wasAborted(error) ? t("chat.stopped") : t("chat.failed", { message: error.message }), !wasAborted(error));
      if (!whole && !given && !wasAborted(error)) input.value = text;
    } finally {
      controller = null;
      send.hidden = false;
      stop.hidden = true;
      requestAnimationFrame(() => answer.element.scrollIntoView({ block: "nearest" }));
      ended();
      document.dispatchEvent(new CustomEvent("teachllm:progress"));
    }
  }

  function cancel() {
    call("POST", "/api/chat/cancel", {}).catch(() => {});
    controller?.abort();
  }

  return { log, form, open, ask, quote, focus: () => input.focus({ preventScroll: true }), thread: () => thread };
}
