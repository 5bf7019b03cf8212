"""The page of the study plan, from no plan to a plan that was put off, undone and taken along."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
import vobject


@pytest.fixture(autouse=True)
def _no_plan(page: httpx.Client) -> None:
    page.delete("/api/plan").raise_for_status()


def today_list(html: str) -> str:
    return html[html.index('id="plan-today"') : html.index('id="calendar"')]


def test_a_plan_is_taken_put_off_undone_and_taken_along(page: httpx.Client) -> None:
    empty = page.get("/plan").text
    assert 'data-plan-take="fast"' in empty
    assert "1 lesson more planned" in empty
    assert page.post("/api/plan", json={"style": "steady"}).json() == {"saved": True}
    html = page.get("/plan").text
    assert 'href="/lesson/1.1"' in today_list(html)
    assert "1.2 not written yet" in html
    assert "/lesson/1.2" not in html, "what is not written is not scheduled"
    page.post("/api/settings", json={"welcomed": True}).raise_for_status()
    assert "1.1 Temperature: " in page.get("/").text

    page.post("/api/plan/push").raise_for_status()
    assert 'href="/lesson/1.1"' not in today_list(page.get("/plan").text)
    page.post("/api/plan/undo").raise_for_status()
    assert 'href="/lesson/1.1"' in today_list(page.get("/plan").text)
    assert page.post("/api/plan/undo").status_code == 422
    page.delete("/api/plan").raise_for_status()
    assert 'data-plan-do="bring-back"' in page.get("/plan").text
    page.post("/api/plan/bring-back").raise_for_status()

    answer = page.get("/plan/teachllm.ics")
    assert answer.headers["content-type"].startswith("text/calendar")
    (event,) = vobject.readOne(answer.text).vevent_list
    assert event.summary.value == "1.1 Temperature"


def test_the_form_and_what_it_refuses(page: httpx.Client) -> None:
    tomorrow = date.today() + timedelta(days=1)
    wish: dict[str, Any] = {
        "style": "fast",
        "goal": "interview",
        "until": str(tomorrow),
        "hours": [0.25] * 7,
        "days_off": "",
        "begins": "07:30",
    }
    page.post("/api/plan", json=wish).raise_for_status()
    html = page.get("/plan").text
    assert "It does not fit" in html
    assert 'value="07:30"' in html
    assert re.search(r'name="goal" value="interview" checked', html)
    refused = page.post("/api/plan", json={**wish, "hours": [0] * 7})
    assert refused.status_code == 422
    assert "0 hours" in refused.json()["error"]["message"]
    assert page.post("/api/plan", json={**wish, "days_off": "soon"}).status_code == 422
    assert "It does not fit" in page.get("/plan").text, "the plan that was there stays"


@pytest.mark.parametrize("query", ["?week=soon", "?month=2026-13", "?week=0001-01-01", "?month=9999-12"])
def test_addresses_that_are_no_date_show_this_week_or_month(page: httpx.Client, query: str) -> None:
    page.post("/api/plan", json={"style": "steady"}).raise_for_status()
    assert "1.1 Temperature" in page.get(f"/plan{query}").text
