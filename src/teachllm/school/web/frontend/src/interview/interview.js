/** Mock interviews: the form that begins one, one that goes on, a report that can be deleted. */
import { call } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { sendWaiting } from "../core/unsaved.js";
import { ask } from "./ask.js";
import { judge } from "./judge.js";

/** @param {HTMLElement} main */
export async function mount(main) {
  const box = /** @type {HTMLElement|null} */ (main.querySelector("[data-interview-place]"));
  main.querySelector("form[data-interview-form]")?.addEventListener("submit", (event) => {
    event.preventDefault();
    begin(/** @type {HTMLFormElement} */ (event.target));
  });
  main.addEventListener("click", ({ target }) => {
    const button = /** @type {HTMLElement} */ (target).closest("button[data-interview-remove]");
    if (button) remove(/** @type {HTMLElement} */ (button));
  });
  if (box) await goOn(box, main.dataset.interview);
}

/** From where it stands: the first question without an answer, or the rubric when all are answered. */
async function goOn(box, id) {
  try {
    await sendWaiting(); // what an earlier page could not send is newer than what the studio has
    const held = await call("GET", `/api/interviews/${id}`);
    const open = held.questions.find((one) => one.stage !== "answered");
    if (open) ask(box, held, open, () => goOn(box, id));
    else judge(box, held);
  } catch (error) {
    fill(box, h("div.problem", { role: "alert" }, h("span", null, error.message), h("button.button", { type: "button", onclick: () => goOn(box, id) }, t("retry"))));
  }
}

async function begin(form) {
  const data = new FormData(form);
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  try {
    const { id } = await call("POST", "/api/interviews", {
      role: data.get("role") || null,
      chapters: data.getAll("chapters").map(Number),
      topics: data.getAll("topics"),
      count: Number(data.get("count")),
      seconds: Number(data.get("seconds")),
    });
    location.assign(`/interview/${id}`);
  } catch (error) {
    form.querySelector(".state").textContent = error.message;
    button.disabled = false;
  }
}

/** The first press asks, the second deletes: what was said in an interview cannot be brought back. */
async function remove(button) {
  if (!("sure" in button.dataset)) {
    button.dataset.sure = "";
    button.textContent = t("interview.sure");
    return;
  }
  try {
    await call("DELETE", `/api/interviews/${button.dataset.interviewRemove}`);
    location.assign("/interview");
  } catch (error) {
    button.after(h("span.state", { role: "alert" }, error.message));
  }
}
