"""The chat through the API: answers stream, are kept, can be stopped; one at a time; no model, no crash."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from teachllm.school.exercise import exercise
from teachllm.school.language import Both
from teachllm.school.runner.verdict import CheckResult, Verdict
from teachllm.stack.chat import ChatModel, Failure, ScriptedChatModel, TextDelta

Talk = tuple[httpx.Client, ScriptedChatModel, Any]
WHY = "What does temperature do to the scores before the softmax?"
LONG = " ".join(f"word{number}" for number in range(200))


@pytest.fixture
def talk(running_studio: Any, tmp_path: Path) -> Iterator[Any]:
    """Gives a studio whose model says what a test wants."""
    loaded: list[int] = []

    def with_answers(*answers: Any, delay: float = 0.0) -> Any:
        model = ScriptedChatModel(answers, delay=delay)

        def load() -> ChatModel:
            loaded.append(1)
            return model

        context = running_studio(tmp_path / "home", load_chat_model=load)
        contexts.append(context)
        studio = context.__enter__()
        page = studio.client()
        pages.append(page)
        return page, model, studio

    contexts: list[Any] = []
    pages: list[httpx.Client] = []
    (tmp_path / "home").mkdir()
    try:
        yield with_answers
    finally:
        for page in pages:
            page.close()
        for context in contexts:
            context.__exit__(None, None, None)
    assert len(loaded) <= 1


def ask(page: httpx.Client, events_of: Any, **question: Any) -> list[dict[str, Any]]:
    with page.stream("POST", "/api/chat", json=question) as response:
        assert response.status_code == 200, response.read()
        return list(events_of(response))


def test_answer_streams_with_its_sources_and_is_kept(talk: Any, events_of: Any) -> None:
    page, model, _ = talk("It divides them [1], 同学 🙂 [9].", "Again.")
    events = ask(page, events_of, text=f"  {WHY}  ")
    assert [event["event"] for event in events[:2]] == ["thread", "reply"]
    thread = events[0]["thread"]
    pieces = [event["text"] for event in events if event["event"] == "delta"]
    assert len(pieces) > 1
    assert "".join(pieces) == "It divides them [1], 同学 🙂 .", "there is no source 9"
    done = events[-1]
    assert done["event"] == "done"
    assert done["tokens"] > 1
    assert done["tokens_per_second"] > 0
    assert done["reply"]["kind"] == "cited"
    (source,) = done["reply"]["places"]
    assert source["number"] == 1
    assert source["address"].startswith("/lesson/1.1")
    prompt = model.requests[0].messages
    assert prompt[0].role == "system"
    assert "[1]" in prompt[-1].content
    assert prompt[-1].content.endswith(WHY)

    ask(page, events_of, thread=thread, text="and why?")
    kept = page.get(f"/api/chat/threads/{thread}").json()["messages"]
    assert [(one["role"], one["text"]) for one in kept] == [
        ("user", WHY),
        ("assistant", "It divides them [1], 同学 🙂 ."),
        ("user", "and why?"),
        ("assistant", "Again."),
    ]
    assert kept[1]["reply"] == done["reply"]
    assert kept[3]["reply"]["kind"] == "uncited", "it named no source"
    assert [message.content for message in model.requests[1].messages[1:3]] == [
        kept[0]["text"],
        kept[1]["text"],
    ]
    (listed,) = page.get("/api/chat/threads").json()["threads"]
    assert listed["id"] == thread
    assert listed["title"] == WHY
    assert page.delete(f"/api/chat/threads/{thread}").status_code == 200
    assert page.get("/api/chat/threads").json()["threads"] == []
    assert page.get(f"/api/chat/threads/{thread}").status_code == 404
    assert page.post("/api/chat", json={"thread": thread, "text": "?"}).status_code == 404


def test_what_the_course_does_not_say_is_refused_and_no_model_is_asked(talk: Any, events_of: Any) -> None:
    page, model, _ = talk("never")
    events = ask(page, events_of, text="How do I water a cactus in winter?")
    assert events[1]["reply"]["kind"] == "refused"
    assert "says nothing" in events[2]["text"]
    assert model.requests == []


def test_without_a_model_the_passages_are_the_answer(
    running_studio: Any, tmp_path: Path, events_of: Any
) -> None:
    with running_studio(tmp_path) as studio, studio.client() as page:
        events = ask(page, events_of, text=WHY)
        reply = events[-1]["reply"]
        assert reply["kind"] == "passages"
        first = reply["places"][0]
        assert first["address"].startswith("/lesson/1.1")
        assert any(answers for _, answers in first["parts"])


def test_question_about_a_section_or_a_selection_brings_it_along(talk: Any, events_of: Any) -> None:
    page, model, _ = talk("Because [1].", "So [1].")
    ask(page, events_of, text="why this?", context="1.1#idea")
    assert "One by hand" in model.requests[0].messages[-1].content
    assert "scores 2, 1 and 0" in model.requests[0].messages[-1].content
    assert page.get("/api/progress/1.1").json()["asked"] == 1
    assert page.post("/api/chat", json={"text": "why?", "context": "9.9"}).status_code == 404
    words = "a table of probabilities"
    events = ask(page, events_of, text="explain", context="1.1#no-such-section", selection=words)
    assert words in model.requests[1].messages[-1].content
    kept = page.get(f"/api/chat/threads/{events[0]['thread']}").json()["messages"]
    assert kept[0]["text"] == f"> {words}\n\nexplain"


def test_hints_come_in_steps_and_never_with_the_solution(talk: Any, events_of: Any) -> None:
    def solution(_: Any) -> str:
        return f"```python\n{exercise('1.1').solution_source}\n```"

    page, model, studio = talk("Look at NaN first [1].", solution, solution)
    wrong = "def number(value):\n    return value\n"
    studio.studio.store.save_draft("1.1", wrong)
    check = CheckResult("test_not_finite", False, Both("`NaN`", "`NaN` should become `None`."), "not None")
    studio.studio.store.save_submission("1.1", wrong, Verdict("failed", check.diagnosis, checks=(check,)))
    thread = None
    texts = []
    for _ in range(2):
        events = ask(page, events_of, thread=thread, text="a hint", context="1.1#write", exercise=True)
        thread = events[0]["thread"]
        assert events[-1]["reply"]["kind"] == "hint"
        texts.append("".join(event["text"] for event in events if event["event"] == "delta"))
    assert texts[0].startswith("Look at NaN first")
    assert "Step 2" in texts[1]
    assert "test_not_finite" in texts[1]
    assert "isfinite" not in texts[1]
    asked = [request.messages[-1].content for request in model.requests]
    assert all(wrong in text and "become `None`" in text for text in asked)
    assert not any("isfinite" in text for text in asked)
    events = ask(page, events_of, thread=thread, text=WHY, context="1.1")
    answer = "".join(event["text"] for event in events if event["event"] == "delta")
    assert "isfinite" not in answer
    assert "after you have passed" in answer


def test_answer_is_stopped_by_a_click_and_what_there_is_of_it_is_kept(
    talk: Any, events_of: Any, wait_until: Any
) -> None:
    page, _, studio = talk(LONG, delay=0.05)
    with page.stream("POST", "/api/chat", json={"text": WHY}) as response:
        events = events_of(response)
        thread = next(events)["thread"]
        assert [next(events)["event"] for _ in range(2)] == ["reply", "delta"]
        with studio.client() as other:
            assert other.post("/api/chat/cancel", json={}).json() == {"cancelled": True}
        assert [event for event in events if event["event"] == "done"] == []
    kept = page.get(f"/api/chat/threads/{thread}").json()["messages"]
    assert kept[-1]["role"] == "assistant"
    assert LONG.startswith(kept[-1]["text"].strip())
    assert page.post("/api/chat/cancel", json={}).json() == {"cancelled": False}


def test_leaving_stops_the_answer_and_frees_the_model(talk: Any, events_of: Any, wait_until: Any) -> None:
    page, _, studio = talk(LONG, "free", delay=0.05)
    with page.stream("POST", "/api/chat", json={"text": WHY}) as response:
        events = events_of(response)
        next(events)
        next(events)
    wait_until(lambda: studio.studio.model._answer.log.closed, 3)
    assert ask(page, events_of, text=WHY)[-1]["event"] == "done"


def test_one_answer_at_a_time_and_the_studio_goes_on(talk: Any, events_of: Any) -> None:
    page, model, studio = talk(LONG, delay=0.05)
    with page.stream("POST", "/api/chat", json={"text": WHY}) as response:
        events = events_of(response)
        next(events)
        with studio.client() as other:
            refused = other.post("/api/chat", json={"text": WHY})
            assert refused.status_code == 409
            assert "another answer" in refused.json()["error"]["message"]
            assert len(other.get("/api/chat/threads").json()["threads"]) == 1
            began = time.perf_counter()
            assert other.get("/api/progress/1.1").status_code == 200
            assert time.perf_counter() - began < 0.5
    assert len(model.requests) == 1


def test_failure_of_the_model_is_told(talk: Any, events_of: Any) -> None:
    failures = [
        [TextDelta("half an "), Failure("server", "the engine stopped")],
        [Failure("context", "5000 > 2048")],
        [Failure("memory", "4 GiB")],
    ]
    page, _, _ = talk(*failures)
    events = ask(page, events_of, text=WHY)
    assert events[-1] == {"event": "error", "message": "the engine stopped"}
    thread = events[0]["thread"]
    assert page.get(f"/api/chat/threads/{thread}").json()["messages"][-1]["text"] == "half an "
    assert "longer than the model can read" in ask(page, events_of, text=WHY)[-1]["message"]
    assert "not enough memory" in ask(page, events_of, text=WHY)[-1]["message"]
    # The script has no fourth answer: an error that nobody foresaw.
    assert ask(page, events_of, text=WHY)[-1]["event"] == "error"


def test_missing_model_is_offered_and_fetched(
    running_studio: Any, tmp_path: Path, events_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHLLM_ASSETS", str(tmp_path / "assets"))
    import teachllm.stack.data.assets as assets

    fetched: list[str] = []

    def fetch(name: str, on_progress: Any) -> Path:
        fetched.append(name)
        if len(fetched) == 1:
            raise assets.FetchFailed("no network; run it again")
        for done in range(0, 101, 10):
            on_progress(done, 100)
        return tmp_path

    monkeypatch.setattr(assets, "fetch", fetch)
    with running_studio(tmp_path) as studio, studio.client() as page:
        status = page.get("/api/model").json()
        assert status["ready"] is False
        assert status["bytes"] > 50_000_000
        assert "not here" in status["message"]
        for expected in ({"event": "error", "message": "no network; run it again"}, {"event": "done"}):
            with page.stream("POST", "/api/model/fetch", json={}) as response:
                events = list(events_of(response))
            assert events[-1] == expected
        assert events[-2] == {"event": "progress", "done": 100, "total": 100}

        folder = tmp_path / "assets"
        folder.mkdir()
        (folder / assets.ASSETS["smollm2-135m-instruct"].file).write_bytes(b"half of it")
        assert "damaged" in page.get("/api/model").json()["message"]


def test_endpoint_is_kept_and_its_key_never_comes_back(page: httpx.Client, studio: Any) -> None:
    key = "sk-very-secret-key-1a2b"
    answer = page.put("/api/endpoint", json={"url": "http://127.0.0.1:9/v1", "model": "m", "key": key})
    assert answer.json() == {
        "endpoint": {"url": "http://127.0.0.1:9/v1", "model": "m", "key_ends_in": "1a2b"}
    }
    assert studio.studio.model.connected() is studio.studio.model.connected()
    refused = page.put("/api/endpoint", json={"url": key, "model": "m", "key": key, "wrong": key})
    assert refused.status_code == 422
    tried = page.post("/api/endpoint/test", json={})
    assert [one["passed"] for one in tried.json()["trials"]] == [False]
    shown = [answer, refused, tried, *map(page.get, ("/api/endpoint", "/settings", "/chat", "/api/settings"))]
    assert not any(key in one.text for one in shown)
    assert "no request leaves it" in page.get("/notes").text, "it is on this computer"
    page.put("/api/endpoint", json={"url": "https://host.example/v1", "model": "m"})
    assert "host.example" in page.get("/notes").text
    assert page.get("/api/endpoint").json()["endpoint"]["key_ends_in"] is None
    assert page.delete("/api/endpoint").json() == {"deleted": True}
    assert studio.studio.model.connected() is None
