/** The chat: conversations that are kept, an answer that appears as the model writes it, and can be stopped. */
import { call, stream, wasAborted } from "../core/api.js";
import { dataOf, fill, h } from "../core/dom.js";
import { fromNow, t } from "../core/strings.js";
import { toast } from "../core/toast.js";
import { markdown } from "./markdown.js";
import { show as showModel } from "./model.js";

/** @param {HTMLElement} element  the placeholder */
export async function mount(element) {
  const { context, context_title: place } = dataOf(element);
  const log = h("div.chat-log", { role: "log", "aria-live": "off", "aria-label": t("chat.threads"), tabindex: "0" });
  const list = h("ul.threads");
  const model = h("div.model");
  const input = /** @type {HTMLTextAreaElement} */ (h("textarea", { rows: "2", placeholder: t("chat.placeholder"), "aria-label": t("chat.placeholder") }));
  const send = /** @type {HTMLButtonElement} */ (h("button.button.primary", { type: "submit" }, t("chat.send")));
  const stop = h("button.button", { type: "button", hidden: true, onclick: cancel }, t("chat.stop"));
  const said = h("span.sr", { role: "status" });
  const form = h("form.chat-form", { onsubmit: (event) => { event.preventDefault(); ask(); } },
    context ? h("p.about", null, t("chat.about", { place })) : null,
    input, h("div.actions", null, send, stop, h("span.state", null, t("chat.enter"))), said);
  fill(element,
    h("nav.thread-list", { "aria-label": t("chat.threads") }, h("button.button", { type: "button", onclick: () => openThread(null) }, t("chat.new")), list),
    h("section.conversation", { "aria-label": t("chat.model") }, model, log, form));

  let thread = null;
  let threads = [];
  let controller = null;

  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  call("GET", "/api/model").then(ready, () => {});
  await loadThreads();
  await openThread(null);

  function ready(status) {
    send.disabled = !status.ready;
    if (!status.ready) showModel(model, status, () => { send.disabled = false; fill(model); });
  }

  async function loadThreads() {
    try {
      ({ threads } = await call("GET", "/api/chat/threads"));
    } catch { /* the list stays as it is */ }
    drawThreads();
  }

  function drawThreads() {
    fill(list, threads.map((one) => h("li", { class: one.id === thread ? "on" : null },
      h("button.thread", { type: "button", "aria-current": one.id === thread ? "true" : null, onclick: () => openThread(one.id) }, h("span", null, one.title || t("chat.untitled")), h("time", null, fromNow(one.updated))),
      h("button.close", { type: "button", "aria-label": t("chat.delete", { title: one.title || t("chat.untitled") }), onclick: () => remove(one) }, "×"))));
  }

  async function openThread(id) {
    controller?.abort();
    thread = id;
    drawThreads();
    let messages = [];
    if (id !== null) {
      try {
        ({ messages } = await call("GET", `/api/chat/threads/${encodeURIComponent(id)}`));
      } catch (error) {
        toast(error.message, { tone: "bad" });
      }
    }
    fill(log, messages.length ? messages.map((message) => messageView(message.role, message.text).element) : h("p.empty", null, t("chat.empty")));
    log.scrollTop = log.scrollHeight;
    if (matchMedia("(pointer: fine)").matches) input.focus({ preventScroll: true });
  }

  async function ask() {
    const text = input.value.trim();
    if (!text || controller || send.disabled) return;
    input.value = "";
    log.querySelector(".empty")?.remove();
    log.append(messageView("user", text).element);
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
      for await (const event of stream("POST", "/api/chat", { thread, text, context }, { signal: mine.signal })) {
        if (event.event === "thread") {
          thread = event.thread;
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
          answer.state(event.tokens ? t("chat.speed", { n: event.tokens, speed: Math.round(event.tokens_per_second) }) : "");
          said.textContent = whole;
        }
      }
      if (!finished) answer.state(t("chat.stopped"));
    } catch (error) {
      answer.state(wasAborted(error) ? t("chat.stopped") : t("chat.failed", { message: error.message }), !wasAborted(error));
      if (!whole && !wasAborted(error)) input.value = text;
    } finally {
      controller = null;
      send.hidden = false;
      stop.hidden = true;
      loadThreads();
      document.dispatchEvent(new CustomEvent("teachllm:progress"));
    }
  }

  function cancel() {
    call("POST", "/api/chat/cancel", {}).catch(() => {});
    controller?.abort();
  }

  async function remove(one) {
    try {
      await call("DELETE", `/api/chat/threads/${encodeURIComponent(one.id)}`);
      threads = threads.filter((other) => other.id !== one.id);
      if (one.id === thread) await openThread(null);
      drawThreads();
      toast(t("chat.deleted"));
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }
}

/** One message; the learner's own words are shown as they typed them. */
function messageView(role, text) {
  const mine = role === "user";
  const body = h("div.message-body");
  const state = h("p.message-state");
  const element = h("article.message", { class: mine ? "mine" : "theirs", "aria-label": t(mine ? "chat.you" : "chat.model") }, h("b.who", { "aria-hidden": "true" }, t(mine ? "chat.you" : "chat.model")), body, state);
  let frame = 0;
  let waiting = text;
  const draw = () => { frame = 0; fill(body, mine ? h("p.typed", null, waiting) : markdown(waiting)); };
  draw();
  return {
    element,
    text(whole) { waiting = whole; frame ||= requestAnimationFrame(draw); },
    state(words, bad = false) { state.textContent = words; state.classList.toggle("bad", bad); },
  };
}
