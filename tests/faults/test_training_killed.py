"""A run that is killed, or whose disk is full, goes on as if nothing had happened: bit for bit.

The runs happen in a process of their own, which forks one child after another: a fork needs no second for its
imports, so that kills can be many and fall into every part of a step, the writing of a checkpoint included.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
]

STEPS = 60

# `train(folder)` begins or resumes the run in `folder` and logs every loss, exactly, in one write a line.
RUN = f"""
import os, random, resource, signal, sys, time
from pathlib import Path
import torch
import torch._dynamo  # optimizers import it when they are made: here once, and not in every child
from teachllm.stack.data.loader import BatchLoader
from teachllm.stack.data.shards import ShardWriter, TokenShards
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.checkpoint import CheckpointFailed, CheckpointFolder, only_process
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import StepMetrics, train as training
from teachllm.stack.training.state import begin

home = Path(sys.argv[1])
torch.set_num_threads(1)
tokenizer = Tokenizer.from_merges([], special_tokens=["<|endoftext|>"])
with ShardWriter(home / "shards", tokenizer) as writer:
    chance = random.Random(0)
    for _ in range(100):
        text = " ".join(chance.choices(["the", "cat", "sat", "on", "a", "mat"], k=12))
        writer.add(tokenizer.encode(text), len(text))
config = TrainingConfig(
    steps={STEPS}, micro_rows=2, warmup_steps=5, checkpoint_every=3, optimizer="muon", spike_threshold=1e9
)

def train(folder):
    with only_process(folder):
        loader = BatchLoader(TokenShards(home / "shards"), rows=4, length=24, seed=1)
        model = Llama(LlamaConfig(257, 32, 2, 4, 2, 8, 64, 24, tied_head=True))
        initialize(model, torch.Generator().manual_seed(0))
        state = begin(model, loader, config)
        checkpoints = CheckpointFolder(folder / "checkpoints")
        newest = checkpoints.newest(lambda path, problem: sys.exit(f"{{path}}: {{problem}}"))
        if newest is not None:
            checkpoints.load(newest, state, config)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for event in training(state, config, checkpoints):
            if isinstance(event, StepMetrics):
                os.write(log, f"{{event.step}} {{event.loss.hex()}}\\n".encode())

def child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as problem:
            print(type(problem).__name__, problem, file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return pid

def lines(folder):
    path = folder / "log"
    return path.read_bytes().count(b"\\n") if path.exists() else 0

assert os.waitpid(child(lambda: train(home / "whole")), 0)[1] == 0
"""

KILLS = """
folder = home / "broken"
chance = random.Random(1)
kills = 0
for _ in range(8):
    wanted = lines(folder) + chance.randrange(7)
    pid = child(lambda: train(folder))
    while lines(folder) < wanted and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.0005)
    time.sleep(chance.random() * 0.02)
    os.kill(pid, signal.SIGKILL)
    kills += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
assert os.waitpid(child(lambda: train(folder)), 0)[1] == 0
print(kills)
"""

FULL = """
folder = home / "broken"
def in_little_room():
    # From step 9 on the weights (80 kB) still fit into a file, the optimizer's state (130 kB) does not.
    save = CheckpointFolder.save
    def save_in_little_room(self, state, config):
        if state.step == 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        return save(self, state, config)
    CheckpointFolder.save = save_in_little_room
    train(folder)
assert os.waitstatus_to_exitcode(os.waitpid(child(in_little_room), 0)[1]) == 1
print(sorted(path.name for path in (folder / "checkpoints").iterdir()))
assert os.waitpid(child(lambda: train(folder)), 0)[1] == 0
"""

MOUNTED = """
folder = home / "mounted" / "broken"
pid = child(lambda: train(folder))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
print(sorted(path.name for path in (folder / "checkpoints").iterdir()))
os.system(f"mount -o remount,size=20m {home / 'mounted'}")
assert os.waitpid(child(lambda: train(folder)), 0)[1] == 0
import shutil
shutil.copytree(folder, home / "broken")
"""


def run(home: Path, what: str, inside: tuple[str, ...] = ()) -> tuple[str, str]:
    """(stdout, stderr) of the program; it must end well."""
    program = home / "program.py"
    program.write_text(RUN + what)
    done = subprocess.run(
        [*inside, sys.executable, str(program), str(home)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def losses(folder: Path) -> dict[int, set[str]]:
    """Every loss that was ever logged for a step."""
    found: dict[int, set[str]] = {}
    for line in (folder / "log").read_text().splitlines():
        step, loss = line.split()
        found.setdefault(int(step), set()).add(loss)
    return found


def check_same_run(home: Path) -> None:
    expected, got = losses(home / "whole"), losses(home / "broken")
    assert sorted(expected) == list(range(1, STEPS + 1))
    assert len({loss for step in expected.values() for loss in step}) > STEPS / 2  # it did learn something
    assert got == expected
    hashes = [
        [
            hashlib.sha256((home / name / "checkpoints" / f"step-{STEPS:08}" / file).read_bytes()).hexdigest()
            for file in ("model.safetensors", "optimizer.safetensors")
        ]
        for name in ("whole", "broken")
    ]
    assert hashes[0] == hashes[1]


def test_killed_at_random_moments_it_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    stdout, _ = run(tmp_path, KILLS)
    assert int(stdout) >= 5
    check_same_run(tmp_path)


def test_a_full_disk_stops_it_and_it_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    stdout, stderr = run(tmp_path, FULL)
    assert json.loads(stdout.replace("'", '"')) == ["step-00000003", "step-00000006"]
    assert "CheckpointFailed" in stderr
    assert "step-00000009 could not be written: no room is left" in stderr
    assert "step-00000006, is whole" in stderr
    check_same_run(tmp_path)


def test_the_same_on_a_real_file_system_that_is_full(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    inside = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    mount = f"mount -t tmpfs -o size=500k tmpfs {mounted} && "
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([*inside, mount + "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here without rights")
    stdout, stderr = run(tmp_path, MOUNTED, (*inside, mount + 'exec "$@"', "sh"))
    assert json.loads(stdout.replace("'", '"')) == ["step-00000003"]
    assert "step-00000006 could not be written: no room is left" in stderr
    check_same_run(tmp_path)
