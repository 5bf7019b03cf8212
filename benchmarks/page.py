"""A lesson page, server side: from the request to the last byte, as the browser waits for it.

    make bench NAME=page

Each lesson that is available is asked for over a real connection to a real studio, in both languages, on
data of a learner who has done something. There is no peer: the bar is 30 ms for the median.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from benchmarks.harness import Row, report, seconds, versions

TIMES = 60
BAR_MS = 30.0
PACKAGES = ("fastapi", "uvicorn", "jinja2", "sqlalchemy")


def main() -> None:
    rows: list[Row] = []
    sizes: list[str] = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["TEACHLLM_HOME"] = home
        with studio(Path(home)) as page:
            for path in paths():
                median, cpu, size = measure(page, path)
                facts = versions(PACKAGES)
                rows.append(Row(path, median, None, "none", "ms", None, versions=facts, why="no peer"))
                sizes.append(
                    f"{path}: {size / 1024:.0f} KiB of HTML; {cpu:.1f} ms of CPU, the client's with it"
                )
    lessons = [one.ours for one in rows if "/lesson/" in one.what]
    notes = [
        f"bar: {BAR_MS:g} ms for a lesson page; the slowest median is {max(lessons):.1f} ms",
        f"medians of {TIMES} requests in turn over one connection, after a first one that renders the lesson",
        *sizes,
    ]
    report("page", rows, notes=notes)


def paths() -> list[str]:
    from teachllm.school.course import load_course

    lessons = [f"/lesson/{lesson.id}" for lesson in load_course().available()]
    return [f"{path}?lang={lang}" for lang in ("zh", "en") for path in ("/", *lessons)]


def measure(page: httpx.Client, path: str) -> tuple[float, float, int]:
    """Median milliseconds, milliseconds of CPU (which a busy neighbour hardly changes), size of the page."""
    address, _, query = path.partition("?")
    page.post("/api/settings", json={"lang": query.removeprefix("lang="), "welcomed": True})

    def ask() -> None:
        answer = page.get(address)
        assert answer.status_code == 200, answer.text[:300]

    ask()
    size = len(page.get(address).content)
    before = time.process_time()
    taken = [seconds(ask) for _ in range(TIMES)]
    cpu = (time.process_time() - before) / TIMES
    return 1000 * statistics.median(taken), 1000 * cpu, size


@contextmanager
def studio(home: Path) -> Iterator[httpx.Client]:
    """A studio with some progress in its store, and a client that holds its token."""
    from teachllm.school.course import load_course
    from teachllm.school.progress import open_store
    from teachllm.school.runner import Runner
    from teachllm.school.web.app import create_app
    from teachllm.school.web.serve import listen_on
    from teachllm.school.web.token_file import token_in

    store = open_store()
    for lesson in load_course().available():
        store.cards.learn(lesson.id)
        for number in range(10):
            store.add_note(lesson.id, "opening", "a passage", f"note {number}")
        for anchor in re.findall(r"\{#([a-z0-9-]+)\}", lesson.file("lesson.zh.md").read_text("utf-8")):
            store.mark_read(lesson.id, anchor)
    token = token_in(home)
    listener = listen_on(0)
    assert listener is not None
    port = listener.getsockname()[1]
    app = create_app(store=store, runner=Runner(), token=token, port=port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    headers = {"authorization": f"Bearer {token}"}
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120, trust_env=False)
    try:
        with client:
            while not app.state.studio.runner.is_ready():  # its imports would be measured along
                time.sleep(0.1)
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


if __name__ == "__main__":
    main()
