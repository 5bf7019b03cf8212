/** HTML that the studio rendered from Markdown with HTML switched off: course text, own cards. Never for a model's words. */
import { renderMath } from "../reading/math.js";

/** @param {string} html @returns {HTMLElement} */
export function fromServer(html) {
  const element = document.createElement("div");
  element.className = "prose";
  element.innerHTML = html;
  renderMath(element);
  return element;
}
