"""Reviewing in two windows at once: what one has answered, the other does not answer again."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.browser


def test_a_window_that_is_behind_says_so_and_goes_on(browser: Browser, studio: Any) -> None:
    studio.settle(lang="en")
    studio.call("POST", "/api/cards/1.1/learn", {})
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(studio.url)
    page.goto(studio.address + "/review")
    question = page.locator(".card .question")
    shown = question.inner_text()
    coming = studio.call("GET", "/api/review/next")
    assert coming["card"]["reviews"] == 0
    studio.call("POST", f"/api/review/{coming['card']['id']}", {"rating": 4, "reviews": 0})
    page.keyboard.press("Space")
    expect(page.locator(".rating")).to_have_count(4)
    page.keyboard.press("1")
    expect(page.get_by_text("answered in another window already")).to_be_visible()
    expect(question).not_to_have_text(shown)
    expect(page.get_by_text("6 left")).to_be_visible()
    assert studio.call("GET", "/api/review/next")["left"] == 6, "the stale answer did not count"
    page.keyboard.press("Space")
    page.keyboard.press("3")
    expect(page.get_by_text("5 left")).to_be_visible()
    assert errors == []
    page.close()
