"""What every page has: templates in the reader's language, the theme, the bar, the scripts and styles."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from teachllm.school.language import LANGUAGES, Lang
from teachllm.school.progress import StoreError
from teachllm.school.progress.place import learner_home
from teachllm.school.tutor.endpoint import read_endpoint
from teachllm.school.web.static_files import BundleMissing, manifest
from teachllm.school.web.studio import Studio, studio_of

THEMES = ("light", "dark", "auto")


def page(request: Request, template: str, *, title: str, status: int = 200, **context: Any) -> Response:
    """One page. ``template`` is its name in ``templates/`` and in ``data-page``."""
    studio = studio_of(request)
    frame = _frame(request, studio.language(request), theme_of(studio), due=studio.store.due_count())
    return _html(template, status, {**frame, "name": template, "title": title, **context})


def bare_page(
    request: Request, template: str, lang: Lang, *, title: str, status: int, **context: Any
) -> Response:
    """The same without asking the learner's store, which may be what has failed."""
    frame = _frame(request, lang, "auto", due=0)
    return _html(template, status, {**frame, "name": template, "title": title, **context})


def without_choices(request: Request) -> Response | None:
    """``?lang=`` and ``?theme=`` are remembered and leave the address, so that a reload chooses nothing.

    Browsers keep the place (``#anchor``) across the redirect.
    """
    query = request.query_params
    if "lang" not in query and "theme" not in query:
        return None
    studio = studio_of(request)
    studio.language(request)
    if query.get("theme") in THEMES:
        studio.store.set_setting("theme", query["theme"])
    rest = [(name, value) for name, value in query.multi_items() if name not in ("lang", "theme")]
    address = "/" + request.url.path.lstrip("/") + (f"?{urlencode(rest)}" if rest else "")
    return RedirectResponse(address, status_code=303)


def theme_of(studio: Studio) -> str:
    chosen = studio.store.setting("theme")
    return chosen if chosen in THEMES else "auto"


def script_json(data: Any) -> str:
    """JSON that may stand in a ``<script type="application/json">``: nothing in it can end the script."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _frame(request: Request, lang: Lang, theme: str, due: int) -> dict[str, Any]:
    other = LANGUAGES[1 - LANGUAGES.index(lang)]
    query = [
        (name, value) for name, value in request.query_params.multi_items() if name not in ("lang", "token")
    ]
    return {
        "lang": lang,
        "say": partial(_say, lang),
        "many": _many,
        "hours": _hours,
        "theme": theme,
        "due": due,
        "bundle": _bundle(),
        "answers_from": _answers_from(),
        "other_language": "?" + urlencode([*query, ("lang", other)]),
    }


def _answers_from() -> str | None:
    """The host that questions go to, if it is another computer."""
    try:
        endpoint = read_endpoint(learner_home())
    except StoreError:  # this may be the page that says so
        return None
    return None if endpoint is None or endpoint.is_here else endpoint.host


def _html(template: str, status: int, context: dict[str, Any]) -> Response:
    html = _templates.get_template(f"{template}.html").render(context)
    return HTMLResponse(html, status, {"cache-control": "no-store", "vary": "accept-language"})


def _say(lang: Lang, zh: str, en: str, /, **values: object) -> str:
    """``say("有 {n} 张", "{n} cards", n=3)``: both languages stand side by side in the templates."""
    text = zh if lang == "zh" else en
    return text.format(**values) if values else text


def _many(n: int, thing: str) -> str:
    """``1 card``, ``2 cards``."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def _hours(hours: float) -> str:
    return f"{hours:.1f}".removesuffix(".0")


class _Bundle:
    def __init__(self, entries: dict[str, Any]) -> None:
        self._entries = entries
        self.preload: list[str] = entries["preload"]

    def url(self, name: str) -> str:
        entry = self._entries[name]
        return f"/static/built/{entry['file']}?v={entry['hash']}"


def _bundle() -> _Bundle | None:
    """``None`` if the scripts have not been built: the page says so and what to do."""
    try:
        return _Bundle(manifest())
    except BundleMissing:
        return None


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
