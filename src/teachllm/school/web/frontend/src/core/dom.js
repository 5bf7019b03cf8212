/** Making and finding elements. Texts are always text nodes: nothing here parses HTML. */

/**
 * `h("button.primary", {type: "button", onclick: run}, "Run")`.
 * Properties: `on…` listeners, `class`, `dataset`, `style` (an object, set through the CSSOM, which the content security
 * policy allows), `aria-…` and other attributes; `null`, `undefined` and `false` leave the attribute out.
 * @param {string} tag  name with optional `.class` parts
 * @param {Record<string, any>|null} [properties]
 * @param {...(Node|string|number|null|undefined|false|Array<any>)} children
 * @returns {HTMLElement}
 */
export function h(tag, properties, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  setProperties(element, properties);
  append(element, children);
  return element;
}

/** The same for SVG. @returns {SVGElement} */
export function svg(tag, properties, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  setProperties(element, properties);
  append(element, children);
  return element;
}

function setProperties(element, properties) {
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") for (const one of String(value).split(/\s+/).filter(Boolean)) element.classList.add(one);
    else if (key === "style") for (const [name, one] of Object.entries(value)) element.style.setProperty(name, one);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** A sentence of the course with what stands in `backticks` as code. @returns {(Node|string)[]} */
export const withCode = (text) => String(text).split(/`([^`\n]+)`/).map((part, index) => (index % 2 ? h("code", null, part) : part));

/** Replaces an element's children. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** The JSON that the server put into a placeholder. */
export const dataOf = (element) => JSON.parse(element.querySelector(':scope > script[type="application/json"]').textContent);

let count = 0;
/** An id that no other element of the page has. */
export const uniqueId = (prefix) => `${prefix}-${++count}`;

/** Is the person typing? Then letter keys are letters. Looks through the editor's shadow root. */
export function isTyping(event) {
  const target = /** @type {HTMLElement} */ (event.composedPath()[0]);
  return target.isContentEditable || /^(input|textarea|select)$/i.test(target.tagName ?? "");
}

export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Calls `run` once things have been quiet for `ms`; `.now()` runs what waits, `.cancel()` drops it. */
export function debounce(run, ms) {
  let timer = 0;
  let waiting = null;
  const debounced = (...args) => {
    waiting = args;
    clearTimeout(timer);
    timer = setTimeout(debounced.now, ms);
  };
  debounced.now = () => {
    clearTimeout(timer);
    if (waiting === null) return undefined;
    const args = waiting;
    waiting = null;
    return run(...args);
  };
  debounced.cancel = () => { clearTimeout(timer); waiting = null; };
  return debounced;
}
