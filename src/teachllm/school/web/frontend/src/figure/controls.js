/** The controls of figures and labs, built from their JSON. Native inputs: the keyboard and screen readers work. */
import { h, uniqueId } from "../core/dom.js";
import { shownValue, sliderScale } from "./scale.js";

/**
 * @param {any[]} controls  JSON of the parameters
 * @param {(args: Record<string, any>) => void} changed
 * @returns {{element: HTMLElement, args: () => Record<string, any>, set: (args: Record<string, any>) => void, reset: () => void, isDefault: () => boolean, lock: (locked: boolean) => void}}
 */
export function controlPanel(controls, changed) {
  const values = Object.fromEntries(controls.map((control) => [control.name, control.default]));
  const parts = controls.map((control) => MAKE[control.kind](control, (value) => {
    values[control.name] = value;
    changed({ ...values });
  }));
  const element = h("div.controls", null, parts.map((part) => part.element));
  const set = (args) => controls.forEach((control, index) => {
    if (!(control.name in args)) return;
    values[control.name] = args[control.name];
    parts[index].set(args[control.name]);
  });
  return {
    element,
    args: () => ({ ...values }),
    set,
    reset() { set(Object.fromEntries(controls.map((control) => [control.name, control.default]))); },
    isDefault: () => controls.every((control) => values[control.name] === control.default),
    lock(locked) { for (const part of parts) part.lock(locked); },
  };
}

const MAKE = { slider, choice, toggle, text };

function slider(control, changed) {
  const scale = sliderScale(control);
  const id = uniqueId("slider");
  const output = h("output", { for: id });
  const input = /** @type {HTMLInputElement} */ (h("input", { id, type: "range", min: scale.min, max: scale.max, step: scale.step }));
  const show = (value) => {
    output.textContent = shownValue(control, value);
    input.setAttribute("aria-valuetext", shownValue(control, value));
    const share = (Number(input.value) - scale.min) / (scale.max - scale.min || 1);
    input.style.setProperty("--share", `${share * 100}%`);
  };
  const set = (value) => { input.value = String(scale.position(value)); show(value); };
  input.addEventListener("input", () => {
    const value = scale.value(Number(input.value));
    show(value);
    changed(value);
  });
  set(control.default);
  return { element: h("div.control", { class: "is-slider" }, h("label", { for: id }, control.label), input, output), set, lock(locked) { input.disabled = locked; } };
}

function choice(control, changed) {
  return control.options.length <= 4 ? segmented(control, changed) : select(control, changed);
}

function segmented(control, changed) {
  const name = uniqueId("choice");
  const inputs = control.options.map((option) => /** @type {HTMLInputElement} */ (h("input", { type: "radio", name, value: String(option.value), onchange: () => changed(option.value) })));
  const set = (value) => inputs.forEach((input, index) => { input.checked = control.options[index].value === value; });
  set(control.default);
  const element = h("fieldset.control", { class: "is-choice" }, h("legend", null, control.label),
    h("div.segments", null, control.options.map((option, index) => h("label", null, inputs[index], h("span", null, option.label)))));
  return { element, set, lock(locked) { for (const input of inputs) input.disabled = locked; } };
}

function select(control, changed) {
  const id = uniqueId("select");
  const input = /** @type {HTMLSelectElement} */ (h("select", { id }, control.options.map((option, index) => h("option", { value: String(index) }, option.label))));
  const set = (value) => { input.selectedIndex = Math.max(0, control.options.findIndex((option) => option.value === value)); };
  input.addEventListener("change", () => changed(control.options[input.selectedIndex].value));
  set(control.default);
  return { element: h("div.control", { class: "is-select" }, h("label", { for: id }, control.label), input), set, lock(locked) { input.disabled = locked; } };
}

function toggle(control, changed) {
  const input = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", role: "switch" }));
  input.addEventListener("change", () => changed(input.checked));
  const set = (value) => { input.checked = value; };
  set(control.default);
  return { element: h("label.control", { class: "is-toggle" }, input, h("span", null, control.label)), set, lock(locked) { input.disabled = locked; } };
}

function text(control, changed) {
  const id = uniqueId("text");
  const long = control.lines > 1;
  const input = /** @type {HTMLInputElement} */ (h(long ? "textarea" : "input", { id, type: long ? null : "text", rows: long ? control.lines : null, maxlength: control.max_length, spellcheck: "false", autocomplete: "off" }));
  let composing = false;
  const tell = () => { if (!composing) changed(input.value); };
  input.addEventListener("compositionstart", () => { composing = true; });
  input.addEventListener("compositionend", () => { composing = false; tell(); });
  input.addEventListener("input", tell);
  const set = (value) => { input.value = value; };
  set(control.default);
  return { element: h("div.control", { class: "is-text" }, h("label", { for: id }, control.label), input), set, lock(locked) { input.disabled = locked; } };
}
