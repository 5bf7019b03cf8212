"""What a small Llama learns from equal tokens: our loop beside its peers, and Muon beside AdamW.
`make bench NAME=learning`; `ARGS="--steps 600 --seeds 5"` for a longer look.

Every run of a seed begins with the same weights and sees the same batches of the text of `recipes/nano.toml`;
held-out text is measured with one ruler, our model in float32. The optimizers first look for their own
learning rate, with seed 0. With `--folder` each finished run is kept there, and a benchmark that was broken
off goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
import transformers

from benchmarks.harness import Row, compare, report
from benchmarks.learning_contenders import AfterStep, Task, Weights, begin_ours, ours, plain, trainer
from teachllm.stack.data.loader import one_pass
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.pretraining.prepare import PreparedData, prepare
from teachllm.stack.pretraining.recipe import read_recipe
from teachllm.stack.training.config import OptimizerName, TrainingConfig
from teachllm.stack.training.evaluation import evaluate, token_byte_lengths
from teachllm.stack.training.loop import train
from teachllm.stack.training.objective import NextTokenLoss
from teachllm.stack.training.precision import choose_precision

THREADS, ROWS, LENGTH, EVERY = 1, 16, 128, 20
RECIPE = Path(__file__).parents[1] / "recipes" / "nano.toml"
PACKAGES = ("torch", "transformers", "accelerate", "numba")
CONTENDERS: dict[str, Callable[[Task, AfterStep], None]] = {
    "ours": ours,
    "plain PyTorch": plain,
    "transformers Trainer": trainer,
}
FIRST_RATES: dict[OptimizerName, tuple[float, ...]] = {
    "adamw": (2.5e-3, 5e-3, 1e-2),
    "muon": (5e-3, 1e-2, 2e-2),
}


@dataclass(frozen=True)
class Run:
    """curve: (tokens so far, bits per byte of held-out text). losses: nats a token, of each step's batch."""

    contender: str
    optimizer: OptimizerName
    learning_rate: float
    seed: int
    curve: list[tuple[int, float]]
    losses: list[float]

    @property
    def final(self) -> float:
        return self.curve[-1][1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=240, help=f"of {ROWS * LENGTH} tokens each")
    parser.add_argument("--seeds", type=int, default=3, help="at least 2: noise is their spread")
    parser.add_argument("--folder", type=Path, help="where finished runs are kept")
    arguments = parser.parse_args()
    if arguments.steps < EVERY or arguments.seeds < 2:
        parser.error(f"--steps must be at least {EVERY} and --seeds at least 2")
    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as temporary:
        school = School(prepared(), arguments.steps, arguments.folder or Path(temporary))
        seeds = range(arguments.seeds)
        sweep = [run for optimizer in FIRST_RATES for run in school.sweep(optimizer)]
        best: dict[OptimizerName, Run] = {
            optimizer: min((run for run in sweep if run.optimizer == optimizer), key=lambda run: run.final)
            for optimizer in FIRST_RATES
        }
        adamw, muon = (
            [school.run("ours", optimizer, best[optimizer].learning_rate, seed) for seed in seeds]
            for optimizer in ("adamw", "muon")
        )
        peers = {
            name: [school.run(name, "adamw", best["adamw"].learning_rate, seed) for seed in seeds]
            for name in CONTENDERS
            if name != "ours"
        }
    rows = [school.held_out_row("AdamW", adamw, runs, name) for name, runs in peers.items()]
    rows.append(school.held_out_row("Muon", muon, adamw, "AdamW"))
    notes = [school.description(len(seeds)), *sweep_notes(sweep)]
    notes += [difference_note(f"ours and {name}", adamw, runs) for name, runs in peers.items()]
    notes.append(difference_note("Muon and AdamW", muon, adamw))
    reached = [tokens_to_reach(theirs.final, mine.curve) for mine, theirs in zip(muon, adamw, strict=True)]
    if None not in reached:
        tokens = statistics.mean(n for n in reached if n is not None)
        what = "tokens until AdamW's last value, Muon"
        rows.append(lower(what, tokens, school.tokens, "AdamW", "tokens"))
    each = ", ".join("never" if n is None else f"{n:,.0f}" for n in reached)
    notes.append(f"tokens until Muon is where AdamW of the same seed ends, its own rate still high: {each}")
    rows.append(school.step_row(best))
    runs = [*sweep, *adamw, *muon, *(run for group in peers.values() for run in group)]
    unique = {(run.contender, run.optimizer, run.learning_rate, run.seed): asdict(run) for run in runs}
    report("learning", rows, notes=notes, details={"runs": list(unique.values())})


