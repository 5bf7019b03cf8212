/** The study plan: what is pressed is sent, and the page reads itself anew. */
import { call } from "../core/api.js";

export function mount(main) {
  for (const form of main.querySelectorAll("form[data-plan-form]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form, "POST", "/api/plan", wishOf(new FormData(form)));
    });
  }
  main.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const { planTake, planDo, planLeaveOut } = button.dataset;
    if (planTake) send(button, "POST", "/api/plan", { style: planTake });
    else if (planDo === "remove") send(button, "DELETE", "/api/plan");
    else if (planDo) send(button, "POST", `/api/plan/${planDo}`);
    else if (planLeaveOut !== undefined) send(button, "POST", "/api/plan/left-out", { lessons: planLeaveOut.split(" ").filter(Boolean) });
  });
}

/** @param {FormData} data */
function wishOf(data) {
  return {
    style: data.get("style"),
    goal: data.get("goal"),
    chapters: data.getAll("chapters").map(Number),
    topic: data.get("topic"),
    start: data.get("start"),
    until: data.get("until") || null,
    hours: data.getAll("hours").map(Number),
    days_off: data.get("days_off"),
    begins: data.get("begins"),
  };
}

async function send(element, method, path, body) {
  try {
    await call(method, path, body);
    location.assign("/plan");
  } catch (error) {
    say(element, error.message);
  }
}

/** Next to what was pressed, in the place that is there for it. */
function say(element, message) {
  const near = element.closest("section, form, details, main");
  let state = near.querySelector(".state");
  if (!state) {
    state = document.createElement("span");
    state.className = "state";
    state.setAttribute("role", "status");
    element.after(state);
  }
  state.textContent = message;
}
