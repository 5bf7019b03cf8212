/** One message: the learner's words as they typed them; the tutor's by kind, with links to the places they rest on. */
import { fill, h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { markdown } from "./markdown.js";

const WRITTEN = new Set(["cited", "uncited", "hint"]);

/**
 * @param {string} role @param {string} text
 * @param {{kind: string, places: any[]}|null} [reply]  of an answer that is known already
 */
export function messageView(role, text, reply = null) {
  const mine = role === "user";
  const name = t(mine ? "chat.you" : "chat.tutor");
  const body = h("div.message-body");
  const state = h("p.message-state");
  const element = h("article.message", { class: mine ? "mine" : "theirs", "aria-label": name }, h("b.who", { "aria-hidden": "true" }, name), body, state);
  let frame = 0;
  let words = text;
  let known = reply;
  let finished = true;
  const draw = () => {
    frame = 0;
    fill(body, mine ? h("p.typed", null, words) : answer(words, known, finished));
  };
  draw();
  return {
    element,
    text(whole) { words = whole; finished = false; frame ||= requestAnimationFrame(draw); },
    reply(one, isFinal) { known = one; finished = isFinal; frame ||= requestAnimationFrame(draw); },
    state(said, bad = false) { state.textContent = said; state.classList.toggle("bad", bad); },
  };
}

function answer(words, reply, finished) {
  if (!reply) return markdown(words);
  if (!WRITTEN.has(reply.kind)) {
    return [h("p", null, words), reply.kind === "passages" ? passages(reply.places) : links(reply.places, "ul"),
      reply.kind === "passages" ? h("p.aside", null, t("tutor.connect"), " ", h("a", { href: "/settings#endpoint-title" }, t("tutor.settings"))) : null];
  }
  const sources = finished && words && reply.places.length ? [
    h("p.sources-title", null, t(reply.kind === "uncited" ? "tutor.uncited" : "tutor.sources")), links(reply.places)] : null;
  return [markdown(words, reply.places), sources];
}

const nameOf = (place) => (place.section ? `${place.title} › ${place.section}` : place.title);

const links = (places, list = "ol") => (places.length ? h(`${list}.sources`, null, places.map((place) => h("li", { value: list === "ol" ? place.number : null },
  place.lesson ? h("span.where", null, place.lesson) : null, h("a", { href: place.address }, nameOf(place)), kindOf(place)))) : null);

const kindOf = (place) => (place.kind === "lesson" ? null : h("span.kind", null, t(`search.kind.${place.kind}`)));

/** The first passage as it stands; of the others the sentences that answer. */
const passages = (places) => h("ul.passages", null, places.map((place, index) => h("li", null,
  h("p.passage-head", null, place.lesson ? h("span.where", null, place.lesson) : null, h("a", { href: place.address }, nameOf(place)), kindOf(place)),
  place.kind === "code" ? h("pre", { tabindex: "0" }, h("code", null, place.parts.map(([text]) => text).join("").slice(0, 600)))
    : h("p.passage", null, index === 0 ? whole(place.parts) : shortened(place.parts)))));

/** Chinese sentences follow each other without a space. */
const tidy = (text) => text.replace(/([。！？；：，])[ \t]+/g, "$1").replace(/^[ \t]+(?=\p{Script=Han})/u, "");

const whole = (parts) => parts.map(([text, answers]) => (answers ? h("mark", null, tidy(text)) : tidy(text)));

function shortened(parts) {
  const marked = parts.filter(([, answers]) => answers).map(([text]) => tidy(text).trim());
  const text = (marked.length ? marked.join(" … ") : parts.map(([one]) => one).join("")).trim();
  return text.length > 320 ? `${text.slice(0, 320)}…` : text;
}