class School:
    """Teaches one task, again and again, and measures what was learned."""

    def __init__(self, data: PreparedData, steps: int, folder: Path) -> None:
        self.data, self.steps, self.folder = data, steps, folder
        self.config = LlamaConfig(data.tokenizer.vocab_size, 128, 4, 2, 2, 64, 352, LENGTH, tied_head=True)
        self.tokens = steps * ROWS * LENGTH
        self._measured = NextTokenLoss(Llama(self.config))
        self._held_out = list(one_pass(next(iter(data.held_out.values())), ROWS, LENGTH))
        self._bytes = token_byte_lengths(data.tokenizer)

    def sweep(self, optimizer: OptimizerName) -> list[Run]:
        """Our runs with seed 0 and rates a factor of 2 apart; the best one has neighbours on both sides."""
        runs = {rate: self.run("ours", optimizer, rate, 0) for rate in FIRST_RATES[optimizer]}
        while (best := min(runs, key=lambda rate: runs[rate].final)) in (min(runs), max(runs)):
            rate = best / 2 if best == min(runs) else best * 2
            runs[rate] = self.run("ours", optimizer, rate, 0)
        return [runs[rate] for rate in sorted(runs)]

    def run(self, contender: str, optimizer: OptimizerName, learning_rate: float, seed: int) -> Run:
        """The run, or what is kept of it."""
        name = f"{contender}, {optimizer} at {learning_rate:g}, seed {seed}"
        kept = self.folder / f"{name}, {self.steps} steps.json"
        if kept.exists():
            return Run(**json.loads(kept.read_text(encoding="utf-8")))
        curve: list[tuple[int, float]] = []
        losses: list[float] = []

        def after_step(step: int, loss: float, weights: Callable[[], Weights]) -> None:
            losses.append(round(loss, 5))
            if step % EVERY == 0 or step == self.steps:
                curve.append((step * ROWS * LENGTH, round(self.bits_per_byte(weights()), 5)))
                print(f"{name}: step {step}/{self.steps}, {curve[-1][1]:.4f} bits per byte", flush=True)

        CONTENDERS[contender](self.task(optimizer, learning_rate, seed), after_step)
        run = Run(contender, optimizer, learning_rate, seed, curve, losses)
        self.folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(asdict(run)), encoding="utf-8")
        return run

    def task(self, optimizer: OptimizerName, learning_rate: float, seed: int) -> Task:
        training = TrainingConfig(
            steps=self.steps,
            micro_rows=ROWS,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule="cosine",
            warmup_steps=min(20, self.steps // 4),
        )
        return Task(next(iter(self.data.train.values())), self.config, training, seed)

    def bits_per_byte(self, weights: Weights) -> float:
        """Of all held-out text, in float32."""
        # A tied head is among the weights of some contenders and not of others.
        self._measured.model.load_state_dict(weights, strict=False)
        return evaluate(self._measured, self._held_out, self._bytes).bits_per_byte

    def held_out_row(self, name: str, mine: Sequence[Run], theirs: Sequence[Run], peer: str) -> Row:
        what = f"held-out text after {self.tokens:,} tokens, {name}"
        return lower(what, mean_of(mine), mean_of(theirs), peer, "bits per byte")

    def step_row(self, best: dict[OptimizerName, Run], turns: int = 40) -> Row:
        """Processor time of a whole step, the optimizers in turns: other programs hardly change it."""
        steps = {}
        for optimizer, run in best.items():
            task = self.task(optimizer, run.learning_rate, 0)
            steps[optimizer] = train(begin_ours(task), task.training)
        taken: dict[str, list[float]] = {optimizer: [] for optimizer in steps}
        for turn in range(min(turns, self.steps)):
            for optimizer, step in steps.items():
                begun = time.process_time()
                next(step)
                if turn >= 5:
                    taken[optimizer].append(time.process_time() - begun)
        mine, theirs = (statistics.median(taken[name]) * 1000 for name in ("muon", "adamw"))
        return lower("processor time of a step, Muon", mine, theirs, "AdamW", "ms")

    def description(self, n_seeds: int) -> str:
        return (
            f"{self.config.n_parameters:,} parameters, {self.steps} steps of {ROWS} × {LENGTH} tokens of "
            f"stdlib-docs, attention within documents, cosine to 0; {choose_precision('cpu').reason}; "
            f"means of {n_seeds} seeds (weights and order of the data), noise is their standard deviation"
        )


def prepared() -> PreparedData:
    preparing = prepare(read_recipe(RECIPE).data)
    while True:
        try:
            next(preparing)
        except StopIteration as end:
            return end.value


def sweep_notes(sweep: Sequence[Run]) -> list[str]:
    found = {
        optimizer: ", ".join(
            f"{run.learning_rate:g}: {run.final:.3f}" for run in sweep if run.optimizer == optimizer
        )
        for optimizer in FIRST_RATES
    }
    return [f"{optimizer} by learning rate, seed 0: {values}" for optimizer, values in found.items()]


def difference_note(who: str, mine: Sequence[Run], theirs: Sequence[Run]) -> str:
    noise = max(statistics.stdev(run.final for run in runs) for runs in (mine, theirs))
    difference = mean_of(mine) - mean_of(theirs)
    each = ", ".join(f"{a.final - b.final:+.4f}" for a, b in zip(mine, theirs, strict=True))
    verdict = "within" if abs(difference) <= noise else "beyond"
    return (
        f"{who}: {mean_of(mine):.4f} and {mean_of(theirs):.4f} bits per byte, {difference:+.4f} apart, "
        f"{verdict} the noise of {noise:.4f}; seed by seed {each}"
    )


def mean_of(runs: Sequence[Run]) -> float:
    return statistics.mean(run.final for run in runs)


def tokens_to_reach(target: float, curve: Sequence[tuple[int, float]]) -> float | None:
    """Where a curve of (tokens, bits per byte), first comes down to `target`, if ever."""
    for (tokens, value), (next_tokens, next_value) in pairwise(curve):
        if next_value <= target:
            share = (value - target) / (value - next_value) if value > target else 0.0
            return tokens + share * (next_tokens - tokens)
    return None


def lower(what: str, mine: float, theirs: float, peer: str, unit: str) -> Row:
    return compare(what, mine, theirs, peer, unit, lower_is_better=True, threads=THREADS, packages=PACKAGES)


if __name__ == "__main__":
    main()
