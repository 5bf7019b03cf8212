"""The chat through the API: answers stream, are kept, can be stopped; one at a time; no model, no crash."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from teachllm.school.web.api.chat import MOST_CHARACTERS, prompt
from teachllm.stack.chat import ChatModel, Failure, ScriptedChatModel, TextDelta

Talk = tuple[httpx.Client, ScriptedChatModel, Any]
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


def test_answer_streams_and_is_kept(talk: Any, events_of: Any) -> None:
    page, model, _ = talk("Hello there, 同学 🙂", "Again.")
    events = ask(page, events_of, text="  hi  ")
    assert events[0]["event"] == "thread"
    thread = events[0]["thread"]
    pieces = [event["text"] for event in events if event["event"] == "delta"]
    assert len(pieces) > 1
    assert "".join(pieces) == "Hello there, 同学 🙂"
    assert events[-1]["event"] == "done"
    assert events[-1]["tokens"] == len(pieces)
    assert events[-1]["tokens_per_second"] > 0

    ask(page, events_of, thread=thread, text="and?")
    kept = page.get(f"/api/chat/threads/{thread}").json()["messages"]
    assert [(one["role"], one["text"]) for one in kept] == [
        ("user", "hi"),
        ("assistant", "Hello there, 同学 🙂"),
        ("user", "and?"),
        ("assistant", "Again."),
    ]
    assert [message.content for message in model.requests[1].messages] == [
        "hi",
        "Hello there, 同学 🙂",
        "and?",
    ]
    (listed,) = page.get("/api/chat/threads").json()["threads"]
    assert listed["id"] == thread
    assert listed["title"] == "hi"
    assert page.delete(f"/api/chat/threads/{thread}").status_code == 200
    assert page.get("/api/chat/threads").json()["threads"] == []
    assert page.get(f"/api/chat/threads/{thread}").status_code == 404
    assert page.post("/api/chat", json={"thread": thread, "text": "?"}).status_code == 404


def test_question_about_a_section_brings_it_along(talk: Any, events_of: Any) -> None:
    page, model, _ = talk("Because.", "Weil.")
    ask(page, events_of, text="why?", context="1.1#idea")
    system, question = model.requests[0].messages
    assert system.role == "system"
    assert "One by hand" in system.content
    assert "scores 2, 1 and 0" in system.content
    assert question.content == "why?"
    assert page.get("/api/progress/1.1").json()["asked"] == 1
    assert page.post("/api/chat", json={"text": "why?", "context": "9.9"}).status_code == 404
    ask(page, events_of, text="why?", context="1.1#no-such-section")
    assert len(model.requests) == 2


def test_answer_is_stopped_by_a_click_and_what_there_is_of_it_is_kept(
    talk: Any, events_of: Any, wait_until: Any
) -> None:
    page, _, studio = talk(LONG, delay=0.05)
    with page.stream("POST", "/api/chat", json={"text": "talk"}) as response:
        events = events_of(response)
        thread = next(events)["thread"]
        assert next(events)["event"] == "delta"
        with studio.client() as other:
            assert other.post("/api/chat/cancel", json={}).json() == {"cancelled": True}
        assert [event for event in events if event["event"] == "done"] == []
    kept = page.get(f"/api/chat/threads/{thread}").json()["messages"]
    assert kept[-1]["role"] == "assistant"
    assert LONG.startswith(kept[-1]["text"].strip())
    assert page.post("/api/chat/cancel", json={}).json() == {"cancelled": False}


def test_leaving_stops_the_answer_and_frees_the_model(talk: Any, events_of: Any, wait_until: Any) -> None:
    page, _, studio = talk(LONG, "free", delay=0.05)
    with page.stream("POST", "/api/chat", json={"text": "talk"}) as response:
        events = events_of(response)
        next(events)
        next(events)
    wait_until(lambda: studio.studio.model._answer.log.closed, 3)
    assert ask(page, events_of, text="still there?")[-1]["event"] == "done"


def test_one_answer_at_a_time_and_the_studio_goes_on(talk: Any, events_of: Any) -> None:
    page, model, studio = talk(LONG, delay=0.05)
    with page.stream("POST", "/api/chat", json={"text": "talk"}) as response:
        events = events_of(response)
        next(events)
        with studio.client() as other:
            refused = other.post("/api/chat", json={"text": "me too"})
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
    events = ask(page, events_of, text="talk")
    assert events[-1] == {"event": "error", "message": "the engine stopped"}
    thread = events[0]["thread"]
    assert page.get(f"/api/chat/threads/{thread}").json()["messages"][-1]["text"] == "half an "
    assert "longer than the model can read" in ask(page, events_of, text="talk")[-1]["message"]
    assert "not enough memory" in ask(page, events_of, text="talk")[-1]["message"]
    # The script has no fourth answer: an error that nobody foresaw.
    assert ask(page, events_of, text="talk")[-1]["event"] == "error"


def test_loading_takes_a_while_and_holds_up_nobody(
    running_studio: Any, tmp_path: Path, events_of: Any
) -> None:
    may_load = threading.Event()

    def load() -> ChatModel:
        assert may_load.wait(20)
        return ScriptedChatModel(["here"])

    with (
        running_studio(tmp_path, load_chat_model=load) as studio,
        studio.client() as page,
        page.stream("POST", "/api/chat", json={"text": "hi"}) as response,
    ):
        events = events_of(response)
        assert next(events)["event"] == "thread"
        with studio.client() as other:
            assert other.get("/api/settings").status_code == 200
        may_load.set()
        assert [event["event"] for event in events] == ["delta", "done"]


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
        refused = page.post("/api/chat", json={"text": "hi"})
        assert refused.status_code == 409
        assert "not here" in refused.json()["error"]["message"]
        assert page.get("/api/chat/threads").json()["threads"] == []
        for expected in ({"event": "error", "message": "no network; run it again"}, {"event": "done"}):
            with page.stream("POST", "/api/model/fetch", json={}) as response:
                events = list(events_of(response))
            assert events[-1] == expected
        assert events[-2] == {"event": "progress", "done": 100, "total": 100}

        folder = tmp_path / "assets"
        folder.mkdir()
        (folder / assets.ASSETS["smollm2-135m-instruct"].file).write_bytes(b"half of it")
        assert "damaged" in page.get("/api/model").json()["message"]


def test_prompt_keeps_the_end_of_a_long_conversation() -> None:
    turns = [("user" if number % 2 == 0 else "assistant", f"{number} " + "x" * 900) for number in range(21)]
    given = prompt("about", turns)
    assert given[0].role == "system"
    assert given[1].role == "user"
    assert given[-1].content == turns[-1][1]
    assert sum(len(message.content) for message in given) <= MOST_CHARACTERS
    longest = prompt(None, [("user", "y" * 10_000)])
    assert [message.content for message in longest] == ["y" * 10_000]
