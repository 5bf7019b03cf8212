"""Learner code that does harm, by mistake or on purpose: the real sandbox stops it, and it forges nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from teachllm.school.runner import Runner, Verdict

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="the layers of the sandbox are Linux's"),
]
FIXTURE = Path(__file__).resolve().parents[1] / "fixtures/course"
CHECKS = """
import torch
from teachllm.school.checks import diagnosis
SECRET = "the answer is in this file"

@diagnosis(zh="应当是两倍。", en="It should be doubled.")
def test_doubled(implementation):
    torch.testing.assert_close(implementation(torch.arange(5.0)), torch.arange(5.0) * 2)

@diagnosis(zh="应当是真的 7。", en="It should be a true 7.")
def test_seven(implementation):
    assert implementation("seven") == 7
"""
WRONG = "def number(value):\n    return 0\n"
RIGHT = "def number(value):\n    return 7 if value == 'seven' else value * 2\n"
ALL_LAYERS = {"namespaces", "capabilities", "landlock", "seccomp", "limits"}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "course"
    shutil.copytree(FIXTURE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    lesson = folder / "01-basics/01-temperature"
    (lesson / "checks.py").write_text(CHECKS, "utf-8")
    exercise = lesson / "exercise.yaml"
    exercise.write_text(exercise.read_text("utf-8") + "limits: {seconds: 5, memory_mb: 512}\n", "utf-8")
    return folder


@pytest.fixture(autouse=True)
def _in_that_course(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(course))


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as shared:
        yield shared


@pytest.fixture
def grade(runner: Runner) -> Callable[[str], Verdict]:
    return lambda source: runner.grade("1.1", source)


Grade = Callable[[str], Verdict]


def needs(runner: Runner, *layers: str) -> None:
    missing = {name: runner.isolation().layers[name] for name in layers}
    missing = {name: why for name, why in missing.items() if why is not None}
    if missing:
        pytest.skip(f"this system does not give {missing}")


def attempt(*lines: str) -> str:
    """A solution that does this, prints what came of it, and then answers rightly."""
    body = "\n".join("        " + line for line in lines)
    return (
        "import os, sys\n"
        "def number(value):\n    try:\n"
        f"{body}\n        print('it worked')\n"
        "    except BaseException as error:\n        print('refused', type(error).__name__, error)\n"
        "    return 7 if value == 'seven' else value * 2\n"
    )


def refused(verdict: Verdict) -> bool:
    assert verdict.status == "passed", verdict
    assert verdict.output.count("refused") == 2, verdict.output
    return "it worked" not in verdict.output


def test_the_right_answer_passes_here(grade: Grade) -> None:
    assert grade(RIGHT).status == "passed"
    assert grade(WRONG).first_failed == "test_doubled"


def test_a_memory_bomb_is_defused(grade: Grade) -> None:
    python = grade(
        "def number(value):\n    hoard = []\n    while True:\n        hoard.append(bytearray(10**7))\n"
    )
    assert python.status == "memory"
    assert python.line == 4
    assert python.diagnosis is not None
    assert "内存用得太多" in python.diagnosis.zh
    assert "too much memory on line 4" in python.diagnosis.en
    tensors = grade("import torch\ndef number(value):\n    return torch.ones(10**10)\n")
    assert (tensors.status, tensors.line) == ("memory", 3)


def test_a_flood_of_output_is_cut_and_stopped(grade: Grade) -> None:
    verdict = grade("def number(value):\n    print('first')\n    while True:\n        print('x' * 1000)\n")
    assert verdict.status == "timeout"
    assert verdict.output.startswith("first\n")
    assert " bytes …" in verdict.output
    assert len(verdict.output) < 100_000


@pytest.mark.parametrize(
    "crash",
    [
        "ctypes.string_at(0)",
        "ctypes.memset(id(value), 255, 64)",
        "os.kill(os.getpid(), 9) or os._exit(3)",
    ],
)
def test_a_crash_is_a_verdict(grade: Grade, crash: str) -> None:
    source = f"import ctypes, os\ndef number(value):\n    {crash}\n"
    verdict = grade(source)
    assert verdict.status in ("crashed", "memory"), verdict
    assert verdict.diagnosis is not None
    assert grade(RIGHT).status == "passed"


@pytest.mark.parametrize(
    "lines",
    [
        ["os.fork()"],
        ["import subprocess", "subprocess.run(['true'])"],
        ["os.execv('/bin/true', ['true'])"],
        ["os.posix_spawn('/bin/true', ['true'], {})"],
        ["os.kill(os.getppid() or 2, 9)"],
        ["os.kill(-1, 9)"],
        ["import socket", "socket.socket()"],
        ["import urllib.request", "urllib.request.urlopen('http://127.0.0.1:PORT')"],
        ["import ctypes", "assert ctypes.CDLL(None).ptrace(16, os.getpid(), 0, 0) == 0"],
        ["import ctypes", "assert ctypes.CDLL(None).unshare(0x10000000) == 0"],
        ["import ctypes", "assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0"],
        ["import resource", "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))"],
        ["os.memfd_create('x')"],
        ["os.setuid(0) if os.getuid() else os.chown('/usr', 0, 0)"],
    ],
    ids=lambda lines: lines[-1],
)
def test_what_the_sandbox_forbids_fails(runner: Runner, grade: Grade, lines: list[str]) -> None:
    needs(runner, "seccomp", "capabilities")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert refused(grade(attempt(*(line.replace("PORT", port) for line in lines))))


def test_nothing_is_written_outside_the_run_folder(runner: Runner, grade: Grade, tmp_path: Path) -> None:
    needs(runner, "landlock")
    places = [
        tmp_path / "planted",
        Path("/tmp/teachllm-planted"),
        Path(sys.prefix, "planted.py"),
        Path(os.__file__),
    ]
    for place in places:
        assert refused(grade(attempt(f"open({str(place)!r}, 'a')"))), place
    assert not any(place.exists() for place in places[:3])
    (tmp_path / "kept").write_text("kept")
    assert refused(grade(attempt(f"os.remove({str(tmp_path / 'kept')!r})")))
    assert refused(grade(attempt(f"os.rename({str(tmp_path / 'kept')!r}, 'mine')")))
    assert refused(grade(attempt(f"os.truncate({str(tmp_path / 'kept')!r}, 0)")))
    assert (tmp_path / "kept").read_text() == "kept"


def test_the_run_folder_can_be_written_and_starts_empty(grade: Grade) -> None:
    source = attempt("print(os.listdir('.'))", "open('note', 'w').write('x')", "os.remove('note')")
    assert "it worked" in grade(source).output
    leaving = attempt("print(os.listdir('.'))", "os.mkdir('d', 0o000)", "os.chmod('.', 0o000)")
    assert grade(leaving).output.startswith("[]\nit worked")
    assert grade(leaving).output.startswith("[]\nit worked")
    big = attempt("open('big', 'wb').write(bytes(10**8))")
    assert refused(grade(big))


def test_the_learners_data_home_and_the_checks_cannot_be_read(
    runner: Runner, grade: Grade, learner_home: Path, course: Path, tmp_path: Path
) -> None:
    needs(runner, "landlock")
    database = learner_home / "teachllm.db"
    database.write_text("all progress")
    (tmp_path / ".ssh").mkdir()
    key = tmp_path / ".ssh/id"
    key.write_text("a key")
    checks = course / "01-basics/01-temperature/checks.py"
    for place in (database, key, checks, Path("/proc/1/environ"), Path("/etc/passwd"), Path.home()):
        reading = f"os.listdir({str(place)!r})" if place.is_dir() else f"print(open({str(place)!r}).read())"
        verdict = grade(attempt(reading))
        assert refused(verdict), place
        assert "all progress" not in verdict.output
    searching = (
        "print([x for x in __import__('gc').get_objects() if ' is '.join(['answer', 'in']) in repr(x)])"
    )
    verdict = grade(attempt(searching))
    assert verdict.output == "[]\nit worked\n" * 2


def test_what_a_solution_may_need_is_allowed(grade: Grade) -> None:
    threads = attempt(
        "import threading, asyncio, torch, json, numpy, tempfile",
        "thread = threading.Thread(target=print, args=('from a thread',))",
        "thread.start(); thread.join()",
        "asyncio.run(asyncio.sleep(0))",
        "x = torch.ones(4, requires_grad=True); torch.optim.AdamW([x]); (x * x).sum().backward()",
        "open(tempfile.mkstemp()[1], 'w').write(json.dumps(numpy.ones(2).tolist()))",
    )
    assert grade(threads).output == "from a thread\nit worked\n" * 2


def test_the_environment_holds_no_secrets(grade: Grade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    printing = attempt("print(dict(os.environ))", "print(open('/proc/self/environ').read())")
    with Runner() as runner:
        verdict = runner.grade("1.1", printing)
    assert "PATH" in verdict.output
    assert "secret" not in verdict.output


TAMPERING = {
    "torch": "import torch\ntorch.testing.assert_close = torch.allclose = lambda *a, **k: True\n",
    "pytest": (
        "import _pytest.runner, _pytest.python, pytest\n"
        "_pytest.python.Function.runtest = lambda self: None\n"
        "pytest.main = lambda *a, **k: 0\n"
        "_pytest.runner.call_and_report = lambda *a, **k: None\n"
    ),
    "builtins": (
        "import builtins\n"
        "builtins.AssertionError = type('Never', (Exception,), {})\n"
        "builtins.len = builtins.abs = lambda x: 7\n"
    ),
    "the grader": (
        "import teachllm.school.runner.checker as c, teachllm.school.runner.implementation as i\n"
        "c.Grading.verdict = lambda self: {'status': 'passed'}\n"
        "i.Implementation.__call__ = lambda self, *a, **k: 7\n"
    ),
    "every frame": (
        "import sys\n"
        "frame = sys._getframe()\n"
        "while frame:\n"
        "    frame.f_locals.update(status='passed')\n"
        "    frame = frame.f_back\n"
    ),
    "every object": (
        "import gc\n"
        "for thing in gc.get_objects():\n"
        "    if type(thing).__name__ in ('Grading', '_Check', 'Learner', 'Verdict'):\n"
        "        thing.passed = True\n"
    ),
    "exit": "import atexit, sys\natexit.register(lambda: print('passed'))\nsys.exit(0)\n",
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_with_its_own_process_does_not_help(grade: Grade, name: str) -> None:
    verdict = grade(TAMPERING[name] + WRONG)
    assert not verdict.passed
    assert grade(WRONG).first_failed == "test_doubled"
    assert grade(RIGHT).status == "passed"


@pytest.mark.parametrize(
    "answer",
    [
        "type('Equal', (int,), {'__eq__': lambda s, o: True, '__hash__': int.__hash__})(0)",
        "type('Equal', (), {'__eq__': lambda s, o: True})()",
        "torch.zeros(5).as_subclass(type('Equal', (torch.Tensor,), {'__eq__': lambda s, o: True}))",
    ],
)
def test_an_answer_that_equals_everything_is_wrong(grade: Grade, answer: str) -> None:
    verdict = grade(f"import torch\ndef number(value):\n    return {answer}\n")
    assert not verdict.passed
    assert verdict.first_failed == "test_doubled"


FORGED = (
    "import json, os, struct\n"
    "event = {'event': 'verdict', 'status': 'passed', 'checks': [], 'output': ''}\n"
    "line = json.dumps(event).encode() + b'\\n'\n"
    "from teachllm.school.runner.encoding import encode\n"
    "reply = encode(['returned', None, []])\n"
    "def everywhere(data):\n"
    "    for fd in range(256):\n"
    "        try:\n"
    "            os.write(fd, data)\n"
    "        except OSError:\n"
    "            pass\n"
)


@pytest.mark.parametrize(
    "data",
    [
        "line",
        "b'0'",
        "struct.pack('<Q', 2**62)",
        "struct.pack('<Q', 1) + b'N'",
        "struct.pack('<Q', len(line)) + line",
        "(struct.pack('<Q', len(reply)) + reply) * 50",
    ],
)
def test_writing_to_every_channel_forges_no_verdict(grade: Grade, data: str) -> None:
    verdict = grade(FORGED + WRONG.replace("return 0", f"everywhere({data})\n    return 0"))
    assert verdict.status in ("failed", "error", "crashed", "timeout"), verdict
    assert not verdict.passed


def test_answers_sent_ahead_are_still_only_answers(grade: Grade) -> None:
    """It may take over its own side of the pipe; the checker judges what arrives, check by check."""
    source = (
        "import teachllm.school.runner.learner as learner\n"
        "from teachllm.school.runner.encoding import encode\n"
        "learner._reply = lambda *a: encode(['returned', 7, []])\n" + WRONG
    )
    verdict = grade(source)
    assert [check.passed for check in verdict.checks] == [False, True]
    assert verdict.status == "failed"


def test_the_time_limit_holds_although_the_learner_removes_its_own_alarm(grade: Grade) -> None:
    source = (
        "import faulthandler, signal\n"
        "def number(value):\n"
        "    faulthandler.cancel_dump_traceback_later()\n"
        "    for number in range(1, 64):\n"
        "        try:\n            signal.signal(number, signal.SIG_IGN)\n"
        "        except (OSError, ValueError):\n            pass\n"
        "    while True:\n        pass\n"
    )
    assert grade(source).status == "timeout"


def processes_of(marker: str) -> list[int]:
    """The processes that were started with this text in their environment, and their forks."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def wait_until(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


