import assert from "node:assert/strict";
import test from "node:test";
import { graphOf, neighbour, wanted } from "../src/map/graph.js";

test("what a lesson needs and opens reaches as far as the lines do", () => {
  const graph = graphOf([["a", "b"], ["b", "c"], ["a", "c"], ["c", "d"], ["x", "d"]]);
  assert.deepEqual([...graph.needs("c")].sort(), ["a", "b"]);
  assert.deepEqual([...graph.needs("d")].sort(), ["a", "b", "c", "x"]);
  assert.deepEqual([...graph.opens("b")].sort(), ["c", "d"]);
  assert.deepEqual([...graph.needs("a")], []);
});

test("an arrow goes to the nearest lesson in its direction, and aside counts more than ahead", () => {
  const places = [{ id: "a", x: 0, y: 0 }, { id: "b", x: 100, y: 50 }, { id: "c", x: 200, y: 0 }, { id: "d", x: 0, y: 55 }];
  const go = (id, key) => neighbour(places, places.find((one) => one.id === id), key)?.id;
  assert.equal(go("a", "ArrowRight"), "c");
  assert.equal(go("a", "ArrowDown"), "d");
  assert.equal(go("d", "ArrowRight"), "b");
  assert.equal(go("b", "ArrowLeft"), "d");
  assert.equal(go("a", "ArrowUp"), undefined);
  assert.equal(go("d", "Home"), "a");
  assert.equal(go("a", "End"), "d");
  assert.equal(go("a", "x"), undefined);
});

test("a lesson is shown if it is in the chapter, has all the words and the state", () => {
  const lesson = { chapter: "1", words: "1.2 自注意力 self-attention", level: "begun", ready: true };
  const asked = { words: [], chapter: "", show: "all" };
  assert.ok(wanted(lesson, asked));
  assert.ok(wanted(lesson, { words: ["self", "注意力"], chapter: "1", show: "going" }));
  assert.ok(wanted(lesson, { ...asked, show: "ready" }));
  assert.ok(!wanted(lesson, { ...asked, words: ["self", "rope"] }));
  assert.ok(!wanted(lesson, { ...asked, chapter: "2" }));
  assert.ok(!wanted(lesson, { ...asked, show: "planned" }));
});
