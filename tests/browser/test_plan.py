"""The study plan by hand: taken, put off, undone, made anew with the form, given up and brought back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
Visit = Callable[..., AbstractContextManager[tuple[Page, Any]]]


def test_a_plan_from_the_first_click_to_the_last(visit: Visit, studio: Any) -> None:
    studio.settle(lang="en", theme="light")
    studio.call("DELETE", "/api/plan")
    with visit() as (page, watch):
        page.goto(studio.address + "/plan")
        today = page.locator("section", has=page.locator("#plan-today"))
        lesson = today.get_by_role("link", name="1.1 Temperature")
        page.get_by_role("button", name="Take Steady").click()
        expect(lesson).to_be_visible()
        page.get_by_role("button", name="Push today to tomorrow").click()
        expect(today.get_by_text("Nothing for today.")).to_be_visible()
        page.get_by_role("button", name="Undo the last change").click()
        expect(lesson).to_be_visible()

        page.get_by_text("Change the plan").click()
        form = page.locator("form[data-plan-form]")
        expect(form.get_by_label("1 Basics")).to_be_hidden()
        form.get_by_text("Some chapters").click()
        form.get_by_role("button", name="Plan it so").click()
        expect(form.get_by_role("status")).to_contain_text("choose at least one")
        watch.errors = [error for error in watch.errors if "422" not in error]
        form.get_by_label("1 Basics").check()
        form.get_by_role("button", name="Plan it so").click()
        expect(page.get_by_text("chapter 1 and what they need")).to_be_visible()

        page.get_by_text("Change the plan").click()
        page.get_by_role("button", name="Do without a plan").click()
        page.get_by_role("button", name="Bring the old plan back").click()
        expect(lesson).to_be_visible()
    studio.call("DELETE", "/api/plan")
