"""The pages of mock interviews: the choice, one that goes on, its report; what is kept, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from teachllm.stack.chat import ScriptedChatModel

HOSTILE = "</textarea><script>alert(1)</script>"
TYPED = {"answer": HOSTILE, "followup": "", "seconds": 130.0, "followup_seconds": 4.0, "stage": "answered"}


def test_an_interview_from_the_form_to_its_report(page: httpx.Client) -> None:
    form = page.get("/interview").text
    assert 'name="chapters" value="1"' in form
    assert "Earlier interviews" not in form
    number = page.post("/api/interviews", json={"count": 5, "seconds": 120}).json()["id"]
    going_on = page.get(f"/interview/{number}")
    assert f'data-interview="{number}"' in going_on.text
    assert "microphone=(self)" in going_on.headers["permissions-policy"]
    assert "go on (0 answered)" in page.get("/interview").text

    for place in range(5):
        held = page.get(f"/api/interviews/{number}").json()["questions"][place]
        assert held["rubric"] is None, "the points are shown when all is answered"
        page.put(f"/api/interviews/{number}/answers/{place}", json=TYPED).raise_for_status()
    questions = page.get(f"/api/interviews/{number}").json()["questions"]
    points, followup = questions[0]["rubric"]
    ticks = {"points": [True] * len(points), "followup": [False] * len(followup)}
    assert page.put(f"/api/interviews/{number}/verdicts/0", json=ticks).json() == {"score": 0.7}
    assert page.post(f"/api/interviews/{number}/finish").json() == {"back": 4}

    report = page.get(f"/interview/{number}")
    assert "14%<small> of the points" in report.text
    assert "4 went badly" in report.text
    assert "recited, but not the follow-up" in report.text
    assert HOSTILE not in report.text
    assert "microphone=()" in report.headers["permissions-policy"]
    assert ">14%</b>" in page.get("/interview").text
    assert page.put(f"/api/interviews/{number}/answers/0", json=TYPED).status_code == 409
    page.delete(f"/api/interviews/{number}").raise_for_status()
    assert page.get(f"/interview/{number}").status_code == 404


@pytest.mark.parametrize("choice", [{"count": 4}, {"count": 15, "topics": ["nothing"]}, {"role": "nobody"}])
def test_a_choice_without_enough_questions_is_refused(page: httpx.Client, choice: dict[str, object]) -> None:
    refused = page.post("/api/interviews", json=choice)
    assert refused.status_code == 422
    assert "questions" in refused.json()["error"]["message"]


def sheet(*made: tuple[int, str]) -> str:
    return json.dumps({"points": [{"point": n, "said": True, "quote": quote} for n, quote in made]})


def test_a_connected_model_judges_after_it_has_passed_its_test(tmp_path: Path, running_studio: Any) -> None:
    said = [
        sheet((1, "colder than zero")),
        sheet((2, "open lattice")),
        sheet(),
        sheet((1, "divides by temperature"), (2, "words that were never said")),
        sheet(),
    ]
    model = ScriptedChatModel(said)
    with running_studio(tmp_path / "home", load_chat_model=lambda: model) as studio, studio.client() as page:
        number = page.post("/api/interviews", json={"count": 5}).json()["id"]
        typed = {**TYPED, "answer": "It divides by temperature.", "followup": "No idea."}
        for place in range(5):
            page.put(f"/api/interviews/{number}/answers/{place}", json=typed).raise_for_status()
        assert page.get(f"/api/interviews/{number}").json()["model"] is True
        verdict = page.post(f"/api/interviews/{number}/verdicts/0/model").json()
    assert [point["said"] for point in verdict["points"]][:2] == [True, False]
    assert verdict["points"][0]["quote"] == "divides by temperature"
    assert not any(point["said"] for point in verdict["followup"])
