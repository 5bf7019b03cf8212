/** When has a section been read? Its end was on screen, and one stayed long enough for its length. */

const PER_SECOND = { zh: 9, en: 24 };
const SHARE = 0.35;
const LEAST = 2;
const MOST = 45;

/** Seconds that a section asks for: about a third of a calm reading, since one may know it already. */
export function wantedSeconds(characters, lang) {
  return Math.min(MOST, Math.max(LEAST, (characters / PER_SECOND[lang]) * SHARE));
}

/**
 * @param {{anchor: string, characters: number}[]} sections
 * @param {string} lang
 * @param {Iterable<string>} already  anchors that were read before
 */
export function dwellTracker(sections, lang, already = []) {
  const read = new Set(already);
  const seconds = new Map();
  const endSeen = new Set();
  return {
    read,
    /**
     * @param {number} passed  seconds since the last call
     * @param {{anchor: string, top: number, bottom: number}[]} boxes  where the sections are now
     * @param {number} height  of the screen
     * @returns {string[]} the sections that count as read from now on
     */
    pass(passed, boxes, height) {
      const fresh = [];
      for (const { anchor, top, bottom } of boxes) {
        if (bottom <= 60 || top >= height - 40) continue;
        seconds.set(anchor, (seconds.get(anchor) ?? 0) + passed);
        if (bottom <= height + 8) endSeen.add(anchor);
        const section = sections.find((one) => one.anchor === anchor);
        if (!read.has(anchor) && endSeen.has(anchor) && seconds.get(anchor) >= wantedSeconds(section.characters, lang)) {
          read.add(anchor);
          fresh.push(anchor);
        }
      }
      return fresh;
    },
  };
}
