/** The sections of a lesson: where each begins and ends on the page. */

/**
 * @param {HTMLElement} body  the lesson's article
 * @returns {{anchor: string, heading: HTMLElement, characters: number, box: () => {top: number, bottom: number}}[]}
 */
export function sectionsOf(body) {
  const headings = /** @type {HTMLElement[]} */ ([...body.querySelectorAll("section[data-section] > h2")]);
  return headings.map((heading, index) => {
    const next = headings[index + 1];
    return {
      anchor: heading.parentElement.id,
      heading,
      characters: textBetween(heading, next, body).length,
      box: () => ({
        top: heading.getBoundingClientRect().top,
        bottom: (next ? next.getBoundingClientRect() : { top: body.getBoundingClientRect().bottom }).top,
      }),
    };
  });
}

function textBetween(heading, next, body) {
  const range = document.createRange();
  range.setStartBefore(heading);
  if (next) range.setEndBefore(next);
  else range.setEndAfter(body.lastChild ?? heading);
  return range.toString();
}

/** The section that one is in: the last whose heading is above a line in the upper part of the screen; at the end, the last. */
export function currentSection(sections) {
  const { scrollHeight } = document.documentElement;
  if (scrollY > 0 && scrollY + innerHeight >= scrollHeight - 2) return sections.at(-1) ?? null;
  const line = Math.min(innerHeight * 0.32, 260);
  let current = null;
  for (const section of sections) {
    if (section.box().top <= line) current = section;
    else break;
  }
  return current;
}
