import assert from "node:assert/strict";
import { test } from "node:test";
import { blocks } from "../src/chat/markdown.js";

test("a fence that is still open is code already", () => {
  assert.deepEqual(blocks("see\n```python\ndef f():\n    # not a heading"), [
    { kind: "paragraph", text: "see" },
    { kind: "code", lang: "python", text: "def f():\n    # not a heading" },
  ]);
});

test("blocks of every kind, in order", () => {
  const text = "# Title #\n\nOne\ntwo\n- a\n- b\n  more\n\n3. c\n4. d\n> q\n\n| x | y |\n|---|:-:|\n| 1 | 2 |\nend";
  assert.deepEqual(blocks(text), [
    { kind: "heading", level: 1, text: "Title" },
    { kind: "paragraph", text: "One\ntwo" },
    { kind: "list", ordered: false, start: 1, items: ["a", "b\nmore"] },
    { kind: "list", ordered: true, start: 3, items: ["c", "d"] },
    { kind: "quote", text: "q" },
    { kind: "table", rows: [["x", "y"], ["1", "2"]] },
    { kind: "paragraph", text: "end" },
  ]);
});

test("any beginning of an answer is parsed to the end (the text grows while it is shown)", () => {
  const text = "Hi **x**\n\n1. a\n\n   ```py\n   x\n   ```\n- [ ] b\n* c\n\n|a|\n|-|\n|1|\n\n> > deep\n~~~\nz\n~~~\n--- \n#not\n";
  for (let end = 0; end <= text.length; end++) assert.ok(Array.isArray(blocks(text.slice(0, end))));
});
