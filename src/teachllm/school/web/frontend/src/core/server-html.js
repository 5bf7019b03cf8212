/** HTML that the studio rendered from course text (Markdown with HTML switched off). Never for a model's or a learner's words. */
import { renderMath } from "../reading/math.js";

/** @param {string} html @param {string} [tag] @returns {HTMLElement} */
export function fromServer(html, tag = "div") {
  const element = document.createElement(tag);
  element.className = "prose";
  element.innerHTML = html;
  renderMath(element);
  return element;
}

/** A field that came as HTML (`name_html`) or as plain text (`name`): paragraphs at blank lines. */
export function prose(object, name) {
  if (object[`${name}_html`]) return fromServer(object[`${name}_html`]);
  const element = document.createElement("div");
  element.className = "prose";
  for (const part of String(object[name] ?? "").split(/\n\s*\n/)) {
    const paragraph = document.createElement("p");
    paragraph.textContent = part;
    element.append(paragraph);
  }
  return element;
}
