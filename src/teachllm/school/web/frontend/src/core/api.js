/** Talking to the studio. Every failure becomes one of two errors, each with a text for the reader. */
import { serverAnswered, serverGone } from "./connection.js";
import { eventParser } from "./event-stream.js";
import { t } from "./strings.js";

/** The studio refused or failed; `message` is its own localized text. */
export class RefusedError extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

/** The studio did not answer at all: it is not running, or the network between is down. */
export class GoneError extends Error {
  constructor() { super(t("offline.short")); }
}

/**
 * One JSON request.
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @param {{signal?: AbortSignal, keepalive?: boolean}} [options]
 * @returns {Promise<any>} the parsed JSON, `null` for an empty answer
 * @throws {RefusedError|GoneError|DOMException} the last one, an AbortError, when the signal was aborted
 */
export async function call(method, path, body, options = {}) {
  const response = await request(method, path, body, options);
  if (response.status === 204) return null;
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * A stream of server-sent events as JSON objects. Leaving the loop closes the stream, which stops the work behind it.
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @param {{signal?: AbortSignal}} [options]
 */
export async function* stream(method, path, body, options = {}) {
  const response = await request(method, path, body, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = eventParser();
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) return;
      yield* parser(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function request(method, path, body, { signal, keepalive }) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      keepalive,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    throw unanswered(error);
  }
  serverAnswered();
  if (!response.ok) throw new RefusedError(await refusal(response), response.status);
  return response;
}

async function refusal(response) {
  try {
    return (await response.json()).error.message;
  } catch { // not from the studio's own code
    return t("error.status", { status: response.status });
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw unanswered(error);
  }
}

/** What a request that failed on its way becomes. */
function unanswered(error) {
  if (wasAborted(error)) return error;
  serverGone();
  return new GoneError();
}

export const wasAborted = (error) => error.name === "AbortError";
