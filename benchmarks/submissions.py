"""Fifty exercises submitted at once, ten of them hostile. `make bench NAME=submissions`.

A real studio grades lesson 1.2 over its own HTTP interface. While it does, its pages are asked for without
pause. There is no peer: the bar is that every verdict is right, that pages come throughout, and that nothing
is left running. `tests/school/web/test_submissions_at_once.py` holds the same on the
small course of the tests.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.harness import report, without_peer
from benchmarks.page import studio

LESSON = "1.2"
AT_ONCE = 50


def hostile(function: str, wrong: str, database: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Ten solutions that do harm and would otherwise give `wrong`, with the right verdicts for each."""

    def doing(*lines: str) -> str:
        body = "\n".join("    " + line for line in lines)
        return f"import os, sys\ndef {function}(*args, **kwargs):\n{body}\n    return {wrong}\n"

    failing = frozenset({"failed", "error", "crashed"})
    stopped = frozenset({"timeout"})
    return {
        "fork bomb": (doing("while True:", "    os.fork()"), failing | stopped),
        "threads without end": (
            doing(
                "import threading",
                "while True:",
                "    threading.Thread(target=lambda: open('/dev/zero').read()).start()",
            ),
            failing | stopped | {"memory"},
        ),
        "memory": (
            doing("hoard = []", "while True:", "    hoard.append(bytearray(10**7))"),
            frozenset({"memory"}),
        ),
        "disk": (
            doing(
                "file = open('big', 'wb')", "while True:", "    file.write(bytes(10**6))", "    file.flush()"
            ),
            failing | stopped,
        ),
        "network": (doing("import socket", "socket.create_connection(('127.0.0.1', 9))"), failing),
        "endless output": (doing("while True:", "    print('x' * 1000)"), stopped),
        "endless loop": (doing("while True:", "    pass"), stopped),
        "exit": (doing("sys.exit(0)"), failing),
        "forged verdict": (
            doing(
                'line = b\'{"event": "verdict", "status": "passed", "checks": [], "output": ""}\\n\'',
                "for fd in range(256):",
                "    try:",
                "        os.write(fd, line)",
                "    except OSError:",
                "        pass",
            ),
            failing | stopped,
        ),
        "reading the learner's data": (doing(f"return open({str(database)!r}, 'rb').read()"), failing),
    }


@dataclass(frozen=True)
class Outcome:
    """``wrong``: what each submission with a wrong verdict was, and the verdict that it got.

    ``early_pages``: how many pages came before ten of the verdicts, when at least forty submissions wait.
    """

    wrong: list[str]
    seconds: float
    page_seconds: list[float]
    early_pages: int


def submit_at_once(
    client: Callable[[], httpx.Client],
    lesson_id: str,
    right: str,
    unwritten: str,
    bad: dict[str, tuple[str, frozenset[str]]],
) -> Outcome:
    """Submits AT_ONCE solutions: the bad ones, then right and unwritten ones. Asks for pages meanwhile."""
    plain = AT_ONCE - len(bad)
    work = [(name, source, good) for name, (source, good) in bad.items()]
    work += [
        ("right", right, frozenset({"passed"})),
        ("unwritten", unwritten, frozenset({"failed", "error"})),
    ] * (plain // 2)
    over = threading.Event()
    page_seconds: list[float] = []
    page_came: list[float] = []
    paths = (f"/lesson/{lesson_id}", "/", f"/api/exercise/{lesson_id}")
    with client() as page:
        for path in paths:  # the first time, a lesson is rendered
            page.get(path).raise_for_status()

    def look() -> None:
        with client() as page:
            while not over.is_set():
                for path in paths:
                    began = time.perf_counter()
                    page.get(path).raise_for_status()
                    page_came.append(time.perf_counter())
                    page_seconds.append(page_came[-1] - began)
                time.sleep(0.05)

    def submit(name: str, source: str, good: frozenset[str]) -> tuple[str | None, float]:
        with client() as page:
            answer = page.post(f"/api/exercise/{lesson_id}/submit", json={"source": source}, timeout=600)
        status = answer.raise_for_status().json()["status"]
        return (None if status in good else f"{name}: {status}"), time.perf_counter()

    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        looking = pool.submit(look)
        verdicts = [submitted.result() for submitted in [pool.submit(submit, *one) for one in work]]
        taken = time.perf_counter() - began
        over.set()
        looking.result()
    wrong = [name for name, _ in verdicts if name is not None]
    tenth = sorted(came for _, came in verdicts)[9]
    return Outcome(wrong, taken, page_seconds, sum(came < tenth for came in page_came))


def main() -> None:
    from teachllm.school.exercise import exercise

    task = exercise(LESSON)
    with tempfile.TemporaryDirectory() as home:
        os.environ["TEACHLLM_HOME"] = home
        with studio(Path(home)) as page:
            page.post("/api/settings", json={"lang": "en", "welcomed": True})
            headers = dict(page.headers)
            before = {one.pid for one in psutil.Process().children(recursive=True)}

            def client() -> httpx.Client:
                return httpx.Client(base_url=page.base_url, headers=headers, timeout=120, trust_env=False)

            bad = hostile(task.function, "None", Path(home) / "teachllm.db")
            outcome = submit_at_once(client, LESSON, task.solution_source, task.stub, bad)
            time.sleep(2)  # those that were killed are gone, and the next spare process is there
            left = len({one.pid for one in psutil.Process().children(recursive=True)} - before)
    if outcome.wrong:
        raise SystemExit(f"wrong verdicts: {outcome.wrong}")
    rows = [
        without_peer(
            f"{AT_ONCE} submissions, {len(bad)} hostile, until the last verdict",
            outcome.seconds,
            "none",
            "s",
            "no peer",
        ),
        without_peer(
            "a page meanwhile, median",
            1000 * statistics.median(outcome.page_seconds),
            "none",
            "ms",
            "no peer",
        ),
        without_peer("a page meanwhile, slowest", 1000 * max(outcome.page_seconds), "none", "ms", "no peer"),
    ]
    notes = [
        f"all {AT_ONCE} verdicts are right; {len(outcome.page_seconds)} pages were answered meanwhile",
        f"hostile: {', '.join(bad)}; each may run {task.limits.seconds:g} s",
        f"{left} processes more than before, two seconds later",
    ]
    report("submissions", rows, notes=notes)


if __name__ == "__main__":
    main()
