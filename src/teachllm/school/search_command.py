"""``teachllm search``: finds a place in the lessons, from the terminal."""

from __future__ import annotations

from rich.padding import Padding
from rich.text import Text

from teachllm.school.language import Both, Lang
from teachllm.school.search import KIND_NAMES, Hit, search_whole
from teachllm.school.terminal import learner_terminal


def search(*words: str, lang: Lang | None = None, limit: int = 10) -> None:
    """Find a place in the lessons, cards, code, terms and your notes. Exits with 1 if there is none.

    Parameters
    ----------
    words
        What to look for, in Chinese or English, such as: KV cache
    lang
        Language: zh or en. By default that of the studio, else that of the terminal.
    limit
        How many places to show.
    """
    query = " ".join(words).strip()
    with learner_terminal(lang) as terminal:
        if not query:
            terminal.say(
                Both(
                    "要找什么？例如：teachllm search KV 缓存", "Look for what? E.g. teachllm search KV cache"
                )
            )
            raise SystemExit(2)
        hits = search_whole(query, terminal.lang, limit=max(1, limit), notes=terminal.store.notes())
        for hit in hits:
            terminal.console.print(_heading(hit, terminal.lang))
            terminal.console.print(Padding(_snippet(hit), (0, 0, 1, 4)))
        if not hits:
            terminal.say(Both(f"没有找到“{query}”。", f"Nothing found for “{query}”."))
            raise SystemExit(1)


def _heading(hit: Hit, lang: Lang) -> Text:
    text = Text()
    text.append(" ".join(filter(None, (hit.lesson_id, hit.title))), "bold")
    if hit.section_title and hit.section_title != hit.title:
        text.append(f" › {hit.section_title}")
    text.append(f"  {KIND_NAMES[hit.kind].get(lang)}", "dim")
    if hit.lesson_id and hit.anchor:
        text.append(f" #{hit.anchor}", "dim")
    return text


def _snippet(hit: Hit) -> Text:
    text = Text(style="dim")
    for part, is_match in hit.snippet:
        text.append(part, "bold yellow not dim" if is_match else "")
    return text
