/** Answering aloud, where the browser turns speech into text; the person is told that some browsers send it away for that. */
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";

const LOCALES = { zh: "zh-CN", en: "en-US" };

/**
 * Adds what is said to the end of `area`.
 * @param {HTMLTextAreaElement} area
 * @returns {{element: HTMLElement, stop: () => void}}
 */
export function voiceButton(area) {
  const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;
  if (!Recognition) return { element: h("small", null, t("interview.no-voice")), stop() {} };
  let listening = null;
  const said = h("small", { role: "status" });
  const button = h("button.button", { type: "button", onclick: toggle, title: t("interview.voice-where") }, t("interview.voice"));
  return { element: h("span.voice", null, button, said), stop: () => listening?.abort() };

  function toggle() {
    if (listening) return listening.stop();
    listening = new Recognition();
    listening.lang = LOCALES[document.documentElement.lang] ?? "en-US";
    listening.continuous = true;
    listening.onresult = ({ results, resultIndex }) => {
      for (let i = resultIndex; i < results.length; i += 1) {
        if (results[i].isFinal) area.value += results[i][0].transcript;
      }
      area.dispatchEvent(new Event("input"));
    };
    listening.onerror = ({ error }) => { said.textContent = t("interview.voice-failed", { error }); };
    listening.onend = () => {
      listening = null;
      button.textContent = t("interview.voice");
    };
    said.textContent = t("interview.voice-where");
    button.textContent = t("interview.voice-stop");
    listening.start();
    return undefined;
  }
}
