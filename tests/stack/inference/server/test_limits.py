"""Nobody takes more than their part, and whoever leaves takes nothing at all."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from teachllm.stack.inference import LanguageModel
from teachllm.stack.inference.server import ServerLimits

LONG: Any = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0,
    "max_tokens": 3000,
}
SHORT: Any = {**LONG, "max_tokens": 2}


@pytest.fixture
def endless(reciting: Callable[..., LanguageModel]) -> LanguageModel:
    """Writes a letter every few milliseconds, and would go on for 3,000."""
    language_model = reciting("x" * 5000, start=0)
    language_model.model.pause = lambda: time.sleep(0.003)  # pyright: ignore[reportAttributeAccessIssue]
    return language_model


def test_a_body_that_is_too_long(tiny: LanguageModel, running: Any) -> None:
    with running(tiny, limits=ServerLimits(most_bytes=1000)) as server, server.plain() as client:
        answer = client.post("/v1/chat/completions", json={**SHORT, "user": "x" * 1000})
        assert answer.status_code == 413
        assert "1,000 bytes" in answer.json()["error"]["message"]

        def pieces() -> Any:  # without a length, it is noticed as it comes
            yield json.dumps(SHORT).encode()[:-1]
            yield b" " * 2000

        headers = {"content-type": "application/json"}
        assert client.post("/v1/chat/completions", content=pieces(), headers=headers).status_code == 413
        assert client.post("/v1/chat/completions", json=SHORT).status_code == 200


def test_a_body_that_never_comes(tiny: LanguageModel, running: Any) -> None:
    with running(tiny, limits=ServerLimits(body_seconds=0.2)) as server:
        host, port = httpx.URL(server.address).host, httpx.URL(server.address).port
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 50\r\n\r\n{"
            )
            assert b" 408 " in connection.recv(65536)


def test_one_too_many_is_told_to_come_back(endless: LanguageModel, running: Any, wait_until: Any) -> None:
    with running(endless, limits=ServerLimits(most_open=2)) as server, server.client() as client:
        streams = [client.chat.completions.create(stream=True, **LONG) for _ in range(2)]
        with pytest.raises(openai.RateLimitError, match="as many as this server takes") as refused:
            client.chat.completions.create(**SHORT)
        assert int(refused.value.response.headers["retry-after"]) > 0
        assert refused.value.code == "rate_limit_exceeded"
        streams[0].close()
        wait_until(lambda: server.serving.admission.open == 1)
        assert client.chat.completions.create(**SHORT).choices
        with server.plain() as plain:
            assert "teachllm_refused_requests_total 1.0" in plain.get("/metrics").text
        streams[1].close()


def test_who_leaves_a_stream_is_forgotten_at_once(
    endless: LanguageModel, running: Any, wait_until: Any
) -> None:
    with running(endless) as server, server.client() as client:
        stream = client.chat.completions.create(stream=True, n=3, **LONG)
        for _, _chunk in zip(range(8), stream, strict=False):
            pass
        assert len(server.service.snapshot().texts) == 3
        stream.close()
        wait_until(lambda: not server.service.snapshot().texts, 2)
        now = server.service.snapshot()
        assert now.requests_cancelled == 1
        assert set(now.blocks) <= {"unused", "cached"}


def test_who_leaves_a_whole_answer_is_forgotten_at_once(
    endless: LanguageModel, running: Any, wait_until: Any
) -> None:
    with running(endless) as server:
        with server.plain() as client, pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=LONG, timeout=0.3)
        wait_until(lambda: not server.service.snapshot().texts, 2)
        assert server.service.snapshot().requests_cancelled == 1
        with server.plain() as client:
            wait_until(lambda: 'status="499"} 1.0' in client.get("/metrics").text)


def test_an_answer_that_takes_too_long(endless: LanguageModel, running: Any) -> None:
    with running(endless, limits=ServerLimits(answer_seconds=0.2)) as server, server.client() as client:
        with pytest.raises(openai.InternalServerError, match=r"within 0\.2 s") as failed:
            client.chat.completions.create(**LONG)
        assert failed.value.status_code == 504
        stream = client.chat.completions.create(stream=True, **LONG)
        with pytest.raises(openai.APIError, match=r"within 0\.2 s"):
            for _ in stream:
                pass


def test_who_does_not_read_is_let_go(endless: LanguageModel, running: Any, wait_until: Any) -> None:
    endless.model.pause = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    limits = ServerLimits(write_seconds=0.2)
    with running(endless, limits=limits) as server:
        address = httpx.URL(server.address)
        body = json.dumps({**LONG, "n": 16, "stream": True, "logprobs": True, "top_logprobs": 20}).encode()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((address.host, address.port))
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            wait_until(lambda: server.serving.admission.open == 1)
            wait_until(lambda: server.serving.admission.open == 0)
            assert server.service.snapshot().requests_cancelled == 1


def test_draining_finishes_what_runs_and_refuses_what_is_new(endless: LanguageModel, running: Any) -> None:
    with running(endless) as server, server.client() as client:
        stream = client.chat.completions.create(stream=True, **{**LONG, "max_tokens": 60})
        next(iter(stream))
        server.server.handle_exit(15, None)
        _until_draining(server)
        with pytest.raises(openai.InternalServerError, match="shutting down") as refused:
            client.chat.completions.create(**SHORT)
        assert refused.value.status_code == 503
        assert "retry-after" in refused.value.response.headers
        with server.plain() as plain:
            assert plain.get("/health").status_code == 503
        chunks = list(stream)
        assert chunks[-1].choices[0].finish_reason == "length"


def test_draining_ends_in_time_and_says_so(endless: LanguageModel, running: Any) -> None:
    with running(endless, limits=ServerLimits(drain_seconds=0.2)) as server, server.client() as client:
        stream = client.chat.completions.create(stream=True, **LONG)
        next(iter(stream))
        server.server.handle_exit(15, None)
        with pytest.raises(openai.APIError):
            list(stream)


def test_an_engine_that_failed_is_told_from_one_that_is_busy(tiny: LanguageModel, running: Any) -> None:
    with running(tiny) as server, server.plain() as plain, server.client() as client:
        assert plain.get("/health").json() == {"status": "ok"}
        server.service.close()
        answer = plain.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "failed")
        with pytest.raises(openai.InternalServerError, match="closed") as refused:
            client.chat.completions.create(**SHORT)
        assert refused.value.status_code == 503
        assert plain.get("/metrics").status_code == 200


def _until_draining(server: Any) -> None:
    end = time.monotonic() + 10
    while not server.serving.admission.draining:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_fifty_clients_at_once_lose_nothing(tiny: LanguageModel, running: Any) -> None:
    """Half of them stream, some leave in the middle; all others get what they would get alone."""
    with running(tiny, n_blocks=120, max_running=16) as server, server.client() as client:
        left = threading.Event()

        def ask(number: int) -> str | None:
            asked: Any = {"model": "tiny", "seed": number, "max_tokens": 8 + number % 7}
            messages: Any = [{"role": "user", "content": f"Question {number % 5}"}]
            if number % 2:
                return client.chat.completions.create(messages=messages, **asked).choices[0].message.content
            text = ""
            with client.chat.completions.create(messages=messages, stream=True, **asked) as stream:
                for place, chunk in enumerate(stream):
                    if number % 10 == 0 and place == 3:
                        left.set()
                        return None
                    text += chunk.choices[0].delta.content or ""
            return text

        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            together = list(pool.map(ask, range(50)))
        assert left.is_set()
        assert sum(text is None for text in together) == 5
        alone = [ask(number) for number in range(1, 50, 6)]
        assert alone == together[1::6]


def test_limits_that_let_nobody_in() -> None:
    with pytest.raises(ValueError, match=r"most_open is 0.*heartbeat is -1"):
        ServerLimits(most_open=0, heartbeat=-1)
