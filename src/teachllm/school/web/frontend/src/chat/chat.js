/** The page of the tutor: the conversations that are kept, and the one that is open. */
import { call } from "../core/api.js";
import { dataOf, fill, h } from "../core/dom.js";
import { fromNow, t } from "../core/strings.js";
import { toast } from "../core/toast.js";
import { conversation } from "./conversation.js";

/** @param {HTMLElement} element  the placeholder */
export async function mount(element) {
  const { context, context_title: place } = dataOf(element);
  const list = h("ul.threads");
  const talk = conversation({
    context: () => context ?? null, about: context ? h("p.about", null, t("chat.about", { place })) : null,
    ended: loadThreads,
  });
  fill(element,
    h("nav.thread-list", { "aria-label": t("chat.threads") }, h("button.button", { type: "button", onclick: () => open(null) }, t("chat.new")), list),
    h("section.conversation", { "aria-label": t("chat.tutor") }, talk.log, talk.form));
  let threads = [];
  await loadThreads();
  await open(null);

  async function loadThreads() {
    try {
      ({ threads } = await call("GET", "/api/chat/threads"));
    } catch { /* the list stays as it is */ }
    drawThreads();
  }

  function drawThreads() {
    fill(list, threads.map((one) => h("li", { class: one.id === talk.thread() ? "on" : null },
      h("button.thread", { type: "button", "aria-current": one.id === talk.thread() ? "true" : null, onclick: () => open(one.id) }, h("span", null, one.title || t("chat.untitled")), h("time", null, fromNow(one.updated))),
      h("button.close", { type: "button", "aria-label": t("chat.delete", { title: one.title || t("chat.untitled") }), onclick: () => remove(one) }, "×"))));
  }

  async function open(id) {
    const opened = talk.open(id);
    drawThreads();
    await opened;
    if (matchMedia("(pointer: fine)").matches) talk.focus();
  }

  async function remove(one) {
    try {
      await call("DELETE", `/api/chat/threads/${encodeURIComponent(one.id)}`);
      threads = threads.filter((other) => other.id !== one.id);
      if (one.id === talk.thread()) await open(null);
      drawThreads();
      toast(t("chat.deleted"));
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }
}
