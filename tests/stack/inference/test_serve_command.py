"""``teachllm serve`` in a process of its own, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from fastapi import FastAPI

from teachllm.stack.chat.running_servers import running_servers
from teachllm.stack.inference.serve_command import serve
from teachllm.stack.inference.server import listening
from teachllm.stack.inference.server.listening import DrainingServer
from teachllm.stack.models.export import save_hugging_face
from teachllm.stack.models.llama import Llama
from teachllm.stack.tokenizer import Tokenizer

KEY = "a-key-for-the-tests"


@pytest.fixture
def folder(tmp_path: Path, tiny_llama: Llama, tokenizer: Tokenizer) -> Path:
    path = tmp_path / "tiny-llama"
    save_hugging_face(tiny_llama, tokenizer, path)
    return path


def test_it_serves_drains_and_takes_its_note_away(
    folder: Path, learner_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    servers: list[DrainingServer] = []

    class Kept(DrainingServer):
        def __init__(self, app: FastAPI, on_ready: Callable[[], None]) -> None:
            super().__init__(app, on_ready)
            servers.append(self)

    monkeypatch.setattr(listening, "DrainingServer", Kept)
    monkeypatch.setenv("KEY_OF_TEST", f" {KEY}\n")
    options = {"port": 0, "api_key_env": "KEY_OF_TEST", "cache_tokens": 320, "lang": "en"}
    thread = threading.Thread(target=serve, args=(str(folder),), kwargs=options, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not (servers and servers[0].started):
        assert thread.is_alive()
        assert time.monotonic() < end
        time.sleep(0.02)
    (note,) = running_servers()
    with openai.OpenAI(base_url=f"{note.address}/v1", api_key=KEY, max_retries=0) as client:
        stream = client.completions.create(model="tiny-llama", prompt="ab", max_tokens=60, stream=True)
        next(iter(stream))
        servers[0].handle_exit(signal.SIGINT, None)
        assert list(stream)[-1].choices[0].finish_reason in ("stop", "length")
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert running_servers() == []
    said = capsys.readouterr()
    assert f"{note.address}/v1\n" in said.out
    assert "320 tokens (20 blocks" in said.err
    assert "at most 96, and 3 that long fit at once" in " ".join(said.err.split())
    assert "The server has stopped." in said.err
    assert KEY not in said.out + said.err
    assert note.view_key not in said.out + said.err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
def test_a_signal_ends_it(folder: Path, learner_home: Path) -> None:
    command = [sys.executable, "-m", "teachllm.cli", "serve", str(folder), "--port", "0", "--lang", "en"]
    log = learner_home / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = _address(process, log)
        with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
            stream = client.completions.create(model="tiny-llama", prompt="ab", max_tokens=60, stream=True)
            next(iter(stream))
            process.send_signal(signal.SIGTERM)
            assert list(stream)[-1].choices[0].finish_reason in ("stop", "length")
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait(timeout=20)
    assert list((learner_home / "servers").iterdir()) == []


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if found := re.search(r"^http://127\.0\.0\.1:\d+/v1$", log.read_text("utf-8"), re.MULTILINE):
            return found[0]
        time.sleep(0.05)
    pytest.fail(f"it did not start:\n{log.read_text('utf-8')}")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, **options: object) -> str:
    with pytest.raises(SystemExit) as ended:
        serve(*arguments, lang="en", **options)  # pyright: ignore[reportArgumentType]
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused(capsys, port=port)
    assert f"Port {port} cannot be used" in said
    assert f"teachllm serve --port {port + 1}" in said


def test_a_port_or_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "port 99999 is none" in refused(capsys, port=99999)
    assert "999.1.1.1 is no address of this computer" in refused(capsys, port=0, host="999.1.1.1")


def test_a_key_that_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert "NO_SUCH_KEY holds no key" in refused(capsys, port=0, api_key_env="NO_SUCH_KEY")
    monkeypatch.setenv("A_KEY", "two words secret")
    said = refused(capsys, port=0, api_key_env="A_KEY")
    assert "no usable key" in said
    assert "secret" not in said
    file = tmp_path / "key"
    assert str(file) in refused(capsys, port=0, api_key_file=file)
    file.write_text("short\n")
    assert "at least 8" in refused(capsys, port=0, api_key_file=file)
    assert "give one of them" in refused(capsys, port=0, api_key_file=file, api_key_env="A_KEY")


def test_sizes_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert "max_running = 600" in refused(capsys, port=0, max_running=600)
    assert "most_open is 0" in refused(capsys, port=0, max_open=0)
    assert "give one of them" in refused(capsys, port=0, cache_tokens=64, memory_share=0.5)


def test_workers_of_one_kind_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, str(folder), port=0, prefill_workers=1)
    assert "1 workers for prefill and 0 for decode: give at least one of each" in " ".join(said.split())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
def test_workers_serve_and_end_with_the_server(folder: Path, learner_home: Path) -> None:
    command = [sys.executable, "-m", "teachllm.cli", "serve", str(folder), "--port", "0", "--lang", "en"]
    log = learner_home / "log"
    with log.open("w") as output:
        workers = ["--prefill-workers", "1", "--decode-workers", "1"]
        process = subprocess.Popen([*command, *workers], stdout=output, stderr=subprocess.STDOUT)
    try:
        address = _address(process, log)
        with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
            asked = {"model": "tiny-llama", "prompt": "ab" * 12, "max_tokens": 60}
            stream = client.completions.create(**asked, stream=True)
            next(iter(stream))
            process.send_signal(signal.SIGTERM)
            assert list(stream)[-1].choices[0].finish_reason in ("stop", "length")
        assert process.wait(timeout=30) == 0
        assert "1 for prefill and 1 for decoding" in log.read_text("utf-8")
    finally:
        process.kill()
        process.wait(timeout=20)


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nowhere" in refused(capsys, str(tmp_path / "nowhere"), port=0)
