/** HTML that the studio rendered from course text (Markdown with HTML switched off). Never for a model's or a learner's words. */
import { renderMath } from "../reading/math.js";

/** @param {string} html @returns {HTMLElement} */
export function fromServer(html) {
  const element = document.createElement("div");
  element.className = "prose";
  element.innerHTML = html;
  renderMath(element);
  return element;
}
