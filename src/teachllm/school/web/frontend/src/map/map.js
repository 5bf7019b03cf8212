/** The knowledge map: point at a lesson to see what it needs and opens, choose it to see its state, find and filter. */
import { debounce, h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { graphOf, neighbour, wanted } from "./graph.js";

/** Height of a chapter's title in the drawing. */
const TITLE = 40;

/** @param {HTMLElement} element */
export function mount(element) {
  const map = new KnowledgeMap(element);
  map.filter();
  const lesson = decodeURIComponent(location.hash).replace("#map-", "");
  if (map.lessons.has(lesson)) map.goTo(lesson);
}

class KnowledgeMap {
  constructor(element) {
    this.element = element;
    this.form = element.querySelector(".map-tools");
    this.drawing = element.querySelector(".map-graph svg");
    this.panel = element.querySelector("[data-map-panel]");
    this.reading = element.querySelector("[data-map-reading]");
    this.edges = [...element.querySelectorAll(".edge[data-from]")];
    this.graph = graphOf(this.edges.map((edge) => [edge.dataset.from, edge.dataset.to]));
    const words = JSON.parse(element.querySelector("[data-map-words]").textContent);
    this.lessons = new Map([...element.querySelectorAll(".node")].map((node) => [node.dataset.lesson, lessonOf(element, node, words)]));
    this.chosen = null;
    this.entry(this.lessons.keys().next().value);
    this.listen();
  }

  listen() {
    const nodeOf = (event) => event.target.closest?.(".node")?.dataset.lesson;
    this.drawing.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse") this.trace(nodeOf(event) ?? this.chosen); });
    this.drawing.addEventListener("pointerleave", () => this.trace(this.chosen));
    this.drawing.addEventListener("focusin", (event) => this.choose(nodeOf(event)));
    this.drawing.addEventListener("click", (event) => {
      const lesson = nodeOf(event);
      if (!lesson || event.metaKey || event.ctrlKey || event.detail === 0) return; // Enter follows the link
      event.preventDefault();
      this.choose(lesson);
    });
    this.drawing.addEventListener("dblclick", (event) => {
      const lesson = nodeOf(event);
      if (lesson) location.assign(this.lessons.get(lesson).node.getAttribute("href"));
    });
    this.drawing.addEventListener("keydown", (event) => this.walk(event));
    this.element.addEventListener("click", (event) => {
      const to = event.target.closest?.("[data-map-to]");
      if (!to) return;
      event.preventDefault();
      this.goTo(to.dataset.mapTo);
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.elements.words.addEventListener("input", debounce(() => this.filter(), 80));
    this.form.addEventListener("change", () => this.filter());
  }

  get view() {
    return this.form.elements.view.value;
  }

  /** Is the graph shown, not only the list? On a narrow screen it never is. */
  get drawn() {
    return this.drawing.getClientRects().length > 0;
  }

  /** Draws what leads to a lesson and what comes after it. */
  trace(lesson) {
    const needs = lesson ? this.graph.needs(lesson) : new Set();
    const opens = lesson ? this.graph.opens(lesson) : new Set();
    this.drawing.classList.toggle("tracing", Boolean(lesson));
    for (const [id, { node }] of this.lessons) {
      node.classList.toggle("needed", needs.has(id));
      node.classList.toggle("opened", opens.has(id));
      node.classList.toggle("here", id === lesson);
    }
    for (const edge of this.edges) {
      const { from, to } = edge.dataset;
      edge.classList.toggle("needed", (to === lesson || needs.has(to)) && needs.has(from));
      edge.classList.toggle("opened", (from === lesson || opens.has(from)) && opens.has(to));
    }
  }

  /** Shows a lesson in the panel; `null` shows how to read the map. */
  choose(lesson) {
    if (lesson === this.chosen || lesson === undefined) return;
    this.lessons.get(this.chosen)?.node.removeAttribute("aria-current");
    this.chosen = lesson;
    this.trace(lesson);
    this.reading.hidden = Boolean(lesson);
    this.panel.replaceChildren();
    if (!lesson) return;
    const { node, item } = this.lessons.get(lesson);
    node.setAttribute("aria-current", "true");
    this.entry(lesson);
    this.panel.append(
      h("div.panel-head", null, h("h2", null, h("span.id", null, lesson), " ", item.querySelector("b").textContent),
        h("button.close", { type: "button", "aria-label": t("map.close"), onclick: () => this.choose(null) }, "×")),
      h("div.about", { class: item.className }, ...item.querySelector(".about").cloneNode(true).childNodes),
    );
    history.replaceState(history.state, "", `#map-${lesson}`);
  }

  /** To a lesson that a link names, in the graph or in the list, whichever is shown. */
  goTo(lesson) {
    const { node, item, off } = this.lessons.get(lesson);
    if (off) {
      this.form.reset();
      this.filter();
    }
    if (this.drawn) {
      node.focus({ preventScroll: true });
      this.bringUp(this.lessons.get(lesson));
      this.choose(lesson);
    } else {
      const details = item.querySelector("details");
      details.open = true;
      details.querySelector("summary").focus();
      details.scrollIntoView({ block: "start" });
    }
  }

  /** The Tab key comes to one lesson; arrows go on from there. */
  entry(lesson) {
    for (const [id, { node }] of this.lessons) node.setAttribute("tabindex", id === lesson ? "0" : "-1");
  }

  walk(event) {
    if (event.key === "Escape") {
      this.choose(null);
      return;
    }
    const from = this.lessons.get(document.activeElement?.dataset.lesson);
    if (!from || event.metaKey || event.ctrlKey || event.altKey) return;
    const next = neighbour([...this.lessons.values()].filter((one) => !one.off), from, event.key);
    if (!next) return;
    event.preventDefault();
    next.node.focus({ preventScroll: true });
    this.bringUp(next);
  }

  filter() {
    const { words, chapter, show } = this.form.elements;
    const asked = { words: words.value.toLowerCase().split(/\s+/).filter(Boolean), chapter: chapter.value, show: show.value };
    let shown = 0;
    for (const lesson of this.lessons.values()) {
      lesson.off = !wanted(lesson, asked);
      lesson.node.classList.toggle("off", lesson.off);
      lesson.item.hidden = lesson.off;
      shown += Number(!lesson.off);
    }
    for (const edge of this.edges) {
      edge.classList.toggle("off", this.lessons.get(edge.dataset.from).off || this.lessons.get(edge.dataset.to).off);
    }
    for (const section of this.element.querySelectorAll(".map-list section")) {
      /** @type {HTMLElement} */ (section).hidden = !section.querySelector("li:not([hidden])");
    }
    this.element.dataset.view = this.view;
    this.element.querySelector("[data-map-none]").hidden = shown > 0;
    this.element.querySelector("[data-map-count]").textContent = t("map.shown", { n: shown });
    const first = [...this.lessons.values()].find((one) => !one.off);
    if (first && (!this.chosen || this.lessons.get(this.chosen).off)) this.entry(first.id);
    if (first && (asked.words.length || asked.chapter)) this.bringUp(first);
  }

  /** Scrolls, no farther than it must, until the lesson is seen below the bar and the tools. */
  bringUp({ node }) {
    if (!this.drawn) return;
    const { top, bottom, left, right } = node.getBoundingClientRect();
    const free = document.querySelector(".bar").clientHeight + this.form.clientHeight + TITLE;
    if (top < free) scrollBy({ top: top - free });
    else if (bottom > innerHeight) scrollBy({ top: Math.min(top - free, bottom - innerHeight + innerHeight / 3) });
    const view = this.drawing.parentElement;
    const frame = view.getBoundingClientRect();
    view.scrollLeft += Math.min(0, left - frame.left) + Math.max(0, right - frame.right);
  }
}

/** What the page says about a lesson: its node in the drawing and its item in the list. */
function lessonOf(element, node, words) {
  const { lesson: id, chapter, level } = node.dataset;
  const [x, y] = node.getAttribute("transform").match(/[\d.]+/g).map(Number);
  const item = /** @type {HTMLElement} */ (element.querySelector(`.map-list li[data-lesson="${id}"]`));
  return { id, chapter, level, words: words[id], ready: node.classList.contains("ready"), node, item, x, y, off: false };
}
