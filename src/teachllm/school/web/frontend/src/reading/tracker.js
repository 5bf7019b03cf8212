/** Follows the reader through a lesson: contents, what has been read, the place to come back to, the six things. */
import { call } from "../core/api.js";
import { debounce } from "../core/dom.js";
import { language } from "../core/strings.js";
import { save } from "../core/unsaved.js";
import { dwellTracker } from "./dwell.js";
import { currentSection, sectionsOf } from "./sections.js";

const THINGS = ["read", "moved", "ran", "wrote", "recalled", "asked"];

/** @param {HTMLElement} body @param {string} lesson @param {any} state  from `#lesson-state` */
export function trackReading(body, lesson, state) {
  const sections = sectionsOf(body);
  const links = new Map([...document.querySelectorAll("[data-toc] a")].map((link) => [decodeURIComponent(link.hash.slice(1)), link]));
  const tracker = dwellTracker(sections, language(), state.read);
  for (const anchor of tracker.read) links.get(anchor)?.closest("li")?.classList.add("read");
  const savePlace = debounce((anchor) => save(`position-${lesson}`, { method: "POST", path: "/api/progress/position", body: { lesson, anchor } }).catch(() => {}), 1200);
  let current = null;
  let began = performance.now();

  function look() {
    const section = currentSection(sections);
    if (section === current) return;
    if (current) mark(links.get(current.anchor), false);
    current = section;
    if (!section) return;
    mark(links.get(section.anchor), true);
    savePlace(section.anchor);
  }

  function tick() {
    const now = performance.now();
    const passed = Math.min(2, (now - began) / 1000);
    began = now;
    if (document.hidden) return;
    const fresh = tracker.pass(passed, sections.map((section) => ({ anchor: section.anchor, ...section.box() })), innerHeight);
    for (const anchor of fresh) {
      links.get(anchor)?.closest("li")?.classList.add("read");
      save(`read-${lesson}-${anchor}`, { method: "POST", path: "/api/progress/read", body: { lesson, anchor } }).then(refresh, () => {});
    }
  }

  const refresh = debounce(async () => {
    try {
      showSix(await call("GET", `/api/progress/${encodeURIComponent(lesson)}`));
    } catch { /* the next change asks again */ }
  }, 250);

  let frame = 0;
  addEventListener("scroll", () => { frame ||= requestAnimationFrame(() => { frame = 0; look(); }); }, { passive: true });
  addEventListener("pagehide", () => { savePlace.now(); });
  document.addEventListener("teachllm:progress", refresh);
  setInterval(tick, 1000);
  look();
  showSix(state.six);

  return {
    /** Section before or after the present one (keys [ and ]). */
    step(direction) {
      const at = current ? sections.indexOf(current) : -1;
      const target = sections[Math.max(0, at + direction)];
      // At once: the next key must find the section that this one went to.
      if (at + direction < 0) scrollTo({ top: 0, behavior: "instant" });
      else target?.heading.scrollIntoView({ block: "start", behavior: "instant" });
      look();
    },
    anchor: () => current?.anchor ?? null,
  };
}

function mark(link, on) {
  if (!link) return;
  if (on) link.setAttribute("aria-current", "location");
  else link.removeAttribute("aria-current");
  const item = link.closest("li");
  item?.classList.toggle("on", on);
  const rail = link.closest("[data-toc-scroll]");
  if (on && rail && rail.scrollHeight > rail.clientHeight) item?.scrollIntoView({ block: "nearest" });
}

/** Shows how far each of the six things is; the first unfinished one is "now". */
export function showSix(six) {
  for (const list of document.querySelectorAll("[data-six]")) {
    let now = null;
    for (const thing of THINGS) {
      const item = /** @type {HTMLElement|null} */ (list.querySelector(`[data-thing="${thing}"]`));
      if (!item) continue;
      const share = Math.max(0, Math.min(1, six[thing]));
      item.style.setProperty("--p", String(Math.round(share * 100)));
      item.classList.toggle("done", share >= 0.999);
      item.classList.toggle("begun", share > 0 && share < 0.999);
      item.classList.remove("now");
      if (share < 0.999) now ??= item;
    }
    now?.classList.add("now");
  }
}
