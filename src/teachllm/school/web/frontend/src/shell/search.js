/** The search palette: results as one types, arrows to choose, Enter to go. */
import { call, wasAborted } from "../core/api.js";
import { debounce, fill, h } from "../core/dom.js";
import { t } from "../core/strings.js";
import { openDialog } from "./overlay.js";

export function enableSearch() {
  for (const button of document.querySelectorAll("[data-search-open]")) {
    button.addEventListener("click", (event) => { event.preventDefault(); openSearch(); });
  }
}

export function openSearch(query = "") {
  const list = h("div.hits", { role: "listbox", id: "search-hits", "aria-label": t("search.label") });
  const input = /** @type {HTMLInputElement} */ (h("input", {
    type: "search", placeholder: t("search.placeholder"), "aria-label": t("search.label"), role: "combobox", "aria-expanded": "false",
    "aria-controls": "search-hits", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false",
  }));
  const count = h("span", { role: "status" });
  const all = h("a", { href: "/search", hidden: true }, t("search.all"));
  const dialog = openDialog("palette", t("search.label"), h("div.search-line", null, input), list,
    h("div.search-foot", null, count, h("span.keys", null, t("search.keys")), all));
  let request = null;
  let chosen = -1;

  const look = debounce(async () => {
    const words = input.value.trim();
    request?.abort();
    if (!words) return show([], "");
    const mine = request = new AbortController();
    try {
      const answer = await call("GET", `/api/search?q=${encodeURIComponent(words)}`, undefined, { signal: mine.signal });
      if (request === mine) show(answer.hits, words);
    } catch (error) {
      if (!wasAborted(error)) fill(list, h("p.problem", null, error.message));
    }
    return undefined;
  }, 70);

  function show(hits, words) {
    fill(list, hits.map((hit, index) => hitLink(hit, index)));
    if (!hits.length && words) fill(list, h("p.none", null, t("search.none", { query: words })));
    count.textContent = hits.length ? t("search.count", { n: hits.length }) : "";
    all.hidden = !hits.length;
    all.setAttribute("href", `/search?q=${encodeURIComponent(words)}`);
    input.setAttribute("aria-expanded", String(hits.length > 0));
    choose(hits.length ? 0 : -1);
  }

  function choose(index) {
    const links = list.querySelectorAll("a");
    links[chosen]?.setAttribute("aria-selected", "false");
    chosen = links.length ? (index + links.length) % links.length : -1;
    const link = links[chosen];
    if (!link) return void input.removeAttribute("aria-activedescendant");
    link.setAttribute("aria-selected", "true");
    input.setAttribute("aria-activedescendant", link.id);
    link.scrollIntoView({ block: "nearest" });
    return undefined;
  }

  input.addEventListener("input", look);
  list.addEventListener("click", (event) => { if (/** @type {HTMLElement} */ (event.target).closest("a")) dialog.close(); });
  input.addEventListener("keydown", async (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.preventDefault(); // a search field would only be emptied
      dialog.close();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      await look.now();
      list.querySelectorAll("a")[chosen]?.click();
    }
  });
  input.value = query;
  input.focus();
  if (query) look();
}

function hitLink(hit, index) {
  return h("a.hit", { href: hit.url, role: "option", id: `hit-${index}`, "aria-selected": "false", tabindex: "-1", lang: hit.lang },
    h("span.hit-title", null, h("b", null, [hit.lesson_id, hit.title].filter(Boolean).join(" ")), hit.section_title && hit.section_title !== hit.title ? h("span", null, ` › ${hit.section_title}`) : null, h("small", null, t(`search.kind.${hit.kind}`))),
    h("span.snippet", null, hit.snippet.map(([text, match]) => (match ? h("mark", null, text) : text))));
}
