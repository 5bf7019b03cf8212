"""The tutor beside a lesson by hand: by key, by selection, for a hint; and the endpoint in the settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .test_accessibility import problems

pytestmark = pytest.mark.browser
Visit = Callable[..., AbstractContextManager[tuple[Page, Any]]]
PATIENCE = 60_000


def test_panel_answers_refuses_and_hints(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="light")
    with visit(reduced_motion="reduce") as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        panel = page.get_by_role("complementary", name="Ask")
        log = panel.get_by_role("log")
        page.locator(".tutor-open").wait_for()
        page.keyboard.press("a")
        expect(panel.get_by_role("textbox")).to_be_focused()
        page.keyboard.type("What does temperature do to the scores before the softmax?")
        page.keyboard.press("Enter")
        expect(panel.locator(".passages a").first).to_have_attribute(
            "href", re.compile("^/lesson/1.1"), timeout=PATIENCE
        )
        expect(panel.locator("mark").first).to_be_visible()
        page.keyboard.type("How do I water a cactus?")
        page.keyboard.press("Enter")
        expect(log.get_by_text("The course says nothing about this.")).to_be_visible()
        panel.get_by_role("button", name="A hint for the exercise").click()
        expect(log.get_by_text("Step 1: where to look.")).to_be_visible()
        assert problems(page) == []
        panel.get_by_role("textbox").press("Escape")
        expect(panel).to_be_hidden()

        page.reload()
        words = page.get_by_text("have the scores 2, 1 and 0").first
        words.click(click_count=3)
        page.get_by_role("button", name="Ask about this").click()
        expect(log.get_by_text("Step 1: where to look.")).to_be_visible()  # the lesson's thread goes on
        expect(panel.locator(".quoted blockquote")).to_contain_text("scores 2, 1 and 0")


def test_panel_is_a_sheet_on_a_phone(visit: Visit, studio: Any) -> None:
    studio.settle(lang="zh", theme="dark")
    with visit(reduced_motion="reduce", viewport={"width": 390, "height": 844}) as (page, _):
        page.goto(studio.address + "/lesson/1.1")
        page.wait_for_load_state("networkidle")  # before its script is there, it is a link to /chat
        page.locator('.phone-bar a[href="/chat?context=1.1"]').click()
        panel = page.get_by_role("complementary", name="问一问")
        expect(panel.get_by_role("textbox")).to_be_visible()
        box = panel.bounding_box()
        assert box is not None
        assert (box["x"], box["width"]) == (0, 390)
        assert box["y"] > 100
        assert problems(page) == []


def test_endpoint_that_nobody_answers_says_so_and_is_removed(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="light")
    with visit() as (page, _):
        page.goto(studio.address + "/settings")
        page.get_by_label("Address").fill("http://127.0.0.1:9/v1")
        page.get_by_label("Model", exact=True).fill("some-model")
        page.get_by_label("Key", exact=True).fill("sk-very-secret-key-1a2b")
        page.get_by_role("button", name="Save and test").click()
        expect(page.locator(".trials .no")).to_contain_text("cannot be reached", timeout=PATIENCE)
        expect(page.get_by_label("Key", exact=True)).to_have_value("")
        page.reload()
        expect(page.get_by_label("Key", exact=True)).to_have_attribute("placeholder", "saved, ends in …1a2b")
        page.get_by_role("button", name="Disconnect").click()
        expect(page.get_by_text("Disconnected; the key is deleted.")).to_be_visible()
        assert studio.call("GET", "/api/endpoint") == {"endpoint": None}
