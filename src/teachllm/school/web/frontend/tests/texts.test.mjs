import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { duration, fromNow, readable, setLanguage, size, STRINGS, t } from "../src/core/strings.js";

const src = join(dirname(fileURLToPath(import.meta.url)), "..", "src");
const files = (folder) => readdirSync(folder).flatMap((name) => (statSync(join(folder, name)).isDirectory() ? files(join(folder, name)) : [join(folder, name)]));
const code = files(src).map((file) => readFileSync(file, "utf8").replace(/^ {2}"[^"]+": \[.*$/gm, "")).join("\n");

test("every text has both languages with the same values in them", () => {
  const values = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();
  for (const [key, [zh, en]] of Object.entries(STRINGS)) {
    assert.ok(zh && en, key);
    assert.deepEqual(values(zh), values(en), key);
    assert.ok(!/\p{Script=Han}/u.test(en), `${key} has Chinese in its English text`);
  }
});

test("every text that the code asks for exists, and every text is asked for", () => {
  const asked = new Set([...code.matchAll(/["'`]([a-z]+(?:\.[\w-]+)*)["'`]/g)].map((match) => match[1]));
  const families = [...code.matchAll(/t\(`([a-z.]+\.)\$\{/g)].map((match) => match[1]);
  for (const [, key] of code.matchAll(/\bt\("([^"]+)"/g)) assert.ok(key in STRINGS, key);
  for (const key of Object.keys(STRINGS)) {
    assert.ok(asked.has(key) || families.some((family) => key.startsWith(family)), `${key} is not used`);
  }
});

test("an unknown text is an error, not an empty place on the page", () => assert.throws(() => t("no.such"), /no text named/));

test("numbers are short, separated, and keep small things visible", () => {
  const cases = [[0, "0"], [1234567, "1,234,567"], [3.14159, "3.142"], [0.0231234, "0.0231"], [-2.5, "−2.5"], [1e-7, "1e−7"], [123456789, "1.23e8"], [null, "–"], ["x", "x"], [0.5, "0.5"], [12345.678, "12,346"]];
  for (const [value, text] of cases) assert.equal(readable(value), text);
});

test("durations and moments are said in the page's language", () => {
  setLanguage("en");
  assert.equal(duration(0.371), "0.37 s");
  assert.equal(duration(12.4), "12 s");
  assert.equal(duration(180), "3 min");
  assert.equal(duration(86400), "24 h");
  assert.equal(duration(4 * 86400), "4 days");
  assert.equal(fromNow(1000 * 3600 * 3, 0), "in 3 hours");
  setLanguage("zh-CN");
  assert.equal(duration(180), "3 分钟");
  assert.equal(fromNow(0, 86400 * 1000), "昨天");
  assert.equal(fromNow(0, 10), "刚刚");
  assert.equal(size(98362432), "98 MB");
});
