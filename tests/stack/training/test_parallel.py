"""Two processes compute what one does, with copies of the model and with shares of it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo's processes are forked here")

# Every pair of processes is what `torchrun --nproc-per-node 2` starts; forked, they need not import anew.
PROGRAM = """
import json, os, random, socket, sys
from pathlib import Path
import torch
import torch._dynamo  # optimizers import it when they are made: here once, and not in every process
from teachllm.stack.data.loader import BatchLoader, one_pass
from teachllm.stack.data.shards import ShardWriter, TokenShards
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.checkpoint import CheckpointFolder
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.evaluation import evaluate, token_byte_lengths
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import StepMetrics, train
from teachllm.stack.training.parallel import processes
from teachllm.stack.training.state import begin

home = Path(sys.argv[1])
torch.set_num_threads(1)
tokenizer = Tokenizer.from_merges([], special_tokens=["<|endoftext|>"])
with ShardWriter(home / "shards", tokenizer) as writer:
    chance = random.Random(0)
    for _ in range(100):
        text = " ".join(chance.choices(["the", "cat", "sat", "on", "a", "mat"], k=chance.randint(2, 9)))
        writer.add(tokenizer.encode(text), len(text))

def work(name, settings, resume):
    settings = {"precision": "float32", "micro_rows": 2, **settings}
    config = TrainingConfig(steps=8, warmup_steps=2, checkpoint_every=4, keep=9, **settings)
    with processes("cpu") as group:
        loader = BatchLoader(
            TokenShards(home / "shards"), rows=8, length=24, seed=1, packing="best-fit",
            rank=group.rank, world_size=group.world_size,
        )
        model = Llama(LlamaConfig(257, 32, 2, 4, 2, 8, 64, 24, tied_head=True))
        initialize(model, torch.Generator().manual_seed(0))
        state = begin(model, loader, config, group)
        checkpoints = CheckpointFolder(home / name, tokenizer)
        if resume is not None:
            checkpoints.load(home / resume / "step-00000004", state, config)
        found = {"losses": [], "norms": [], "tokens": [], "evaluations": []}
        for event in train(state, config, checkpoints):
            if isinstance(event, StepMetrics):
                found["losses"].append(event.loss)
                found["norms"].append(event.gradient_norm)
                found["tokens"].append(event.tokens)
                if event.step in (4, 6):  # in the middle, also right before a checkpoint
                    batches = one_pass(TokenShards(home / "shards"), rows=16, length=24)
                    one = evaluate(state.objective, batches, token_byte_lengths(tokenizer))
                    found["evaluations"].append(one.loss)
        (home / f"{name}.{group.rank}.json").write_text(json.dumps(found))

def processes_that(n, *arguments):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    children = []
    for rank in range(n):
        if (pid := os.fork()) == 0:
            code = 1
            try:
                if n > 1:
                    os.environ |= {
                        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n),
                        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                    }
                work(*arguments)
                code = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [0] * n, (arguments, codes)

for name, n, settings, resume in json.loads(sys.argv[2]):
    processes_that(n, name, settings, resume)
"""


Found = dict[str, dict[str, list[float]]]
FSDP, MUON, NARROW = {"sharing": "fsdp"}, {"optimizer": "muon"}, {"precision": "bfloat16"}
# name: how many processes, settings, and the run whose checkpoint it goes on from.
RUNS: dict[str, tuple[int, dict[str, Any], str | None]] = {
    "one": (1, {}, None),
    "ddp": (2, {}, None),
    "fsdp": (2, FSDP, None),
    "fsdp, recompute": (2, FSDP | {"recompute": True, "micro_rows": 4}, None),
    "fsdp → one": (1, {}, "fsdp"),
    "fsdp → ddp": (2, {}, "fsdp"),
    "one → fsdp": (2, FSDP, "one"),
    "muon, one": (1, MUON, None),
    "muon, fsdp": (2, MUON | FSDP, None),
    "muon, one → fsdp": (2, MUON | FSDP, "muon, one"),
    "bf16, one": (1, NARROW, None),
    "bf16, ddp": (2, NARROW, None),
    "bf16, fsdp": (2, NARROW | FSDP, None),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What the first process of each run found; the others have found the same."""
    home = tmp_path_factory.mktemp("runs")
    (home / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            str(home / "program.py"),
            str(home),
            json.dumps([(k, *v) for k, v in RUNS.items()]),
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = {}
    for name, (n, _, _) in RUNS.items():
        each = [json.loads((home / f"{name}.{rank}.json").read_text()) for rank in range(n)]
        assert all(one == each[0] for one in each)
        results[name] = each[0]
    return results


def check_equal(one: dict[str, list[float]], other: dict[str, list[float]], tolerance: float) -> None:
    assert one["tokens"] == other["tokens"]
    assert one["losses"] == pytest.approx(other["losses"], abs=tolerance)
    assert one["norms"] == pytest.approx(other["norms"], rel=10 * tolerance)
    assert one["evaluations"] == pytest.approx(other["evaluations"], abs=tolerance)


@pytest.mark.parametrize("name", ["ddp", "fsdp", "fsdp, recompute", "muon, fsdp"])
def test_two_processes_find_the_losses_of_one(name: str, found: Found) -> None:
    """Also where the rows of one process have more targets than those of the other."""
    one = found["muon, one" if name.startswith("muon") else "one"]
    assert len(one["losses"]) == 8
    assert one["losses"][-1] < one["losses"][0] - 0.5
    check_equal(found[name], one, 5e-6)


@pytest.mark.parametrize("name", [name for name in RUNS if "→" in name])
def test_a_run_goes_on_with_another_number_of_processes(name: str, found: Found) -> None:
    one = found["muon, one" if name.startswith("muon") else "one"]
    rest = {what: values[1 if what == "evaluations" else 4 :] for what, values in one.items()}
    check_equal(found[name], rest, 5e-6)


@pytest.mark.parametrize("name", ["bf16, ddp", "bf16, fsdp"])
def test_in_bfloat16_they_agree_to_its_precision(name: str, found: Found) -> None:
    assert found["bf16, one"]["losses"] != found["one"]["losses"]
    # The same numbers are rounded: first losses differ by the order of sums, later ones by roundings.
    losses, expected = found[name]["losses"], found["bf16, one"]["losses"]
    assert losses[0] == pytest.approx(expected[0], abs=1e-5)
    assert losses == pytest.approx(expected, abs=5e-3)
