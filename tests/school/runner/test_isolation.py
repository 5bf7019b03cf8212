"""What learner code is held back by is found out on this machine and told in words, with what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from teachllm.school.runner import Runner
from teachllm.school.runner.isolation import isolation_of
from teachllm.school.runner.run_folder import remove_tree
from teachllm.school.runner.sandbox import LAYERS

ALL = dict.fromkeys(LAYERS)


def test_every_layer_is_full_isolation_and_needs_no_advice() -> None:
    isolation = isolation_of({**ALL})
    assert (isolation.level, isolation.advice) == ("full", ())
    assert all(line.en.startswith("✓ ") and line.zh.startswith("✓ ") for line in isolation.details)
    assert len(isolation.details) == len(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_missing_layer_is_told_with_the_reason_and_what_to_do(layer: str) -> None:
    isolation = isolation_of({**ALL, layer: "Operation not permitted"})
    assert isolation.level == "partial"
    assert len(isolation.advice) == 1
    shown = isolation.to_json("zh")
    [missing] = [line for line in shown["details"] if line.startswith("✗")]
    assert missing.endswith("（Operation not permitted）")
    assert shown["layers"][layer] == "Operation not permitted"


def test_limits_alone_are_the_lowest_level() -> None:
    only = dict.fromkeys(LAYERS, "needs Linux") | {"limits": None}
    assert isolation_of(only).level == "limits"
    assert isolation_of({}).level == "limits"


def test_this_machine_is_probed(runner: Runner) -> None:
    isolation = runner.isolation()
    assert set(isolation.layers) == set(LAYERS)
    assert isolation.layers["limits"] is None


def test_layers_can_be_left_out_to_try_what_remains(course: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the layers are Linux's")
    with Runner(without=frozenset({"namespaces", "landlock", "seccomp"})) as weak:
        isolation = weak.isolation()
        assert isolation.layers["seccomp"] == "switched off"
        assert weak.grade("1.2", "def number(value): return 7\n").status == "passed"
        endless = weak.grade("1.2", "def number(value):\n    while True:\n        pass\n")
        assert (endless.status, endless.line in (2, 3)) == ("timeout", True)


FORBIDDEN = """
import json
from teachllm.school.runner import Runner
with Runner() as runner:
    found = runner.isolation().to_json("en")
    found["verdict"] = runner.grade("1.2", "def number(value): return 7\\n").status
    crash = "import ctypes\\ndef number(value): ctypes.string_at(0)\\n"
    found["crash"] = runner.grade("1.2", crash).status
print(json.dumps(found))
"""


def test_where_user_namespaces_are_forbidden_it_says_so_and_still_grades(course: Path) -> None:
    unshare = shutil.which("unshare")
    inside = ["sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh"]
    if unshare is None or subprocess.run([unshare, "-Ur", *inside, "true"], capture_output=True).returncode:
        pytest.skip("cannot forbid user namespaces for a process here")
    command = [unshare, "-Ur", *inside, sys.executable, "-c", FORBIDDEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout)
    assert found["level"] == "partial"
    assert found["layers"]["namespaces"] == "No space left on device"
    assert any("user.max_user_namespaces" in advice for advice in found["advice"])
    assert (found["verdict"], found["crash"]) == ("passed", "crashed")


def test_a_folder_without_permissions_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    outside.chmod(0o500)
    folder = tmp_path / "run"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/file").write_text("x")
    (folder / "link").symlink_to(outside, target_is_directory=True)
    (folder / "a/b").chmod(0o000)
    (folder / "a").chmod(0o000)
    folder.chmod(0o000)
    remove_tree(folder)
    assert not folder.exists()
    assert (outside / "kept").read_text() == "kept"
    assert outside.stat().st_mode & 0o777 == 0o500
    outside.chmod(0o700)
