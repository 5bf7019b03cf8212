import assert from "node:assert/strict";
import { test } from "node:test";
import { setLanguage } from "../src/core/strings.js";
import { counts, keyOf, ownersOf } from "../src/engine/block-map.js";
import { stepCharts } from "../src/engine/steps.js";
import { Tones } from "../src/engine/texts.js";
import { cellsOf, wordsOf } from "../src/engine/workers.js";

setLanguage("en");
const text = (request, index, ...blocks) => ({ request, index, blocks });

test("blocks are counted by what they are", () => {
  assert.deepEqual(counts({ blocks: "--cooos", block_size: 16 }), { n: 7, size: 16, unused: 2, cached: 1, owned: 3, shared: 1 });
});

test("a shared block has several owners; the second text of a request has a name of its own", () => {
  const owners = ownersOf([text("a", 0, 1, 2), text("a", 1, 1, 3)]);
  assert.deepEqual(owners.get(1), ["a", "a · 2"]);
  assert.deepEqual(owners.get(3), [keyOf({ request: "a", index: 1 })]);
  assert.equal(owners.get(0), undefined);
});

test("a text keeps its colour while others come and go, and colours are given away again", () => {
  const tones = new Tones();
  tones.keep(["a", "b", "c"]);
  const [a, b, c] = ["a", "b", "c"].map((key) => tones.of(key));
  assert.equal(new Set([a, b, c]).size, 3);
  tones.keep(["a", "c", "d"]);
  assert.deepEqual([tones.of("a"), tones.of("c"), tones.of("d")], [a, c, b]);
});

test("steps become two charts that begin at zero, in milliseconds", () => {
  const steps = [1, 2, 3, 4].map((step) => ({ step, prefill: 96, decode: step, seconds: 0.05, bookkeeping: 0.001 }));
  assert.deepEqual(stepCharts(steps.slice(0, 3)), []);
  const [batch, time] = stepCharts(steps).map(({ chart }) => chart);
  assert.deepEqual(batch.y_range, [0, 96]);
  assert.deepEqual(batch.series.map(({ y }) => y.at(-1)), [96, 4]);
  assert.deepEqual(time.series.map(({ y }) => y.at(-1)), [50, 1]);
});

test("a process that has ended shows no numbers; what was handed over is said in words", () => {
  const worker = { name: "decode 0", pid: 7, is_alive: true, n_jobs: 2, queued_tokens: 0, n_kept: 1, n_owned: 3, n_blocks: 2048, steps: [{ prefill: 4, decode: 2, seconds: 0.0204 }] };
  assert.deepEqual(cellsOf(worker), ["decode 0 (7)", "2", "0", "1", "3 / 2,048", "4 read, 2 written, 20 ms"]);
  assert.deepEqual(cellsOf({ ...worker, is_alive: false }).slice(0, 3), ["decode 0 (7)", "has ended", "–"]);
  const moved = { n: 2, n_failed: 1, n_tokens: 2000, n_bytes: 46e6, seconds_p50: 0.0124, seconds_p95: null };
  assert.match(wordsOf(moved), /^2 caches .* 2,000 tokens, 46 MB, 12 ms each \(p95 – ms\); 1 did not/);
  assert.match(wordsOf(null), /No keys and values/);
});
