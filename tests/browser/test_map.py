"""The knowledge map, with mouse, keys and thumb, on the course itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import RunningStudio, opened

pytestmark = pytest.mark.browser


def test_the_map_of_the_course(
    browser: Browser, start_studio: Callable[..., AbstractContextManager[RunningStudio]], tmp_path: Path
) -> None:
    with start_studio(tmp_path / "home") as studio:
        studio.settle(lang="en", theme="light")
        with opened(browser, studio) as (page, _):
            _with_mouse_and_keys(page, studio.address)
        phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
        with opened(browser, studio, **phone) as (page, _):
            _with_a_thumb(page, studio.address)


def _with_mouse_and_keys(page: Page, address: str) -> None:
    page.goto(f"{address}/map")
    expect(page.locator(".map-page[data-alive]")).to_be_visible()
    expect(page.locator(".node")).to_have_count(99)
    node = page.locator('.node[data-lesson="1.4"]')
    node.hover()
    needed = page.locator(".node.needed").evaluate_all("nodes => nodes.map((one) => one.dataset.lesson)")
    assert needed == ["1.1", "1.2", "1.3"]
    node.click()
    panel = page.locator("[data-map-panel]")
    expect(panel.get_by_role("heading", level=2)).to_contain_text("1.4 Relative position")
    expect(panel.locator(".mastery-sum caption")).to_have_text("Mastery 0.00 =")
    assert page.url.endswith("#map-1.4")
    panel.get_by_role("link", name="1.3 Position").click()
    expect(panel.get_by_role("heading", level=2)).to_contain_text("1.3")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.lesson") == "1.2"
    assert page.locator('.node[tabindex="0"]').count() == 1, "one stop of the Tab key"
    page.get_by_role("searchbox", name="Find a lesson").fill("rope")
    expect(page.locator(".node:not(.off)")).to_have_count(2)
    page.get_by_role("searchbox", name="Find a lesson").fill("")
    page.locator(".show").get_by_text("Ready now").click()
    assert page.locator('.node:not(.off)[data-lesson="1.1"]').count() == 1
    assert page.locator('.node.off[data-lesson="1.2"]').count() == 1, "1.1 is not learned yet"
    page.locator('.node[data-lesson="1.1"]').focus()
    with page.expect_request("**/lesson/1.1"):  # its first drawing takes seconds: not waited for
        page.keyboard.press("Enter")


def _with_a_thumb(page: Page, address: str) -> None:
    page.goto(f"{address}/map")
    expect(page.locator(".map-page[data-alive]")).to_be_visible()
    expect(page.locator(".map-graph")).to_be_hidden()
    item = page.locator('.map-list li[data-lesson="1.2"]')
    item.locator("summary").tap()
    expect(item.get_by_role("link", name="Begin")).to_have_attribute("href", "/lesson/1.2")
    item.locator('[data-map-to="1.1"]').first.tap()
    expect(page.locator('.map-list li[data-lesson="1.1"] details')).to_have_attribute("open", "")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