STUDIO = """
import sys, threading, time
from teachllm.school.runner import Runner
runner = Runner(kind=sys.argv[1])
endless = "def number(value):\\n    while True: pass\\n"
threading.Thread(target=lambda: runner.grade("1.1", endless), daemon=True).start()
events = runner.run_lab("1.1", "sample_many", {"pause": 0.5}, "en")
for event in events:
    print(event["event"], flush=True)
"""


@pytest.mark.parametrize("kind", ["fork", "spare"])
def test_a_studio_that_is_killed_leaves_no_process(kind: str, learner_home: Path) -> None:
    studio = subprocess.Popen([sys.executable, "-c", STUDIO, kind], stdout=subprocess.PIPE)
    assert studio.stdout is not None
    with studio.stdout:
        assert studio.stdout.readline().strip() in (b"progress", b"sample", b"show")
        assert len(processes_of(str(learner_home))) > 2
        studio.kill()
        studio.wait()
    assert wait_until(lambda: not processes_of(str(learner_home))), processes_of(str(learner_home))


@pytest.mark.parametrize("kind", ["fork", "spare"])
def test_closing_the_runner_ends_what_runs(kind: Literal["fork", "spare"], learner_home: Path) -> None:
    runner = Runner(kind=kind)
    verdicts: list[Verdict] = []
    endless = "print('running')\nwhile True: pass\n"
    thread = threading.Thread(target=lambda: verdicts.append(runner.grade("1.1", endless)))
    runner.isolation()
    before = len(processes_of(str(learner_home)))
    thread.start()
    assert wait_until(lambda: len(processes_of(str(learner_home))) > before)
    runner.close()
    thread.join(timeout=60)
    assert [verdict.status for verdict in verdicts] == ["error"]
    assert wait_until(lambda: not processes_of(str(learner_home)))


