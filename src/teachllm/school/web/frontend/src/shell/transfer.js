/** Bringing a file of exported progress in: what it would change is shown first, and merging can be undone. */
import { call } from "../core/api.js";
import { h } from "../core/dom.js";
import { t } from "../core/strings.js";

export function mount(place) {
  const said = h("div", { role: "status" });
  const chooser = h("input", { type: "file", accept: ".teachllm", hidden: true, onchange: look });
  const choose = h("button.button", { type: "button", onclick: () => chooser.click() }, t("transfer.choose"));
  place.append(choose, chooser);
  place.after(said);

  async function look() {
    const [file] = chooser.files;
    if (!file) return;
    await trying(async () => {
      const packed = base64(new Uint8Array(await file.arrayBuffer()));
      const { changes } = await call("POST", "/api/transfer/import", { file: packed, look: true });
      if (!changes.length) return said.replaceChildren(t("transfer.nothing"));
      const merge = h("button.button.primary", { type: "button", onclick: () => trying(() => bring(packed)) }, t("transfer.merge"));
      said.replaceChildren(t("transfer.would"), list(changes), merge);
    });
  }

  async function bring(packed) {
    const { backup } = await call("POST", "/api/transfer/import", { file: packed });
    const undo = h("button.button", { type: "button", onclick: () => trying(() => takeBack(backup)) }, t("undo"));
    said.replaceChildren(t("transfer.merged"), " ", undo);
  }

  async function takeBack(backup) {
    await call("POST", "/api/transfer/undo", { backup });
    said.replaceChildren(t("transfer.undone"));
  }

  async function trying(work) {
    try {
      await work();
    } catch (error) {
      said.replaceChildren(h("p.problem", null, error.message));
    }
    chooser.value = "";
  }
}

const list = (changes) => h("ul.plain-list", null, changes.map((change) => h("li", null, t("transfer.line", change))));

function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}
