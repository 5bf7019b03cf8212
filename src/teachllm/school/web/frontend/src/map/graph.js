/** Questions about the map that need no page: what a lesson needs and opens, and which lesson lies where. */

/**
 * @typedef {{id: string, x: number, y: number}} Place
 * @param {[from: string, to: string][]} edges
 */
export function graphOf(edges) {
  const before = new Map();
  const after = new Map();
  const add = (map, key, value) => map.set(key, [...(map.get(key) ?? []), value]);
  for (const [from, to] of edges) {
    add(before, to, from);
    add(after, from, to);
  }
  return { needs: (id) => reached(before, id), opens: (id) => reached(after, id) };
}

/** Every lesson that one comes to from it, without itself. @returns {Set<string>} */
function reached(neighbours, start) {
  const found = new Set();
  const waiting = [start];
  while (waiting.length) {
    for (const one of neighbours.get(waiting.pop()) ?? []) {
      if (found.has(one)) continue;
      found.add(one);
      waiting.push(one);
    }
  }
  return found;
}

const DIRECTIONS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

/**
 * The lesson to go to from another by a key: the nearest in that direction, where aside counts more than ahead.
 * @param {Place[]} places  those that one may go to
 * @param {Place} from
 * @param {string} key
 * @returns {Place|null}
 */
export function neighbour(places, from, key) {
  if (key === "Home") return places[0] ?? null;
  if (key === "End") return places.at(-1) ?? null;
  const direction = DIRECTIONS[key];
  if (!direction) return null;
  const [dx, dy] = direction;
  let best = null;
  let least = Infinity;
  for (const place of places) {
    const x = place.x - from.x;
    const y = place.y - from.y;
    const ahead = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    if (ahead <= 0) continue;
    const distance = ahead + 2.5 * aside;
    if (distance < least) [best, least] = [place, distance];
  }
  return best;
}

/** Does a lesson belong to what is asked for? `words` must all be in what it is found by. */
export function wanted(lesson, { words, chapter, show }) {
  if (chapter && lesson.chapter !== chapter) return false;
  if (!words.every((word) => lesson.words.includes(word))) return false;
  if (show === "all") return true;
  if (show === "ready") return lesson.ready;
  if (show === "going") return lesson.level === "begun" || lesson.level === "learning";
  return lesson.level === show;
}
