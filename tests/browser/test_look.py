"""What a visitor sees and does: no page scrolls sideways, keys work, reading survives without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
Visit = Callable[..., AbstractContextManager[tuple[Page, Any]]]

PATHS = [
    *("/", "/welcome", "/lesson/1.1", "/lesson/1.2", "/review"),
    *("/search?q=softmax", "/notes", "/chat", "/runs", "/settings"),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_first_visit_chooses_a_language_and_a_theme(page: Page, studio: Any) -> None:
    expect(page).to_have_url(studio.address + "/welcome")
    assert page.locator("html").get_attribute("lang") == "zh"  # the browser's wish
    page.get_by_text("English", exact=True).click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.get_by_text("Dark", exact=True).click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_text("Saved")).to_be_visible()
    page.get_by_role("link", name="Open the map of the course").click()
    expect(page.locator("body")).to_have_attribute("data-page", "home")
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_page_scrolls_sideways_on_a_phone(visit: Visit, studio: Any, lang: str) -> None:
    studio.settle(lang=lang)
    wide = {}
    with visit(**PHONE) as (page, _):
        for path in PATHS:
            page.goto(studio.address + path)
            page.wait_for_load_state("networkidle")
            if path == "/lesson/1.1":
                _wake(page)
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > 390:
                wide[path] = width
    assert wide == {}


def test_six_things_stay_in_reach_on_a_phone(visit: Visit, studio: Any) -> None:
    studio.settle(lang="zh")
    with visit(**PHONE) as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        bar = page.locator(".phone-bar")
        expect(bar.locator("[data-thing]")).to_have_count(6)
        expect(bar).to_be_in_viewport()
        page.mouse.wheel(0, 3000)
        expect(bar).to_be_in_viewport()
        bar.get_by_role("button").click()
        page.locator("dialog.sheet").get_by_role("link", name="和论文的不同").click()
        expect(page.locator("dialog.sheet")).to_have_count(0)
        expect(page.locator("#differs h2")).to_be_in_viewport()


def test_contents_follow_the_reader(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en")
    with visit() as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        for anchor in ("code", "sources"):
            page.locator(f"#{anchor}").scroll_into_view_if_needed()
            page.evaluate(f"document.querySelector('#{anchor}').scrollIntoView()")
            expect(page.locator("[data-toc] [aria-current=location]")).to_have_attribute("href", f"#{anchor}")
        expect(page.locator(".rail .six li")).to_have_count(6)
        expect(page.locator(".rail .six")).to_be_in_viewport()


def test_keys(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="light")
    with visit() as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        page.locator("[data-theme-switch][title]").wait_for(state="attached")
        page.keyboard.press("?")
        expect(page.locator("dialog.shortcuts")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        page.keyboard.press("t")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.keyboard.press("]")
        page.keyboard.press("]")
        expect(page.locator("[data-toc] [aria-current=location]")).to_have_attribute("href", "#code")
        page.keyboard.press("l")
        expect(page.locator("html")).to_have_attribute("lang", "zh")
        expect(page).to_have_url(studio.address + "/lesson/1.1#code")  # the place is kept
        page.keyboard.press("n")
        expect(page).to_have_url(studio.address + "/lesson/1.2")
        page.keyboard.press("p")
        expect(page).to_have_url(studio.address + "/lesson/1.1")
        for key, path in (("r", "/review"), ("c", "/chat"), ("h", "/")):
            page.locator("body").click(position={"x": 2, "y": 2})
            page.keyboard.press("g")
            page.keyboard.press(key)
            expect(page).to_have_url(studio.address + path)
            page.wait_for_load_state("networkidle")


def test_letters_are_letters_while_typing(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="light")
    with visit() as (page, _):
        page.goto(studio.address + "/search")
        page.locator("input[name=q]").fill("")
        page.keyboard.type("ntl?/g")
        expect(page.locator("input[name=q]")).to_have_value("ntl?/g")
        assert page.locator("html").get_attribute("data-theme") == "light"


def test_focus_is_seen(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="light")
    with visit() as (page, _):
        page.goto(studio.address + "/")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_in_viewport()
        for _ in range(14):
            page.keyboard.press("Tab")
            outline = page.evaluate(
                "(() => { const style = getComputedStyle(document.activeElement);"
                " return [style.outlineStyle, parseFloat(style.outlineWidth)]; })()"
            )
            assert outline[0] == "solid", page.evaluate("document.activeElement.outerHTML")
            assert outline[1] >= 2


def test_reading_survives_without_scripts(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="auto")
    with visit(java_script_enabled=False, color_scheme="dark") as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        expect(page.locator("#idea h2")).to_have_text("One by hand")
        expect(page.locator(".math").first).to_be_visible()
        expect(page.locator("pre.highlight").first).to_contain_text("isinstance(value, float)")
        expect(page.locator("section.lab noscript p")).to_be_visible()
        expect(page.locator("[data-theme-switch]")).to_be_hidden()
        assert (
            page.locator("body").evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(20, 22, 27)"
        )
        page.locator("[data-language-switch]").click()
        expect(page.locator("#idea h2")).to_have_text("先算一个")
        page.goto(studio.address + "/search")
        page.locator("input[name=q]").fill("温度")
        page.get_by_role("button", name="搜索").click()
        expect(page.locator(".found-list li").first).to_be_visible()
        page.goto(studio.address + "/settings")
        page.get_by_text("浅色", exact=True).click()
        page.get_by_role("button", name="保存", exact=True).click()
        expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_reduced_motion_is_honoured(visit: Visit, studio: Any) -> None:
    studio.settle()
    with visit(reduced_motion="reduce") as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        _wake(page)
        moving = page.evaluate(
            "[...document.querySelectorAll('*')].filter((one) => {"
            " const style = getComputedStyle(one);"
            " return style.scrollBehavior === 'smooth' || style.animationName !== 'none'"
            " || style.transitionDuration.split(',').some((time) => parseFloat(time) > 0); }).length"
        )
        assert moving == 0


def test_hostile_note_is_only_text(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en")
    text = "</script><img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    made = studio.call("POST", "/api/notes", {"lesson": "1.1", "anchor": "idea", "quote": "", "text": text})
    try:
        with visit() as (page, _):
            for path in ("/notes", "/lesson/1.1"):
                page.goto(studio.address + path)
                expect(page.locator(".note-text").first).to_have_text(text)
                assert "owned" not in page.title()
    finally:
        studio.call("DELETE", f"/api/notes/{made['id']}")


def test_note_is_written_beside_its_passage_and_comes_back(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en")
    with visit() as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        page.wait_for_selector("button.bookmark", state="attached")
        page.locator("#idea p").first.click(click_count=3)
        page.locator(".selection-bubble button").first.click()
        page.locator("aside.note.mine textarea").fill("scores, not probabilities")
        page.locator("aside.note.mine").get_by_role("button", name="Save").click()
        expect(page.locator("aside.note.mine .note-text")).to_have_text("scores, not probabilities")
        page.reload()
        expect(page.locator("aside.note.mine .note-text")).to_have_text("scores, not probabilities")
        page.goto(studio.address + "/notes")
        expect(page.locator(".note-list .quote")).to_contain_text(re.compile("Three tokens have the scores"))
        page.get_by_role("button", name="Delete").click()
        expect(page.locator(".note-list .note-text")).to_be_hidden()
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".note-list .note-text")).to_be_visible()


def _wake(page: Page) -> None:
    """Scrolls through the page, so that every part of it comes alive."""
    for island in page.locator("[data-island]").all():
        island.scroll_into_view_if_needed()
        expect(island).to_have_attribute("data-alive", "")
