"""Another user of the machine who has come by the cookie and the token still gets nowhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from teachllm.school.web.security import Gate

pytestmark = pytest.mark.faults
TOKEN = "5f" * 32
NOBODY = 65534
ASK = """
import os, socket, sys
port, request, user = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
os.setgroups([])
os.setuid(user)
with socket.socket() as channel:
    channel.connect(("127.0.0.1", port))
    channel.sendall(request.encode())
    print(channel.recv(4096).decode().split("\\r\\n")[0])
"""


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A guarded application, served by this process."""

    async def inside(_: Request) -> PlainTextResponse:
        return PlainTextResponse("inside")

    listener = socket.create_server(("127.0.0.1", 0))
    gate = Gate(TOKEN, listener.getsockname()[1])
    app = gate.around(Starlette(routes=[Route("/", inside, methods=["GET", "POST"])]))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    yield gate
    server.should_exit = True
    thread.join(timeout=10)
    listener.close()


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.getuid() != 0, reason="only root can act as another user"
)
@pytest.mark.parametrize("secret", ["cookie", "token", "link"])
def test_stolen_secrets_are_of_no_use(gate: Gate, secret: str) -> None:
    path = f"/?token={TOKEN}" if secret == "link" else "/"
    headers = {
        "cookie": f"Cookie: {gate.cookie_name}={gate.cookie_value}",
        "token": f"Authorization: Bearer {TOKEN}",
        "link": "Accept: */*",
    }
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{gate.port}", headers[secret], "Connection: close"]
    request = "\r\n".join([*lines, "", ""])

    def status(user: int) -> str:
        command = [sys.executable, "-I", "-c", ASK, str(gate.port), request, str(user)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.split()[1]

    assert status(0) == ("303" if secret == "link" else "200")
    assert status(NOBODY) == "403"


def test_own_requests_pass(gate: Gate) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = httpx.get(f"http://127.0.0.1:{gate.port}/", headers=headers, trust_env=False)
    assert answer.text == "inside"
