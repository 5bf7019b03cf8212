/** Is the studio there? A banner says when it is not, what to do, and goes away by itself. */
import { fill, h } from "./dom.js";
import { t } from "./strings.js";

const listeners = new Set();
let gone = false;
let banner = null;
let timer = 0;

/** Calls `listener` each time the studio is back. */
export function onReturn(listener) { listeners.add(listener); }

export const isGone = () => gone;

export function serverGone() {
  if (leaving) return;
  if (!gone) {
    gone = true;
    show();
  }
  clearTimeout(timer);
  timer = setTimeout(look, 2500);
}

export function serverAnswered() {
  if (!gone) return;
  gone = false;
  clearTimeout(timer);
  banner?.remove();
  banner = null;
  for (const listener of listeners) listener();
}

/** The banner also says how much of the learner's work waits in this browser. */
export function sayUnsaved(count) {
  unsaved = count;
  if (banner) draw();
}

let unsaved = 0;
let leaving = false;
addEventListener("pagehide", () => { leaving = true; });
addEventListener("pageshow", () => { leaving = false; });

async function look() {
  try {
    await fetch("/static/built/manifest.json", { method: "HEAD", cache: "no-store" });
    serverAnswered();
  } catch {
    timer = setTimeout(look, 2500);
  }
}

function show() {
  banner = h("div.offline", { role: "alert" });
  draw();
  document.body.append(banner);
}

function draw() {
  fill(banner, h("b", null, t("offline.title")), h("span", null, t("offline.what"), " ", h("code", null, "make start")),
    unsaved ? h("span", null, t("offline.unsaved", { n: unsaved })) : null,
    h("button.button", { type: "button", onclick: look }, t("offline.again")));
}
