/** The list of training runs. Looks every few seconds while one sees it; the studio writes the texts. */
import { call } from "../core/api.js";
import { isGone } from "../core/connection.js";

const LOOK_MS = 3000;

/** @param {HTMLElement} element  the placeholder, with the list and the `<template>` of a row */
export function mount(element) {
  const template = /** @type {HTMLTemplateElement} */ (element.querySelector("template"));
  const list = /** @type {HTMLElement} */ (element.querySelector(".run-list"));
  const none = /** @type {HTMLElement} */ (element.querySelector(".no-runs"));
  document.addEventListener("visibilitychange", look);
  setInterval(look, LOOK_MS);

  async function look() {
    if (document.hidden || isGone()) return;
    try {
      show((await call("GET", "/api/runs")).runs);
    } catch { /* the banner says that the studio is gone; what was read last stays */ }
  }

  function show(runs) {
    const before = new Map([...list.children].map((row) => [/** @type {HTMLElement} */ (row).dataset.run, row]));
    const rows = runs.map((run) => filled(before.get(run.name) ?? template.content.firstElementChild.cloneNode(true), run));
    // A row that stays in its place keeps the focus.
    if (rows.length !== list.children.length || rows.some((row, index) => row !== list.children[index])) list.replaceChildren(...rows);
    list.hidden = !rows.length;
    none.hidden = rows.length > 0;
  }
}

function filled(row, run) {
  row.dataset.run = run.name;
  row.dataset.status = run.status;
  for (const part of row.querySelectorAll("[data-field]")) {
    const field = part.dataset.field;
    if (field === "link") part.href = `/runs/${encodeURIComponent(run.name)}`;
    else if (field === "progress") [part.max, part.value] = [run.steps, run.step];
    else if (part.textContent !== run[field]) part.textContent = run[field];
  }
  return row;
}
