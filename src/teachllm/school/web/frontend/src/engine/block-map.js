/** Every block of the KV cache as a small square, in the colour of the text that uses it. */
import { h } from "../core/dom.js";
import { readable, t } from "../core/strings.js";

const CELLS = [20, 16, 13, 10, 8, 6, 4]; // pixels of a block with the gap behind it: the largest that fits
const TALLEST = 280;

/** @param {import("./texts.js").Tones} tones */
export function blockMap(tones) {
  const canvas = /** @type {HTMLCanvasElement} */ (h("canvas.block-map", { role: "img" }));
  const words = h("p.block-words");
  const reading = h("p.block-reading");
  const box = h("div.block-box", null, canvas);
  const element = h("section", null, h("h2", null, t("engine.blocks")), words, box, reading);
  let engine = null;
  let pointed = null; // the key of a text
  let shape = { columns: 1, cell: CELLS[0] };

  new ResizeObserver(draw).observe(box);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  canvas.addEventListener("pointermove", (event) => {
    const bounds = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - bounds.left) / shape.cell);
    const index = Math.floor((event.clientY - bounds.top) / shape.cell) * shape.columns + column;
    reading.textContent = column < shape.columns && engine?.blocks[index] ? readingOf(engine, index) : "";
  });
  canvas.addEventListener("pointerleave", () => { reading.textContent = ""; });

  function draw() {
    if (!engine || !box.clientWidth) return;
    const width = box.clientWidth;
    const n = engine.blocks.length;
    const cell = CELLS.find((size) => Math.ceil(n / Math.floor(width / size)) * size <= TALLEST) ?? CELLS.at(-1);
    const columns = Math.floor(width / cell);
    shape = { columns, cell };
    const height = Math.ceil(n / columns) * cell;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== width * scale || canvas.height !== height * scale) {
      [canvas.width, canvas.height] = [width * scale, height * scale];
      canvas.style.setProperty("width", `${width}px`);
      canvas.style.setProperty("height", `${height}px`);
    }
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(element);
    const colour = (name) => style.getPropertyValue(name);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const owners = ownersOf(engine.texts);
    const side = cell - (cell > 8 ? 3 : 1);
    for (let index = 0; index < n; index++) {
      const [x, y] = [(index % columns) * cell, Math.floor(index / columns) * cell];
      const state = engine.blocks[index];
      const mine = owners.get(index) ?? [];
      pen.globalAlpha = pointed && !mine.includes(pointed) ? 0.25 : 1;
      if (state === "-") {
        pen.strokeStyle = colour("--line");
        pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
      } else if (state === "c") { // kept, and given away when somebody needs it: half full
        pen.strokeStyle = colour("--faint");
        pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
        pen.fillStyle = colour("--faint");
        pen.globalAlpha *= 0.45;
        pen.fillRect(x, y + side / 2, side, side / 2);
      } else {
        pen.fillStyle = colour(mine.length ? `--tone-${tones.of(mine[0]) + 1}` : "--accent");
        pen.fillRect(x, y, side, side);
        if (state === "s") { // shared: a hole in its middle
          pen.fillStyle = colour("--paper");
          const hole = Math.max(2, Math.round(side * 0.36));
          pen.fillRect(x + (side - hole) / 2, y + (side - hole) / 2, hole, hole);
        }
      }
    }
    pen.globalAlpha = 1;
  }

  return {
    element,
    /** Shows whose blocks a text's are; `null` shows all. @param {string|null} key */
    point(key) {
      pointed = key;
      draw();
    },
    show(fresh) {
      engine = fresh;
      const text = t("engine.blocks-words", Object.fromEntries(Object.entries(counts(fresh)).map(([name, n]) => [name, readable(n)])));
      words.textContent = text;
      canvas.setAttribute("aria-label", text);
      draw();
    },
  };
}

/** @param {{blocks: string, block_size: number}} engine */
export function counts({ blocks, block_size: size }) {
  const found = { "-": 0, c: 0, o: 0, s: 0 };
  for (const letter of blocks) found[letter] += 1;
  return { n: blocks.length, size, unused: found["-"], cached: found.c, owned: found.o, shared: found.s };
}

/** Which texts use a block. @returns {Map<number, string[]>} */
export function ownersOf(texts) {
  const owners = new Map();
  for (const text of texts) {
    for (const block of text.blocks) owners.set(block, [...(owners.get(block) ?? []), keyOf(text)]);
  }
  return owners;
}

export const keyOf = ({ request, index }) => (index ? `${request} · ${index + 1}` : request);

function readingOf(engine, index) {
  const what = t(`engine.block.${engine.blocks[index]}`);
  const owners = ownersOf(engine.texts).get(index);
  return t("engine.block", { n: index, what: owners ? `${what} (${owners.join(t("list.separator"))})` : what });
}
