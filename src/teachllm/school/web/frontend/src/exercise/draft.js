/** The draft saves itself; what it says about being saved is true. */
import { debounce } from "../core/dom.js";
import { t } from "../core/strings.js";
import { save, waiting } from "../core/unsaved.js";

const QUIET_MS = 600;

/** @param {string} lesson @param {HTMLElement} state  where "saved" is said */
export function draftKeeper(lesson, state) {
  const key = `draft-${lesson}`;
  const path = `/api/exercise/${encodeURIComponent(lesson)}/draft`;
  let latest = null;
  const send = debounce(async (source) => {
    say("exercise.draft-saving");
    try {
      const outcome = await save(key, { method: "PUT", path, body: { source } });
      if (latest === source) say(outcome === "saved" ? "exercise.draft-saved" : "exercise.draft-kept");
    } catch (error) {
      say("exercise.draft-failed", { message: error.message });
    }
  }, QUIET_MS);

  function say(text, values) {
    state.textContent = t(text, values);
    state.dataset.state = text.split("-")[1] ?? "";
  }

  document.addEventListener("teachllm:saved", (event) => { if (event.detail.key === key) say("exercise.draft-saved"); });
  addEventListener("pagehide", () => send.now());
  document.addEventListener("visibilitychange", () => { if (document.hidden) send.now(); });
  return {
    /** A draft that an earlier page could not send, or `null`. */
    unsent: () => waiting(key)?.body.source ?? null,
    changed(source) {
      latest = source;
      say("exercise.draft-dirty");
      send(source);
    },
    now: () => send.now(),
    say,
  };
}
