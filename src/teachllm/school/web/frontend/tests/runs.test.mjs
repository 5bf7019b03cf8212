import assert from "node:assert/strict";
import { test } from "node:test";
import { setLanguage } from "../src/core/strings.js";
import { chartsOf, replaced } from "../src/runs/curves.js";

setLanguage("en");
const curve = (...ys) => ({ x: ys.map((_, index) => index + 1), y: ys });

test("new points take the place of all from their step on", () => {
  assert.deepEqual(replaced(undefined, { from: 0, x: [1], y: [5] }), { x: [1], y: [5] });
  assert.deepEqual(replaced(curve(5, 4), { from: 3, x: [3, 4], y: [3, 2] }), { x: [1, 2, 3, 4], y: [5, 4, 3, 2] });
  assert.deepEqual(replaced(curve(5, 4, 3), { from: 2, x: [2], y: [9] }), { x: [1, 2], y: [5, 9] });
  assert.deepEqual(replaced(curve(5, 4), { from: 0, x: [], y: [] }), { x: [], y: [] });
});

test("only curves with points make charts, in the units of their titles", () => {
  const run = { name: "a", curves: { loss: curve(5, 4), held_out_loss: curve(), matmul_fraction: curve(0.25), memory_bytes: curve(3e6) } };
  const charts = chartsOf([run], []);
  assert.deepEqual(charts.map(({ name }) => name), ["loss", "matmul_fraction", "memory_bytes"]);
  assert.deepEqual(charts.map(({ chart }) => chart.series.map((series) => [series.name, ...series.y])), [[["loss", 5, 4]], [[null, 25]], [[null, 3]]]);
});

test("the chart of the learning rate begins at zero", () => {
  const [{ chart }] = chartsOf([{ name: "a", curves: { learning_rate: curve(0.01, 0.0099) } }], []);
  assert.deepEqual(chart.y_range, [0, 0.01]);
});

test("a second run is named beside the first; spikes are marked in the loss", () => {
  const runs = ["a", "b"].map((name) => ({ name, curves: { loss: curve(5), gradient_norm: curve(1) } }));
  const [loss, norm] = chartsOf(runs, [{ step: 7 }]).map(({ chart }) => chart);
  assert.deepEqual(loss.series.map((series) => series.name), ["loss · a", "loss · b"]);
  assert.deepEqual(norm.series.map((series) => series.name), ["a", "b"]);
  assert.deepEqual([loss.marks.map((mark) => mark.x), norm.marks], [[7], []]);
});
