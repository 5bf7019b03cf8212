/** The texts that are being written, each with the colour that its blocks have in the map. */
import { fill, h } from "../core/dom.js";
import { readable, t } from "../core/strings.js";
import { keyOf } from "./block-map.js";

const N_TONES = 8;
const MOST_ROWS = 40;

/** A colour for every text, kept as long as it is there; those of texts that ended are given away again. */
export class Tones {
  #known = new Map();

  /** @param {string} key @returns {number} */
  of(key) {
    if (!this.#known.has(key)) {
      const used = [...this.#known.values()];
      const times = Array.from({ length: N_TONES }, (_, tone) => used.filter((one) => one === tone).length);
      this.#known.set(key, times.indexOf(Math.min(...times)));
    }
    return this.#known.get(key);
  }

  /** @param {string[]} keys  of the texts that are there */
  keep(keys) {
    const there = new Set(keys);
    for (const key of this.#known.keys()) if (!there.has(key)) this.#known.delete(key);
    for (const key of keys) this.of(key);
  }
}

/** @param {Tones} tones @param {(key: string|null) => void} point  says whose row is pointed at */
export function textTable(tones, point) {
  const rows = h("tbody");
  const none = h("p.empty", null, t("engine.texts-none"));
  const more = h("p.empty", { hidden: true });
  const columns = ["engine.text", "engine.state", "engine.prompt", "engine.computed", "engine.written", "engine.held"];
  const table = h("div.scroll", { tabindex: "0", role: "region", "aria-label": t("engine.texts") },
    h("table.data.engine-texts", null, h("thead", null, h("tr", null, columns.map((name) => h("th", { scope: "col" }, t(name))))), rows));
  table.addEventListener("pointerover", (event) => point(/** @type {HTMLElement} */ (event.target).closest("tr")?.dataset.key ?? null));
  table.addEventListener("pointerleave", () => point(null));
  return {
    element: h("section", null, h("h2", null, t("engine.texts")), none, table, more),
    show(texts) {
      tones.keep(texts.map(keyOf));
      none.hidden = texts.length > 0;
      table.hidden = !texts.length;
      more.hidden = texts.length <= MOST_ROWS;
      more.textContent = t("engine.more", { n: texts.length - MOST_ROWS });
      fill(rows, texts.slice(0, MOST_ROWS).map((text) => row(text, tones.of(keyOf(text)))));
    },
  };
}

function row(text, tone) {
  const progress = h("progress", { max: String(text.wanted), value: String(text.computed), "aria-label": t("engine.computed") });
  return h("tr", { dataset: { key: keyOf(text) } },
    h("td", null, h("span", { class: `swatch tone-of-${tone + 1}`, "aria-hidden": "true" }), keyOf(text)),
    h("td", null, t(`engine.state.${text.state}`)),
    h("td", null, readable(text.prompt)),
    h("td.engine-computed", null, `${readable(text.computed)} / ${readable(text.wanted)}`, progress),
    h("td", null, readable(text.written)),
    h("td", null, readable(text.blocks.length)));
}
