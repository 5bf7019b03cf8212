/** Glossary terms: the definition on hover and on focus, gone with Escape. */
import { h, uniqueId } from "../core/dom.js";

let bubble = null;
let owner = null;

export function enableTerms(root = document) {
  for (const term of root.querySelectorAll(".term[data-definition]")) term.tabIndex = 0;
  root.addEventListener("pointerover", (event) => {
    const term = event.target.closest?.(".term[data-definition]");
    if (term) show(term);
    else if (owner && !event.target.closest?.(".term-bubble")) hide();
  });
  root.addEventListener("focusin", (event) => { if (event.target.matches?.(".term[data-definition]")) show(event.target); else hide(); });
  root.addEventListener("focusout", hide);
  root.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", () => { if (owner) place(); }, { passive: true });
}

function show(term) {
  if (owner === term) return;
  hide();
  owner = term;
  bubble = h("div.term-bubble", { role: "tooltip", id: uniqueId("term") },
    h("b", null, term.dataset.title), term.dataset.definition);
  document.body.append(bubble);
  term.setAttribute("aria-describedby", bubble.id);
  place();
}

function hide() {
  owner?.removeAttribute("aria-describedby");
  bubble?.remove();
  bubble = owner = null;
}

function place() {
  const at = owner.getClientRects()[0] ?? owner.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = bubble;
  const left = Math.max(10, Math.min(at.left, document.documentElement.clientWidth - width - 10));
  const above = at.top > height + 14;
  bubble.style.setProperty("left", `${left}px`);
  bubble.style.setProperty("top", `${above ? at.top - height - 8 : at.bottom + 8}px`);
}
