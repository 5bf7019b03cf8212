import assert from "node:assert/strict";
import { test } from "node:test";
import { setLanguage } from "../src/core/strings.js";
import { counts, keyOf, ownersOf } from "../src/engine/block-map.js";
import { stepCharts } from "../src/engine/steps.js";
import { Tones } from "../src/engine/texts.js";

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
