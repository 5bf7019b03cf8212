"""The engine page's requests: the studio's own engine with samples, and servers of this user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from teachllm.stack.chat import ChatTemplate, ScriptedChatModel
from teachllm.stack.inference import LanguageModel, LocalChatModel
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer

TEMPLATE = "{% for message in messages %}{{ message.role }}:{{ message.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    """A random Llama over bytes."""
    torch.manual_seed(3)
    tokenizer = Tokenizer.from_merges([], special_tokens=["<|end|>"])
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        d_model=16,
        n_layers=1,
        n_heads=2,
        n_kv_heads=1,
        head_dim=8,
        hidden=24,
        context_length=2048,
        tied_head=True,
    )
    template = ChatTemplate(TEMPLATE)
    return LanguageModel("tiny", Llama(config).eval(), tokenizer, template, (), frozenset({256}))


@pytest.fixture
def studio(tiny: LanguageModel, running_studio: Any, tmp_path: Path) -> Iterator[Any]:
    with running_studio(tmp_path, load_chat_model=lambda: LocalChatModel(tiny)) as one:
        yield one


@pytest.fixture
def quick_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    from teachllm.school.web import studio_engine

    monkeypatch.setattr(studio_engine, "PAUSE", 0.01)
    monkeypatch.setattr(studio_engine, "N_BLOCKS", 1024)  # a token is a byte here


def events(page: httpx.Client, name: str, events_of: Callable[..., Iterator[Any]]) -> Iterator[Any]:
    with page.stream("GET", f"/api/engine/{name}/events") as response:
        assert response.status_code == 200
        yield from events_of(response)


@pytest.mark.usefixtures("quick_samples")
def test_samples_wake_the_engine_and_are_answered(studio: Any, page: httpx.Client, events_of: Any) -> None:
    assert page.get("/api/engine").json() == {
        "sources": [{"id": "studio", "title": "the studio's own engine"}]
    }
    following = events(page, "studio", events_of)
    first = next(following)
    assert (first["event"], first["engine"]) == ("view", None)
    assert page.post("/api/engine/samples", json={}).json() == {"sending": True}
    again = page.post("/api/engine/samples", json={})
    assert again.status_code == 409
    assert "still being answered" in again.json()["error"]["message"]
    seen: list[Any] = []
    for event in following:
        seen.append(event)
        if event["event"] == "samples" and event["samples"] and not event["sending"]:
            break
    samples = seen[-1]["samples"]
    assert len(samples) == 8
    assert {sample["state"] for sample in samples} == {"done"}
    assert all(all(sample["texts"]) for sample in samples)
    assert [len(sample["texts"]) for sample in samples].count(3) == 1
    views = [event for event in seen if event["event"] == "view" and event["engine"]]
    assert views[0]["model"] == "tiny"
    assert set(views[0]["engine"]["blocks"]) <= set("-cos")
    following.close()
    now = studio.studio.engine.view()
    assert now["requests_finished"] == 8
    assert now["cached_tokens"] > 0


@pytest.mark.usefixtures("quick_samples")
def test_samples_can_be_stopped(
    studio: Any, page: httpx.Client, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from teachllm.school.web import studio_engine

    monkeypatch.setattr(studio_engine, "MAX_TOKENS", 1000)
    assert page.post("/api/engine/samples/stop", json={}).json() == {"stopped": False}
    page.post("/api/engine/samples", json={})
    wait_until(lambda: any(sample["state"] == "writing" for sample in studio.studio.engine.samples()))
    assert page.post("/api/engine/samples/stop", json={}).json() == {"stopped": True}
    wait_until(lambda: not studio.studio.engine.is_sending)
    assert "stopped" in {sample["state"] for sample in studio.studio.engine.samples()}
    assert not studio.studio.engine.view()["texts"]


def test_the_page_reads_well_without_scripts(studio: Any, page: httpx.Client) -> None:
    html = page.get("/engine").text
    assert 'data-island="engine"' in html
    assert "teachllm serve" in html
    assert 'aria-current="page">Engine' in html
    with studio.client("zh") as zh:
        assert "引擎" in zh.get("/engine").text


def test_a_model_that_is_not_local_has_no_engine(running_studio: Any, tmp_path: Path) -> None:
    with (
        running_studio(tmp_path, load_chat_model=lambda: ScriptedChatModel([])) as studio,
        studio.client() as page,
    ):
        refused = page.post("/api/engine/samples", json={})
        assert refused.status_code == 409
        assert "not a local one" in refused.json()["error"]["message"]


def test_a_server_of_this_user_is_found_watched_and_missed(
    studio: Any, page: httpx.Client, events_of: Any, tiny: LanguageModel, serving: Any
) -> None:
    from teachllm.stack.chat.running_servers import RunningServer, announced
    from teachllm.stack.inference.engine.config import EngineConfig
    from teachllm.stack.inference.engine.engine import Engine
    from teachllm.stack.inference.engine.request import RequestOptions
    from teachllm.stack.inference.engine.service import EngineService
    from teachllm.stack.inference.server import create_app

    with EngineService(Engine(tiny, EngineConfig(n_blocks=64))) as service:
        app = create_app(tiny, service, names=("tiny",), api_key="a key that the studio does not know")
        with serving(app) as address:
            note = RunningServer.this(address, "tiny", app.state.serving.view_key)
            with announced(note):
                (_, found) = page.get("/api/engine").json()["sources"]
                assert found["id"] == address.rpartition(":")[2]
                assert "tiny" in found["title"]
                following = events(page, found["id"], events_of)
                view = next(following)
                assert view["model"] == "tiny"
                assert view["engine"]["blocks"] == "-" * 64
                answer = service.submit([1] * 40, RequestOptions(max_tokens=5))
                assert len(list(answer)) == 6
                assert next(following)["engine"]["tokens_written"] == 5
    last = next(following)
    assert last == {"event": "error", "message": "This server has stopped."}
    assert page.get(f"/api/engine/{found['id']}/events").status_code == 404
