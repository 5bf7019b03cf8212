"""``teachllm start``: finds a port, opens the store, serves the studio, prints the link that lets one in."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
import webbrowser
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from teachllm.school.language import Both, Lang, terminal_language
from teachllm.school.progress import StoreError, learner_home, open_store
from teachllm.school.runner import Runner
from teachllm.school.web.challenge import is_our_studio
from teachllm.school.web.runs_folder import RUNS
from teachllm.school.web.security import Gate
from teachllm.school.web.token_file import TokenError, token_in

if TYPE_CHECKING:
    from teachllm.school.web.studio import Studio

PORT = 8765
_TRIED = 20
_REMEMBERED = "studio.json"


def start(
    *, port: int | None = None, lang: Lang | None = None, browser: bool = True, runs: Path = RUNS
) -> int:
    """Open the studio.

    Parameters
    ----------
    port
        Port on 127.0.0.1; by default that of the last time, else 8765 or the next free one.
    lang
        Language of the studio, zh or en; it is remembered.
    browser
        Open the browser; without it, the link is only printed.
    runs
        Folder of the training runs that the studio shows.
    """
    began = time.perf_counter()
    speak = lang or terminal_language()
    if port is not None and not 0 <= port < 65536:
        print(_NO_PORT.get(speak).format(port=port), file=sys.stderr)
        return 2
    try:
        home = learner_home()
        token = token_in(home)
        place = find_place(token, home, port)
    except (TokenError, PortTaken, StoreError) as error:
        print(error if isinstance(error, TokenError) else error.get(speak), file=sys.stderr)
        return 1
    link = Gate(token, place.port).link
    if place.listener is None:
        print(_RUNNING.get(speak))
        _show_link(link, browser)
        return 0
    with place.listener:
        _tell(_STARTING.get(speak))
        try:
            store = open_store()
        except StoreError as error:
            print(error.get(speak), file=sys.stderr)
            return 1
        if lang is not None:
            store.set_setting("lang", lang)
        from teachllm.school.web.app import create_app

        app = create_app(store=store, runner=Runner(), token=token, port=place.port, runs=runs)
        remember_port(home, place.port)

        def ready() -> None:
            _tell(_READY.get(speak).format(seconds=time.perf_counter() - began))
            _show_link(link, browser)
            print(_STOP.get(speak), flush=True)
            threading.Thread(target=app.state.studio.warm_up, name="warm-up", daemon=True).start()

        serve(app, place.listener, app.state.studio, ready)
        _tell(_STOPPED.get(speak))
    return 0


_NO_PORT = Both(
    "--port 是 {port}；端口是 1 到 65535 的数，0 表示任选一个。",
    "--port is {port}; it must be from 1 to 65535, or 0 for any free one.",
)
_STARTING = Both("正在启动工作室…", "Starting the studio …")
_READY = Both("工作室开好了（{seconds:.1f} 秒）。", "The studio is open ({seconds:.1f} s).")
_RUNNING = Both("工作室已经开着：", "The studio is already open:")
_STOP = Both("按 Ctrl-C 关闭。", "Ctrl-C closes it.")
_STOPPED = Both("工作室关了，学到哪里都记着。", "The studio is closed. Everything you did is kept.")


class PortTaken(RuntimeError):
    """The port belongs to another program."""

    def __init__(self, port: int) -> None:
        self._why = Both(
            f"端口 {port} 被别的程序占用了。换一个：teachllm start --port {port + 1}",
            f"Port {port} is taken by another program. Choose another: teachllm start --port {port + 1}",
        )
        super().__init__(self._why.en)

    def get(self, lang: Lang) -> str:
        return self._why.get(lang)


class Place:
    """Where to serve; without a listener, a studio on the same data is already there."""

    def __init__(self, port: int, listener: socket.socket | None) -> None:
        self.port = port
        self.listener = listener


def find_place(token: str, home: Path, wanted: int | None = None) -> Place:
    """The wanted port, else the last one, else the first free one from 8765 on.

    Raises :class:`PortTaken` if the wanted one belongs to another program.
    """
    last = remembered_port(home)
    if wanted is None and last is not None and is_our_studio(token, last):
        return Place(last, None)
    usual = [last or PORT, *range(PORT, PORT + _TRIED)]
    for port in usual if wanted is None else [wanted]:
        listener = listen_on(port)
        if listener is not None:
            return Place(listener.getsockname()[1], listener)
        if is_our_studio(token, port):
            return Place(port, None)
    if wanted is not None:
        raise PortTaken(wanted)
    listener = listen_on(0)
    if listener is None:
        raise PortTaken(PORT)
    return Place(listener.getsockname()[1], listener)


def listen_on(port: int) -> socket.socket | None:
    """A listening socket on 127.0.0.1; ``None`` if the port is taken. Port 0 is any free one."""
    # With the protocol named, asyncio switches off Nagle's algorithm, which costs 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A port that was just closed may be taken at once; on Windows the option would share it with others.
    option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    try:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError:
        listener.close()
        return None
    return listener


def remembered_port(home: Path) -> int | None:
    """The port of the last time: an open page and its cookie go on working there."""
    try:
        port = json.loads((home / _REMEMBERED).read_text("utf-8"))["port"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return port if isinstance(port, int) and 0 < port < 65536 else None


def remember_port(home: Path, port: int) -> None:
    draft = home / f"{_REMEMBERED}.{os.getpid()}"
    draft.write_text(json.dumps({"port": port}) + "\n", encoding="utf-8")
    os.replace(draft, home / _REMEMBERED)


def serve(app: Any, listener: socket.socket, studio: Studio, ready: Any = lambda: None) -> None:
    """Serves until Ctrl-C or a termination signal; then ends what is running and returns."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        server_header=False,
        ws="none",
    )
    server = _Server(config, studio, ready)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, studio: Studio, ready: Any) -> None:
        super().__init__(config)
        self._studio = studio
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Open event streams would keep the server waiting.
        threading.Thread(target=self._studio.stop_runs, daemon=True).start()
        super().handle_exit(sig, frame)


def _show_link(link: str, browser: bool) -> None:
    print(f"\n    {link}\n", flush=True)
    if browser and can_open_browser():
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()


def can_open_browser() -> bool:
    """Not in CI, not over SSH, not on a Linux without a display."""
    if os.environ.get("CI") or os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform.startswith("linux"):
        return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"))
    return True


def _tell(text: str) -> None:
    print(text, flush=True)
