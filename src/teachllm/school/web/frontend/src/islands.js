/** Finds the placeholders of the page and brings each to life shortly before it comes into view. */
import { h } from "./core/dom.js";
import { t } from "./core/strings.js";

/** @type {Record<string, () => Promise<{mount: (element: HTMLElement) => void|Promise<void>}>>} */
const KINDS = {
  figure: () => import("./figure/figure.js"),
  lab: () => import("./lab/lab.js"),
  exercise: () => import("./exercise/exercise.js"),
  cards: () => import("./cards/cards.js"),
  "all-cards": () => import("./cards/all-cards.js"),
  review: () => import("./cards/review.js"),
  chat: () => import("./chat/chat.js"),
  model: () => import("./chat/model.js"),
  runs: () => import("./runs/list.js"),
  run: () => import("./runs/run.js"),
  engine: () => import("./engine/engine.js"),
  plan: () => import("./plan/plan.js"),
  interview: () => import("./interview/interview.js"),
  transfer: () => import("./shell/transfer.js"),
  map: () => import("./map/map.js"),
  notes: () => import("./reading/notes-page.js"),
};

export function bringToLife(root = document) {
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      live(/** @type {HTMLElement} */ (target));
    }
  }, { rootMargin: "700px 0px" });
  for (const element of root.querySelectorAll("[data-island]")) observer.observe(element);
}

async function live(element) {
  try {
    const { mount } = await KINDS[element.dataset.island]();
    await mount(element);
    element.dataset.alive = "";
  } catch (error) {
    console.error(error);
    element.append(h("p.problem", { role: "alert" }, t("error.island", { message: error.message })));
  }
}
