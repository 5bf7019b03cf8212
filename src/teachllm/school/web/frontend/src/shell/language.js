/** The language switch keeps the place: it follows the link to the section that one is in. */

/** @param {() => string|null} place  the anchor of the present section */
export function enableLanguage(place) {
  for (const link of document.querySelectorAll("a[data-language-switch]")) {
    link.addEventListener("click", () => {
      const address = new URL(/** @type {HTMLAnchorElement} */ (link).href);
      const anchor = place();
      if (anchor) address.hash = anchor;
      /** @type {HTMLAnchorElement} */ (link).href = address.href;
    });
  }
}
