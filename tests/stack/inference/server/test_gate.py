"""Who may talk to the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from teachllm.stack.inference import LanguageModel

KEY = "sk-a-key-of-the-tests"
CHAT: Any = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


@pytest.fixture(scope="module")
def locked(tiny: LanguageModel) -> Iterator[Any]:
    from .conftest import running

    with running(tiny, api_key=KEY) as one:
        yield one


def test_a_key_lets_in_and_nothing_else_does(locked: Any) -> None:
    with locked.client(KEY) as client:
        assert client.chat.completions.create(**CHAT).choices
    for wrong in ("sk-a-key-of-the-testz", "sk", KEY + "é"):
        with (
            locked.plain() as client,
            client.stream("GET", "/v1/models", headers={"authorization": f"Bearer {wrong}".encode()}) as r,
        ):
            r.read()
            assert r.status_code == 401
            assert r.json()["error"]["code"] == "invalid_api_key"
            assert KEY not in r.text
    with (
        locked.client("wrong") as client,
        pytest.raises(openai.AuthenticationError, match="missing or wrong"),
    ):
        client.models.list()
    with locked.plain() as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").json() == {"status": "ok"}
        # With a key, a page of another origin and another name of this machine are its holder's business.
        headers = {
            "host": "models.example",
            "origin": "https://app.example",
            "authorization": f"Bearer {KEY}",
        }
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_the_view_key_opens_the_snapshot_alone(locked: Any) -> None:
    headers = {"authorization": f"Bearer {locked.serving.view_key}"}
    with locked.plain(headers=headers) as client:
        assert client.get("/v1/engine/snapshot").status_code == 200
        assert client.get("/v1/models").status_code == 401
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 401
        assert client.get("/v1/engine/snapshot", headers={"authorization": "Bearer x"}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:8000"}, 403),
        ({"host": "localhost.evil.example"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "192.168.1.7:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
    ],
)
def test_without_a_key_no_page_gets_in(server: Any, headers: dict[str, str], status: int) -> None:
    with server.plain(headers=headers) as client:
        answer = client.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == status
    if status == 403:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_the_snapshot_is_for_this_machine() -> None:
    from teachllm.stack.inference.server.gate import Gate

    async def app(*_: Any) -> None: ...

    scope = {"type": "http", "path": "/v1/engine/snapshot", "headers": [(b"host", b"10.0.0.5:8000")]}
    gate = Gate(app, None, "view")
    refusal = gate.refusal({**scope, "client": ("10.0.0.9", 1)})
    assert refusal is not None
    assert refusal.status == 403
    assert gate.refusal({**scope, "client": ("127.0.0.1", 1)}) is None


def test_wrong_addresses_and_methods_have_openai_s_shape(server: Any) -> None:
    with server.plain() as client:
        for answer in (client.get("/v1/embeddings"), client.get("/v1/chat/completions")):
            assert answer.status_code in (404, 405)
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        broken = client.post(
            "/v1/chat/completions", content=b'{"model": ', headers={"content-type": "application/json"}
        )
        assert broken.status_code == 400
        assert "not JSON" in broken.json()["error"]["message"]
        form = client.post("/v1/chat/completions", data={"model": "tiny"})
        assert form.status_code == 400
        assert "application/json" in form.json()["error"]["message"]
    assert isinstance(httpx.URL(server.address).port, int)
