/** The page of all cards: setting aside, own cards, and files from Anki or a spreadsheet, which are looked at first. */
import { call } from "../core/api.js";
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { toast } from "../core/toast.js";

export function mount(main) {
  main.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    const card = button?.closest("[data-card]");
    if (!card) return;
    const id = encodeURIComponent(card.dataset.card);
    if (button.dataset.cardAside) trying(async () => {
      await call("POST", `/api/cards/${id}/aside`, { state: button.dataset.cardAside });
      location.reload();
    });
    else if ("cardEdit" in button.dataset) {
      const form = card.querySelector("form");
      form.hidden = !form.hidden;
      if (!form.hidden) form.querySelector("textarea").focus();
    } else if ("cardDelete" in button.dataset) trying(async () => {
      await call("DELETE", `/api/own-cards/${id}`);
      card.hidden = true;
      toast(t("deck.deleted"), { undo: async () => {
        await call("POST", `/api/own-cards/${id}/restore`);
        card.hidden = false;
      } });
    });
  });
  for (const form of main.querySelectorAll("[data-own-card]")) form.addEventListener("submit", (event) => {
    event.preventDefault();
    saveOwn(form);
  });
  const told = main.querySelector("[data-card-told]");
  main.querySelector("[data-card-file]").addEventListener("change", ({ target }) => bring(target, told));
}

async function saveOwn(form) {
  const data = new FormData(form);
  const card = { question: data.get("question"), answer: data.get("answer") };
  const id = form.dataset.ownCard;
  try {
    if (id) await call("PUT", `/api/own-cards/${encodeURIComponent(id)}`, card);
    else await call("POST", "/api/own-cards", card);
    location.reload();
  } catch (error) {
    form.querySelector(".state").textContent = error.message;
  }
}

async function bring(chooser, told) {
  const [file] = chooser.files;
  chooser.value = "";
  if (!file) return;
  try {
    const carried = { name: file.name, file: await base64(file) };
    const would = await call("POST", "/api/card-files/import", { ...carried, look: true });
    const go = h("button.button.primary", { type: "button", onclick: async () => {
      go.setAttribute("disabled", "");
      try {
        told.replaceChildren(t("deck.brought", await call("POST", "/api/card-files/import", carried)));
      } catch (error) {
        told.replaceChildren(error.message);
      }
    } }, t("deck.bring"));
    told.replaceChildren(h("p", null, t("deck.would", would)), would.added + would.changed ? go : "");
  } catch (error) {
    told.replaceChildren(error.message);
  }
}

async function trying(work) {
  try {
    await work();
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
}

/** The browser's own encoder, which takes large files in one go. */
const base64 = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(String(reader.result).split(",", 2)[1] ?? "");
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});
