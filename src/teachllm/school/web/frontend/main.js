/** The page comes alive. What the server wrote already reads well; this adds what one operates. */
import { setLanguage } from "./src/core/strings.js";
import { sendWaiting } from "./src/core/unsaved.js";
import { bringToLife } from "./src/islands.js";
import { enableCopying } from "./src/reading/code.js";
import { renderMath } from "./src/reading/math.js";
import { enableTerms } from "./src/reading/terms.js";
import { trackReading } from "./src/reading/tracker.js";
import { enableEndpoint } from "./src/shell/endpoint.js";
import { enableLanguage } from "./src/shell/language.js";
import { enableMenus } from "./src/shell/menus.js";
import { enablePhoneBar } from "./src/shell/phone.js";
import { enableSearch } from "./src/shell/search.js";
import { enableSettings } from "./src/shell/settings.js";
import { enableShortcuts } from "./src/shell/shortcuts.js";
import { enableTheme } from "./src/shell/theme.js";

setLanguage(document.documentElement.lang);
enableTheme();
enableMenus();
enableSearch();
enableCopying();
enableTerms();
enableSettings();
enableEndpoint();

const body = /** @type {HTMLElement|null} */ (document.querySelector("[data-lesson-body]"));
const lesson = document.body.dataset.lesson;
let reading = { step() {}, anchor: () => null };
if (body && lesson) {
  const state = JSON.parse(document.querySelector("#lesson-state").textContent);
  enablePhoneBar();
  reading = trackReading(body, lesson, state);
  import("./src/chat/panel.js").then(({ enableTutor }) => enableTutor(lesson, () => reading.anchor()));
  import("./src/reading/notes.js").then(({ enableNotes }) => enableNotes(body, lesson, state));
}
enableShortcuts(reading);
enableLanguage(reading.anchor);
bringToLife();
renderMath(document);
sendWaiting();