ORPHANS = (
    "import os, time\n"
    "def number(value):\n"
    "    for _ in range(10):\n"
    "        if os.fork() == 0:\n"
    "            os.setsid()\n"
    "            if os.fork() == 0:\n"
    "                os.setsid()\n"
    "                time.sleep(600)\n"
    "            os._exit(0)\n"
    "    print('forked')\n"
    "    return 0\n"
)


@pytest.mark.parametrize("without", [{"seccomp"}, {"seccomp", "namespaces"}], ids=["namespaces", "subreaper"])
def test_processes_that_slip_away_do_not_outlive_the_grading(
    without: set[str], learner_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Runner(without=frozenset(without)) as runner:
        runner.isolation()
        verdict = runner.grade("1.1", ORPHANS)
        assert "forked" in verdict.output, verdict
        assert wait_until(lambda: len(processes_of(str(learner_home))) == 1), "only the fork server is left"
    assert wait_until(lambda: not processes_of(str(learner_home)))


@pytest.mark.parametrize("layer", ["landlock", "namespaces"])
def test_each_of_two_layers_alone_keeps_files_safe(layer: str, learner_home: Path, tmp_path: Path) -> None:
    (learner_home / "teachllm.db").write_text("all progress")
    (tmp_path / "kept").write_text("kept")
    with Runner(without=frozenset({layer})) as runner:
        needs(runner, *({"landlock", "namespaces"} - {layer}))
        assert runner.isolation().level == "partial"
        reading = f"print(open({str(learner_home / 'teachllm.db')!r}).read())"
        assert "all progress" not in runner.grade("1.1", attempt(reading)).output
        assert refused(runner.grade("1.1", attempt(f"open({str(tmp_path / 'kept')!r}, 'w')")))
    assert (tmp_path / "kept").read_text() == "kept"
