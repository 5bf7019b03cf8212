"""Starting the studio: ports, a second start, the link, a restart, an end that leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx
import pytest

from teachllm.school.language import Lang
from teachllm.school.web import serve
from teachllm.school.web.serve import PortTaken, find_place, remember_port, remembered_port
from teachllm.school.web.token_file import token_in

COURSE = Path(__file__).resolve().parents[2] / "fixtures" / "course"


class Started:
    """``teachllm start`` in a process of its own."""

    def __init__(self, home: Path, *options: str) -> None:
        environment = {**os.environ, "TEACHLLM_HOME": str(home), "TEACHLLM_COURSE": str(COURSE)}
        command = [sys.executable, "-m", "teachllm", "start", "--no-browser", "--lang", "en", *options]
        began = time.monotonic()
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        out = self.process.stdout
        assert out is not None
        self.link = self._read_link(out)
        self.seconds = time.monotonic() - began
        self._reader = threading.Thread(target=lambda: self.lines.extend(out))
        self._reader.start()

    def _read_link(self, out: IO[str]) -> str:
        for line in out:
            self.lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\w+", line):
                return found[0]
        pytest.fail(f"no link: {''.join(self.lines)}")

    @property
    def address(self) -> str:
        return self.link.partition("/?")[0]

    def end(self, number: int = signal.SIGINT) -> int:
        """Its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self._reader.join(timeout=10)
            if self.process.stdout:
                self.process.stdout.close()


@pytest.fixture
def started(learner_home: Path) -> Iterator[Started]:
    """On a port that nobody else comes by; later starts on the same data take it again."""
    studio = Started(learner_home, "--port", "0")
    try:
        yield studio
    finally:
        studio.end()


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    below = [int(line) for line in found.stdout.split()]
    return below + [grandchild for child in below for grandchild in children(child)]


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_link_a_page_a_second_start_a_restart(started: Started, learner_home: Path) -> None:
    browser = httpx.Client(trust_env=False, follow_redirects=True)
    assert browser.get(started.link).status_code == 200

    again = Started(learner_home)
    assert again.link == started.link
    assert again.process.wait(timeout=10) == 0
    again.end()

    assert started.end() == 0
    assert "Everything you did is kept" in "".join(started.lines)
    with pytest.raises(httpx.ConnectError):
        browser.get(started.address)

    later = Started(learner_home)
    try:
        assert later.link == started.link
        page = browser.get(later.address)  # the tab of yesterday, with yesterday's cookie
        assert page.status_code == 200
        assert "data-page" in page.text
    finally:
        assert later.end() == 0
    browser.close()


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(started: Started, number: signal.Signals) -> None:
    httpx.get(started.link, trust_env=False)
    below: list[int] = []
    end = time.monotonic() + 10
    while not below and time.monotonic() < end:
        below = children(started.process.pid)
        time.sleep(0.05)
    assert below, "the runner has not started"
    started.end(number)
    end = time.monotonic() + 20
    while any(map(alive, below)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [pid for pid in below if alive(pid)] == []


def test_open_event_stream_does_not_hold_up_the_end(started: Started) -> None:
    token = started.link.partition("token=")[2]
    client = httpx.Client(
        base_url=started.address, headers={"authorization": f"Bearer {token}"}, timeout=30, trust_env=False
    )
    run = client.post("/api/lab/1.1/sample_many", json={"args": {"pause": 0.5}}).json()["run"]
    with client.stream("GET", f"/api/lab/run/{run}/events") as response:
        next(response.iter_lines())
        began = time.monotonic()
        assert started.end() == 0
        assert time.monotonic() - began < 8
    client.close()


def test_torch_is_not_needed_for_the_first_page() -> None:
    code = (
        "import sys; import teachllm.school.web.serve, teachllm.school.web.app;"
        "print(sorted({'torch', 'numba', 'transformers', 'jieba', 'pytest'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_port_of_another_program(tmp_path: Path) -> None:
    token = token_in(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(taken)):
            find_place(token, tmp_path, taken)
        remember_port(tmp_path, taken)
        place = find_place(token, tmp_path)
        assert place.listener is not None
        assert place.port != taken
        place.listener.close()


def test_studio_of_someone_else_is_another_program(started: Started, tmp_path: Path) -> None:
    port = int(started.address.rpartition(":")[2])
    with pytest.raises(PortTaken):
        find_place(token_in(tmp_path / "someone"), tmp_path / "someone", port)


def test_listens_on_loopback_only(tmp_path: Path) -> None:
    place = find_place(token_in(tmp_path), tmp_path)
    assert place.listener is not None
    assert place.listener.getsockname()[0] == "127.0.0.1"
    assert place.listener.proto == socket.IPPROTO_TCP  # else asyncio does not set TCP_NODELAY
    place.listener.close()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"port": "x"}', '{"port": 0}', '{"port": 99999}'])
def test_damaged_memory_of_the_port_is_no_harm(tmp_path: Path, content: str) -> None:
    (tmp_path / "studio.json").write_text(content)
    assert remembered_port(tmp_path) is None


@pytest.mark.parametrize(
    ("environment", "opens"),
    [
        ({"CI": "true", "DISPLAY": ":0"}, False),
        ({"SSH_CONNECTION": "x", "DISPLAY": ":0"}, False),
        ({}, False),
    ],
)
def test_browser_is_not_opened_where_nobody_sees_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], opens: bool
) -> None:
    for name in ("CI", "SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(serve.sys, "platform", "linux")
    assert serve.can_open_browser() is opens


@pytest.mark.parametrize(("lang", "words"), [("zh", "端口是"), ("en", "from 1 to 65535")])
def test_a_number_that_is_no_port(lang: Lang, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.start(port=99999, lang=lang, browser=False) == 2
    assert words in capsys.readouterr().err
