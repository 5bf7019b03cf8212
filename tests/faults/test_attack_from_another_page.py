"""A hostile page on another port, in the browser that has the studio open, gets nothing done."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.faults]
COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"

# Each attempt is a way in which a page can make the browser send something to the studio, with its cookie.
ATTACKS = """
async ({ studio, note, run }) => {
  const json = JSON.stringify(note);
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const outcome = {};
  const attempt = async (name, run) => {
    try { outcome[name] = await run(); } catch (error) { outcome[name] = `refused: ${error.name}`; }
  };
  const withCookie = { credentials: "include" };
  const post = (mode, type) => fetch(`${studio}/api/notes`,
    { ...withCookie, method: "POST", mode, headers: { "Content-Type": type }, body: json });
  await attempt("json", async () => (await post("cors", "application/json")).status);
  await attempt("plain text", async () => (await post("no-cors", "text/plain")).type);
  // No body, no type: browsers ask nobody before they send this.
  await attempt("bare post", async () =>
    (await fetch(`${studio}/api/cards/1.1/learn`, { ...withCookie, method: "POST", mode: "no-cors" })).type);
  await attempt("read", async () => (await fetch(`${studio}/api/settings`, withCookie)).status);
  await attempt("stream", () => new Promise((done) => {
    const source = new EventSource(`${studio}/api/lab/run/${run}/events`, { withCredentials: true });
    source.onopen = () => { source.close(); done("open"); };
    source.onerror = () => { source.close(); done("refused"); };
  }));
  await attempt("beacon", async () => {
    navigator.sendBeacon(`${studio}/api/notes`, new Blob([json], { type: "text/plain" }));
    await wait(300);
    return "sent";
  });
  await attempt("form", async () => {
    const frame = document.createElement("iframe");
    frame.name = "target";
    document.body.append(frame);
    const form = document.createElement("form");
    const action = `${studio}/api/notes`;
    Object.assign(form, { method: "POST", enctype: "text/plain", action, target: "target" });
    const input = document.createElement("input");
    input.name = json.slice(0, -1) + ', "x": "';
    input.value = '"}';
    form.append(input);
    document.body.append(form);
    form.submit();
    await wait(500);
    return "sent";
  });
  await attempt("script", () => new Promise((done) => {
    const script = document.createElement("script");
    script.onload = () => done("loaded");
    script.onerror = () => done("refused");
    script.src = `${studio}/static/built/main.js`;
    document.body.append(script);
  }));
  await attempt("frame", async () => {
    const frame = document.createElement("iframe");
    frame.src = `${studio}/`;
    document.body.append(frame);
    await new Promise((done) => { frame.onload = done; setTimeout(done, 3000); });
    return "loaded";
  });
  await attempt("window", async () => {
    const opened = window.open(`${studio}/`);
    await wait(800);
    return opened === null || opened.closed ? "severed" : String(opened.location);
  });
  return outcome;
}
"""


@dataclass(frozen=True)
class Studio:
    address: str
    link: str

    @property
    def tool(self) -> dict[str, str]:
        """Headers of a tool that holds the token."""
        return {"authorization": f"Bearer {self.link.partition('token=')[2]}"}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """The studio as a learner starts it."""
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "teachllm", "start", "--no-browser", "--lang", "en", "--port", "0"]
    environment = {**os.environ, "TEACHLLM_HOME": str(home), "TEACHLLM_COURSE": str(COURSE)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        link = next(line.strip() for line in process.stdout if "token=" in line)
        try:
            yield Studio(re.sub(r"/\?.*", "", link), link)
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    """Another local server; gives its address without the host."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>hostile</title><body>Nothing to see here."
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield str(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def browser(chromium: str, playwright: Any) -> Iterator[Any]:
    arguments = ["--host-resolver-rules=MAP *.example 127.0.0.1"]
    if hasattr(os, "getuid") and os.getuid() == 0:
        arguments.append("--no-sandbox")
    with contextlib.closing(playwright.chromium.launch(executable_path=chromium, args=arguments)) as browser:
        yield browser


NOTE = {"lesson": "1.1", "anchor": "idea", "quote": "", "text": "planted"}


def notes_kept(studio: Studio) -> list[str]:
    page = httpx.get(f"{studio.address}/notes", headers=studio.tool, trust_env=False)
    assert page.status_code == 200
    return re.findall(r"planted|my own", page.text)


WRITE = """async (note) => (await fetch("/api/notes", {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(note),
})).status"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "other.example"])
def test_hostile_page_changes_and_reads_nothing(
    studio: Studio, hostile: str, browser: Any, host: str
) -> None:
    context = browser.new_context()
    own = context.new_page()
    own.goto(studio.link)
    assert own.url in (f"{studio.address}/", f"{studio.address}/welcome")
    # The same request works from the studio's own page: below it is refused for where it comes from.
    assert own.evaluate(WRITE, {**NOTE, "text": "my own"}) == 200
    before = notes_kept(studio)
    assert "my own" in before
    # A run that is there, so that its stream would open for whoever may follow it.
    args = {"args": {"pause": 0.5}}
    tool = httpx.Client(base_url=studio.address, headers=studio.tool, trust_env=False, timeout=60)
    run = tool.post("/api/lab/1.1/sample_many", json=args).json()["run"]

    evil = context.new_page()
    evil.goto(f"http://{host}:{hostile}/")
    outcome = evil.evaluate(ATTACKS, {"studio": studio.address, "note": NOTE, "run": run})
    assert outcome["json"] == "refused: TypeError"
    assert outcome["read"] == "refused: TypeError"
    assert outcome["stream"] == "refused"
    assert outcome["script"] == "refused"
    assert outcome["window"] in ("severed", "refused: SecurityError")
    for frame in evil.frames[1:]:
        assert frame.locator("[data-page]").count() == 0
    assert notes_kept(studio) == before
    assert tool.get("/api/cards/1.1").json()["learning"] is False
    tool.post(f"/api/lab/run/{run}/cancel", json={})
    tool.close()
    context.close()


def test_rebound_name_is_refused(studio: Studio, browser: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(studio.link)
    port = studio.address.rpartition(":")[2]
    answer = page.goto(f"http://rebound.example:{port}/")
    assert answer.status == 403
    assert not page.locator("[data-page]").count()
    answer = page.goto(f"http://rebound.example:{port}/?token={studio.tool['authorization'].split()[1]}")
    assert answer.status == 403
    context.close()


def test_cookie_is_out_of_reach_of_scripts_and_of_no_use_elsewhere(studio: Studio, browser: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(studio.link)
    assert page.evaluate("document.cookie") == ""
    (cookie,) = context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert studio.tool["authorization"].split()[1] != cookie["value"]
    context.close()


def test_own_pages_keep_to_their_policy_and_are_refused_nothing(studio: Studio, browser: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("response", lambda answer: said.append(answer.url) if answer.status >= 400 else None)
    page.goto(studio.link)
    for path in ("/", "/lesson/1.1", "/review", "/search?q=token", "/notes", "/chat", "/settings"):
        page.goto(f"{studio.address}{path}")
        for island in page.locator("[data-island]").all():
            island.scroll_into_view_if_needed()
        page.wait_for_load_state("networkidle")
    assert said == []
    context.close()
