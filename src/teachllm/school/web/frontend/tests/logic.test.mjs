import assert from "node:assert/strict";
import { test } from "node:test";
import { eventParser } from "../src/core/event-stream.js";
import { clip, extent, sameDecimals, textWidth } from "../src/charts/plot.js";
import { asTable, summary } from "../src/charts/summary.js";
import { setLanguage } from "../src/core/strings.js";
import { niceStep, shownValue, sliderScale } from "../src/figure/scale.js";
import { dwellTracker, wantedSeconds } from "../src/reading/dwell.js";

test("events arrive whole however the stream is cut", () => {
  const stream = 'data: {"a":1}\n\n: a comment\n\nevent: x\r\ndata: {"b":\r\ndata: 2}\r\n\r\ndata: {"c":"字"}\n\ndata: {"unfinished"';
  for (const cut of [1, 2, 3, 7, 1000]) {
    const parse = eventParser();
    const events = [];
    for (let at = 0; at < stream.length; at += cut) events.push(...parse(stream.slice(at, at + cut)));
    assert.deepEqual(events, [{ a: 1 }, { b: 2 }, { c: "字" }], `cut every ${cut}`);
  }
});

test("a slider's positions and values belong together, at both ends too", () => {
  const plain = sliderScale({ low: 0.1, high: 2, step: 0.1, log: false, integer: false });
  assert.equal(plain.value(plain.position(0.7)), 0.7);
  assert.equal(plain.value(0.1 + 0.2), 0.3);
  for (const [low, high] of [[8, 512], [10, 1e6], [0.001, 1]]) {
    const log = sliderScale({ low, high, step: null, log: true, integer: false });
    assert.equal(log.value(log.min), low);
    assert.equal(log.value(log.max), high);
    assert.ok(Math.abs(log.position(Math.sqrt(low * high)) - 500) < 1e-9);
  }
  const whole = sliderScale({ low: 8, high: 512, step: 1, log: true, integer: true });
  for (let at = 0; at <= 1000; at += 13) assert.ok(Number.isInteger(whole.value(at)));
  const free = sliderScale({ low: -1, high: 1, step: null, log: false, integer: false });
  assert.equal(free.value(free.position(0.25)), 0.25);
});

test("a value is shown with the decimals of its step", () => {
  assert.equal(shownValue({ step: 0.05, integer: false, log: false, unit: null }, 1), "1.00");
  assert.equal(shownValue({ step: 1, integer: true, log: false, unit: "token" }, 1024), "1,024 token");
  assert.equal(niceStep(0, 360), 5);
  assert.equal(niceStep(0, 1), 0.01);
  assert.equal(niceStep(0.5, 2), 0.02);
});

test("a section is read when its end was seen and enough time has passed, not before", () => {
  const sections = [{ anchor: "a", characters: 900 }, { anchor: "b", characters: 90 }];
  assert.equal(wantedSeconds(900, "zh"), 35);
  assert.ok(wantedSeconds(900, "en") < wantedSeconds(900, "zh"));
  assert.equal(wantedSeconds(1, "zh"), 2);
  const tracker = dwellTracker(sections, "zh");
  const begin = [{ anchor: "a", top: 0, bottom: 2000 }, { anchor: "b", top: 2000, bottom: 2400 }];
  for (let second = 0; second < 60; second++) assert.deepEqual(tracker.pass(1, begin, 800), []);
  const end = [{ anchor: "a", top: -1400, bottom: 600 }, { anchor: "b", top: 600, bottom: 1000 }];
  assert.deepEqual(tracker.pass(1, end, 800), ["a"]);
  assert.deepEqual(tracker.pass(1, end, 800), []);
  const rushed = dwellTracker(sections, "zh");
  const both = [{ anchor: "a", top: -1400, bottom: 300 }, { anchor: "b", top: 300, bottom: 700 }];
  assert.deepEqual(rushed.pass(1, both, 800), []);
  assert.deepEqual(dwellTracker(sections, "zh", ["a"]).pass(60, end, 800), []);
});

test("numbers of one chart share their decimals, and small ones do not become a false zero", () => {
  assert.deepEqual([0.3912, 0.2042, 0.0231].map(sameDecimals([0.3912, 0.2042, 0.0231])), ["0.391", "0.204", "0.023"]);
  assert.deepEqual([0.9512, 0.00001, -0.00001].map(sameDecimals([0.9512, 0.00001, -0.00001])), ["0.951", "<0.001", ">−0.001"]);
  assert.deepEqual([1024, 96.5].map(sameDecimals([1024, 96.5])), ["1,024", "96.5"]);
  assert.deepEqual([16, 0.25].map(sameDecimals([16, 0.25])), ["16", "0.25"]);
  assert.deepEqual(extent([null, 3, -1]), [-1, 3]);
  assert.deepEqual(extent([null]), [0, 1]);
});

test("wide characters are counted as wide", () => {
  assert.ok(textWidth("注意力") > textWidth("abc"));
  assert.equal(clip("attention", 1000), "attention");
  assert.ok(textWidth(clip("attention weights", 50)) <= 50);
});

test("a chart has words and a table of the same numbers", () => {
  setLanguage("en");
  const bars = { kind: "bars", title: null, labels: ["a", "b"], series: [{ name: null, values: [0.25, null] }], x_label: null, y_label: "share", note: "a note" };
  assert.equal(summary(bars), "Bar chart of 2. Largest 0.25 (a), smallest 0.25. a note");
  assert.deepEqual(asTable(bars), { columns: ["name", "share"], rows: [["a", 0.25], ["b", null]] });
  const lines = { kind: "lines", series: [{ name: "p", x: [2, 1], y: [20, 10] }, { name: "q", x: [3], y: [7] }], x_label: "step", y_label: null };
  assert.deepEqual(asTable(lines), { columns: ["step", "p", "q"], rows: [[1, 10, null], [2, 20, null], [3, null, 7]] });
  const heat = { kind: "heatmap", values: [[1, null]], x_labels: ["k"], y_labels: null };
  assert.deepEqual(asTable(heat).rows, [["0", 1, null]]);
  assert.equal(asTable({ kind: "text", text: "x" }), null);
});
