"""axe finds nothing on any kind of page, in both languages, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from teachllm.school.course import load_course

from .conftest import RunningStudio, opened

pytestmark = pytest.mark.browser
Visit = Callable[..., AbstractContextManager[tuple[Page, Any]]]
StartStudio = Callable[..., AbstractContextManager[RunningStudio]]

PAGES = {
    "home": "/",
    "map": "/map#map-1.1",
    "welcome": "/welcome",
    "lesson": "/lesson/1.1",
    "planned": "/lesson/1.2",
    "review": "/review",
    "cards": "/cards",
    "search": "/search?q=softmax",
    "plan": "/plan",
    "interview": "/interview",
    "notes": "/notes",
    "chat": "/chat",
    "runs": "/runs",
    "settings": "/settings",
    "error": "/lesson/9.9",
}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visit, studio: Any, lang: str, theme: str) -> None:
    studio.settle(lang=lang, theme=theme)
    note = studio.call(
        "POST", "/api/notes", {"lesson": "1.1", "anchor": "idea", "quote": "1", "text": "note"}
    )
    studio.call("POST", "/api/bookmarks", {"lesson": "1.1", "anchor": "code", "on": True})
    found = {}
    with visit(reduced_motion="reduce") as (page, watch):
        for kind, path in PAGES.items():
            page.goto(studio.address + path)
            _settle(page)
            found[kind] = problems(page)
            if kind == "lesson":
                everything_open(page)
                found["lesson in use"] = problems(page)
        watch.errors = [error for error in watch.errors if "404" not in error]
    studio.call("DELETE", f"/api/notes/{note['id']}")
    assert {kind: one for kind, one in found.items() if one} == {}


def test_axe_finds_nothing_on_a_phone(visit: Visit, studio: Any) -> None:
    studio.settle(lang="zh", theme="light")
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    found = {}
    with visit(reduced_motion="reduce", **phone) as (page, _):
        for kind in ("home", "map", "lesson", "search", "settings"):
            page.goto(studio.address + PAGES[kind])
            _settle(page)
            found[kind] = problems(page)
        page.goto(studio.address + "/lesson/1.1")
        page.locator(".phone-bar button").click()
        found["sheet"] = problems(page)
    assert {kind: one for kind, one in found.items() if one} == {}


def test_axe_finds_nothing_in_the_overlays(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="dark")
    found = {}
    with visit(reduced_motion="reduce") as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        page.keyboard.press("?")
        page.locator("dialog.shortcuts").wait_for()
        found["shortcuts"] = problems(page)
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type("softmax")
        page.locator(".hit").first.wait_for()
        found["palette"] = problems(page)
    assert {kind: one for kind, one in found.items() if one} == {}


@pytest.mark.parametrize(("lang", "theme"), [("zh", "light"), ("en", "dark")])
def test_axe_finds_nothing_in_the_lessons_of_the_course(
    browser: Browser, start_studio: StartStudio, tmp_path: Path, lang: str, theme: str
) -> None:
    """Every other lesson in Chinese and light, the others in English and dark."""
    found = {}
    lessons = list(load_course().available())[lang == "en" :: 2]
    with start_studio(tmp_path / "home") as studio:
        studio.settle(lang=lang, theme=theme)
        with opened(browser, studio, reduced_motion="reduce") as (page, _):
            for lesson in lessons:
                page.goto(f"{studio.address}/lesson/{lesson.id}", timeout=120_000)  # its first drawing
                page.evaluate("document.querySelectorAll('main details').forEach((one) => (one.open = true))")
                for island in page.locator("[data-island]").all():
                    island.scroll_into_view_if_needed()
                expect(page.locator("[data-island]:not([data-alive])")).to_have_count(0, timeout=120_000)
                found[lesson.id] = problems(page)
    assert {lesson: one for lesson, one in found.items() if one} == {}


def problems(page: Page) -> list[str]:
    """What axe objects to, one line each."""
    # axe counts no MathML as text, so it takes a heading that is a formula for an empty one.
    results = Axe().run(page, context={"exclude": [["th:has(math)"]]}, options=RULES).response["violations"]
    return [
        f"{one['id']}: {node['html'][:180]} — {(node['any'] or node['all'] or [{}])[0].get('message', '')}"
        for one in results
        for node in one["nodes"]
    ]


def everything_open(page: Page) -> None:
    """Every island alive, a wrong answer given, a card and the details open."""
    for kind in ("figure", "lab", "exercise", "cards"):
        island = page.locator(f"[data-island={kind}]").first
        island.scroll_into_view_if_needed()
        page.wait_for_selector(f"[data-island={kind}][data-alive]")
    if page.locator(".predict.judged").count() == 0:
        page.locator(".predict .choice").first.click()
    page.locator(".predict.judged").wait_for()
    page.locator("details.more summary").first.click()
    page.locator(".exercise .button.primary").click()
    page.locator(".verdict").wait_for(timeout=60_000)
    page.locator(".card-list summary").first.click()
    page.locator(".followup").first.wait_for()


def _settle(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
