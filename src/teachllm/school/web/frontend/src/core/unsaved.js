/** Work that must not get lost: kept in this browser until the studio has said that it saved it. */
import { call, GoneError } from "./api.js";
import { isGone, onReturn, sayUnsaved } from "./connection.js";

const PREFIX = "teachllm.unsaved.";
const memory = new Map();
const running = new Map();

/**
 * Sends a request whose repetition does no harm, and keeps it until it has arrived. A later one with the same key takes the
 * place of an earlier one that has not been sent yet.
 * @param {string} key
 * @param {{method: string, path: string, body: any}} request
 * @returns {Promise<"saved"|"kept">}
 * @throws {RefusedError} when the studio refuses it; then it is not kept
 */
export async function save(key, request) {
  memory.set(key, request);
  store(key, request);
  if (isGone()) return "kept";
  await running.get(key);
  const sending = send(key, request);
  running.set(key, sending.catch(() => {}));
  return sending;
}

/** What waits under a key (from this page or from an earlier one), or `null`. */
export function waiting(key) {
  if (memory.has(key)) return memory.get(key);
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

async function send(key, request) {
  try {
    await call(request.method, request.path, request.body);
  } catch (error) {
    if (error instanceof GoneError) return "kept";
    if (memory.get(key) === request) forget(key);
    throw error;
  }
  if (memory.get(key) === request) {
    forget(key);
    document.dispatchEvent(new CustomEvent("teachllm:saved", { detail: { key } }));
  }
  return "saved";
}

function store(key, request) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(request));
  } catch { /* a full or forbidden storage: memory still has it */ }
  sayUnsaved(memory.size);
}

function forget(key) {
  memory.delete(key);
  try {
    localStorage.removeItem(PREFIX + key);
  } catch { /* see store */ }
  sayUnsaved(memory.size);
}

/** Sends what an earlier page or an earlier moment could not. */
export async function sendWaiting() {
  try {
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith(PREFIX)) continue;
      const key = name.slice(PREFIX.length);
      if (!memory.has(key)) memory.set(key, JSON.parse(localStorage.getItem(name)));
    }
  } catch { /* see store */ }
  for (const [key, request] of [...memory]) {
    try {
      if (await send(key, request) === "kept") return;
    } catch { /* refused: it has been dropped, the page that made it is gone */ }
  }
}

onReturn(sendWaiting);
addEventListener("beforeunload", (event) => {
  if (memory.size && isGone()) event.preventDefault();
});
