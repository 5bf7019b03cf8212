"""Labs and submissions through the API: they run in their own processes, and the studio answers meanwhile."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest

from teachllm.school.web import lab_runs

RIGHT = """
import math


def number(value):
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("no number")
    return value if math.isfinite(value) else None
"""
ENDLESS = "def number(value):\n    while True:\n        pass\n"
SLOW = {"args": {"pause": 0.5}}


def start(page: httpx.Client, body: dict[str, Any]) -> str:
    answer = page.post("/api/lab/1.1/sample_many", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["run"]


def follow(page: httpx.Client, run: str, events_of: Any) -> list[dict[str, Any]]:
    with page.stream("GET", f"/api/lab/run/{run}/events") as response:
        return list(events_of(response))


def test_lab_runs_to_its_end_and_is_remembered(page: httpx.Client, events_of: Any) -> None:
    run = start(page, {"args": {"draws": 1000}})
    events = follow(page, run, events_of)
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "done"
    assert {"progress", "sample", "show", "metric", "say"} <= set(kinds)
    last = page.get("/api/lab/1.1/sample_many/last").json()
    assert last["args"] == {"draws": 1000}
    assert last["mine"] is False
    assert "progress" not in {event["event"] for event in last["events"]}
    assert [event for event in last["events"] if event["event"] == "metric"]
    assert page.get("/api/progress/1.1").json()["ran"] == 1
    # It can still be read from its beginning.
    assert [event["event"] for event in follow(page, run, events_of)] == kinds


def test_lab_is_cancelled_by_a_click(page: httpx.Client, events_of: Any) -> None:
    run = start(page, SLOW)
    with page.stream("GET", f"/api/lab/run/{run}/events") as response:
        events = events_of(response)
        assert next(events)["event"] in ("queued", "progress", "sample")
        began = time.monotonic()
        assert page.post(f"/api/lab/run/{run}/cancel", json={}).status_code == 200
        assert list(events)[-1]["event"] == "cancelled"
        assert time.monotonic() - began < 3


def test_leaving_the_page_ends_the_lab(
    page: httpx.Client, studio: Any, events_of: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_runs, "LEAVE_SECONDS", 0.1)
    run = start(page, SLOW)
    with page.stream("GET", f"/api/lab/run/{run}/events") as response:
        next(events_of(response))
    log = studio.studio.labs.log(run)
    began = time.monotonic()
    wait_until(lambda: log.closed, 4)
    assert time.monotonic() - began < 3
    assert log.snapshot()[-1]["event"] == "cancelled"


def test_run_that_no_page_ever_follows_ends(
    page: httpx.Client, studio: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_runs, "ATTACH_SECONDS", 0.2)
    log = studio.studio.labs.log(start(page, SLOW))
    wait_until(lambda: log.closed, 4)
    assert log.snapshot()[-1]["event"] == "cancelled"


def test_second_page_keeps_the_lab_alive(
    page: httpx.Client, studio: Any, events_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_runs, "LEAVE_SECONDS", 0.1)
    run = start(page, {"args": {"pause": 0.1}})
    with page.stream("GET", f"/api/lab/run/{run}/events") as first, studio.client() as other:
        beginning = events_of(first)
        next(beginning)
        with other.stream("GET", f"/api/lab/run/{run}/events") as second:
            following = events_of(second)
            next(following)
            beginning.close()
            first.close()
            assert list(following)[-1]["event"] == "done"


def test_wrong_arguments_start_nothing(page: httpx.Client) -> None:
    answer = page.post("/api/lab/1.1/sample_many", json={"args": {"draws": 7}})
    assert answer.status_code == 422
    assert "draws" in answer.json()["error"]["message"]


def test_own_function_must_have_passed(page: httpx.Client) -> None:
    answer = page.post("/api/lab/1.1/sample_many", json={"args": {}, "mine": True})
    assert answer.status_code == 409
    assert "not passed" in answer.json()["error"]["message"]


def test_exercise_from_stub_to_solution(page: httpx.Client, events_of: Any) -> None:
    path = "/api/exercise/1.1"
    begun = page.get(path).json()
    assert "NotImplementedError" in begun["stub"]
    assert begun["draft"] is None
    assert not begun["passed"]
    assert begun["submissions"] == []
    assert "<code>NaN</code>" in begun["task_html"]
    assert ".item()" in page.get(f"{path}/hint/0").json()["html"]
    assert page.get(f"{path}/solution").status_code == 403

    assert page.put(f"{path}/draft", json={"source": "# half"}).status_code == 200
    assert page.get(path).json()["draft"] == "# half"

    wrong = page.post(f"{path}/submit", json={"source": "def number(value):\n    return value\n"}).json()
    assert wrong["status"] == "failed"
    assert "None" in wrong["diagnosis"]
    assert page.get(f"{path}/solution").status_code == 403
    in_chinese = page.get(f"{path}?lang=zh").json()["submissions"][0]["verdict"]
    assert "应当变成" in in_chinese["diagnosis"]
    page.get(f"{path}?lang=en")

    right = page.post(f"{path}/submit", json={"source": RIGHT}).json()
    assert right["passed"], right
    after = page.get(path).json()
    assert after["passed"]
    assert after["draft"] == RIGHT
    assert [one["verdict"]["status"] for one in after["submissions"]] == ["passed", "failed"]
    assert "def number" in page.get(f"{path}/solution").json()["source"]
    assert page.get("/api/progress/1.1").json()["wrote"] == 1

    run = start(page, {"args": {}, "mine": True})
    assert follow(page, run, events_of)[-1]["event"] == "done"
    assert page.get("/api/lab/1.1/sample_many/last").json()["mine"] is True


def test_studio_answers_while_code_runs_and_endless_code_is_stopped(page: httpx.Client, studio: Any) -> None:
    verdicts: list[dict[str, Any]] = []

    def submit() -> None:
        with studio.client() as other:
            verdicts.append(other.post("/api/exercise/1.1/submit", json={"source": ENDLESS}).json())

    before = len(page.get("/api/exercise/1.1").json()["submissions"])
    thread = threading.Thread(target=submit)
    thread.start()
    run = start(page, SLOW)
    taken = []
    for _ in range(10):
        began = time.perf_counter()
        assert page.post("/api/figure/1.1/sharpness", json={"args": {}}).status_code == 200
        taken.append(time.perf_counter() - began)
        time.sleep(0.05)
    assert sorted(taken)[5] < 0.5
    assert thread.is_alive()
    assert page.post("/api/exercise/1.1/cancel", json={}).json() == {"cancelled": 1}
    thread.join(timeout=5)
    assert verdicts[0]["status"] == "cancelled"
    # What was stopped is no submission, but the draft is kept.
    after = page.get("/api/exercise/1.1").json()
    assert len(after["submissions"]) == before
    assert after["draft"] == ENDLESS
    page.post(f"/api/lab/run/{run}/cancel", json={})
