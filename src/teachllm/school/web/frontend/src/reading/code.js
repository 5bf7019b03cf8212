/** Copying code: the text as it stands in the file, without the remarks beside it. */
import { t } from "../core/strings.js";
import { toast } from "../core/toast.js";

export function enableCopying(root = document) {
  root.addEventListener("click", async (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest?.("[data-copy]");
    if (!button) return;
    const before = button.textContent;
    if (!await copy(codeOf(button))) return void toast(t("copy.failed"), { tone: "bad" });
    button.textContent = t("copied");
    setTimeout(() => { button.textContent = before; }, 1600);
    return undefined;
  });
}

function codeOf(button) {
  const pre = button.closest(".codebox").querySelector("pre").cloneNode(true);
  for (const remark of pre.querySelectorAll(".remark")) remark.remove();
  return pre.textContent;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
