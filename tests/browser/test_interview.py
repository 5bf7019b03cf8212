"""A mock interview by hand: begun, broken off in the middle of a sentence, taken up, judged, its report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .test_accessibility import problems

pytestmark = pytest.mark.browser
Visit = Callable[..., AbstractContextManager[tuple[Page, Any]]]


def test_an_interview_that_is_broken_off_and_taken_up(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="light")
    with visit() as (page, _):
        page.goto(studio.address + "/interview")
        page.get_by_label("How many questions").fill("5")
        page.get_by_role("button", name="Begin").click()
        page.get_by_label("Your answer", exact=True).fill("It divides by the square root, and then")
        expect(page.get_by_text("saved", exact=True)).to_be_visible()
        address = page.url
    with visit() as (page, _):  # another window: nothing of it is lost
        page.goto(address)
        for n in range(5):
            expect(page.get_by_text(f"Question {n + 1} of 5")).to_be_visible()
            answer = page.get_by_label("Your answer", exact=True)
            expect(answer).to_have_value("It divides by the square root, and then" if n == 0 else "")
            if n == 0:
                assert problems(page) == []
            answer.press("Control+Enter")
            page.get_by_label("Your answer to the follow-up").press("Control+Enter")
        expect(page.get_by_role("button", name="Done, see the report")).to_be_visible()
        expect(page.get_by_role("button", name="Delete this interview")).to_be_visible()
        assert problems(page) == []
        for box in page.locator("section.asked").first.get_by_role("checkbox").all():
            box.check()
        page.get_by_role("button", name="Done, see the report").click()
        expect(page.locator("dl.result dd").first).to_contain_text("20%")
        expect(page.get_by_text("4 went badly and are in your reviews again.")).to_be_visible()
        page.locator(".asked-list summary").first.click()
        assert problems(page) == []
        delete = page.locator("[data-interview-remove]")
        delete.click()
        delete.click()
        page.wait_for_url("**/interview")
        expect(page.locator(".held")).to_have_count(0)
