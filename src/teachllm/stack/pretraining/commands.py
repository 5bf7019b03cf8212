"""``teachllm prepare``, ``train``, ``resume`` and ``eval``."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from teachllm.stack.data.assets import AssetError
from teachllm.stack.data.documents import DocumentError
from teachllm.stack.data.hub import HubError
from teachllm.stack.data.loader import DataExhausted
from teachllm.stack.data.shards import ShardError
from teachllm.stack.inference.command import Lang, Words, interrupt_sets, terminal_language
from teachllm.stack.pretraining.dashboard import Dashboard, PlainLines, Viewer
from teachllm.stack.pretraining.events import CorpusCleaned, Event, Finished
from teachllm.stack.pretraining.lines import sample_lines
from teachllm.stack.pretraining.measure import final_measures
from teachllm.stack.pretraining.overrides import Overrides, changes
from teachllm.stack.pretraining.prepare import NoText, Stopped, prepare
from teachllm.stack.pretraining.recipe import read_recipe
from teachllm.stack.pretraining.record import MODEL, RECIPE, RunError, new_run_folder, read_info
from teachllm.stack.pretraining.run import resume_run, run_recipe
from teachllm.stack.pretraining.tensorboard import TensorBoardLog
from teachllm.stack.training.checkpoint import RunBusy
from teachllm.stack.training.watch import TrainingDiverged

# What a person can put right; anything else is our mistake and shows its traceback.
PROBLEMS = (
    ValueError,
    OSError,
    AssetError,
    DocumentError,
    HubError,
    ShardError,
    DataExhausted,
    NoText,
    RunError,
    RunBusy,
    TrainingDiverged,
)
RUNS = Path("runs")


def train(
    recipe: Path,
    *,
    name: str | None = None,
    out: Path = RUNS,
    tensorboard: bool = False,
    lang: Lang | None = None,
    overrides: Annotated[Overrides | None, Parameter(name="*")] = None,
) -> None:
    """Train a model as a recipe says: prepare its data, train, measure, export.

    Ctrl-C stops with a checkpoint; `teachllm resume` goes on.

    Parameters
    ----------
    recipe
        A TOML file, such as recipes/nano.toml.
    name
        What the folder of the run is called, before the time; by default the recipe's name.
    out
        Where the folder of the run is made.
    tensorboard
        Write event files for TensorBoard into the folder of the run, too.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    words = Words(lang or terminal_language())
    with _told(words):
        given = changes(overrides)
        if name is not None:
            given[""] = {**given.get("", {}), "name": name}
        chosen = read_recipe(recipe, given)
        folder = new_run_folder(out, chosen.name) if _is_first() else out
        if _is_first():
            words.tell(f"{chosen.about_zh} · {folder}", f"{chosen.about} · {folder}")
        _follow(folder, run_recipe, (chosen, folder), words, tensorboard)


def resume(run: Path, *, tensorboard: bool = False, lang: Lang | None = None) -> None:
    """Go on with a run that was stopped or killed, from its last checkpoint.

    Parameters
    ----------
    run
        The folder of the run, such as runs/nano-20261124-201500.
    tensorboard
        Write event files for TensorBoard, too.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    words = Words(lang or terminal_language())
    with _told(words):
        if read_info(run).is_dead:
            words.tell(
                "上次运行中途断了（进程已不在）。", "The run ended without a word: its process is gone."
            )
        _follow(run, resume_run, (run,), words, tensorboard)


def evaluate(run: Path, *, tasks: tuple[str, ...] = (), lang: Lang | None = None) -> None:
    """Measure the model of a finished run: bits per byte and perplexity on held-out text, tasks, samples.

    Parameters
    ----------
    run
        The folder of the run.
    tasks
        Task files, or names of those that come with TeachLLM; by default the recipe's.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    words = Words(lang or terminal_language())
    with _told(words):
        info = read_info(run)
        if info.status != "finished":
            raise RunError(
                words.choose(
                    f"{run} 还没有训练完（状态：{info.status}）。继续：teachllm resume {run}",
                    f"{run} is not trained to the end (status: {info.status}). Go on: teachllm resume {run}",
                )
            )
        recipe = read_recipe(run / RECIPE)
        stop = threading.Event()
        with interrupt_sets(stop), PlainLines(words) as viewer:
            begun_with = Path(info.prepared)
            data = _shown(prepare(recipe.data, begun_with=begun_with, stop=stop), viewer)
            for event in final_measures(run / MODEL, recipe, data, tasks or None):
                viewer.show(event)


def prepare_data(
    recipe: Path,
    *,
    samples: bool = True,
    lang: Lang | None = None,
    overrides: Annotated[Overrides | None, Parameter(name="*")] = None,
) -> None:
    """Only prepare the data of a recipe, and show what each cleaning step dropped.

    Parameters
    ----------
    recipe
        A TOML file, such as recipes/nano.toml.
    samples
        Show some of the documents that were dropped or changed.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    words = Words(lang or terminal_language())
    with _told(words):
        chosen = read_recipe(recipe, changes(overrides))
        stop = threading.Event()
        with interrupt_sets(stop), _viewer(words) as viewer:
            reports: list[CorpusCleaned] = []
            _shown(prepare(chosen.data, stop=stop), viewer, reports)
        for report in [step for corpus in reports for step in corpus.reports] if samples else []:
            for line in sample_lines(report, words):
                print(line)


def _follow(folder: Path, run: Any, arguments: Sequence[Any], words: Words, tensorboard: bool) -> None:
    """Show a run until it ends; say how to go on if it did not finish."""
    stop = threading.Event()
    finished: Finished | None = None
    with contextlib.ExitStack() as stack:
        # torchrun passes the terminal's Ctrl-C on to processes that have heard it already.
        signals = (signal.SIGINT, signal.SIGTERM)
        stack.enter_context(interrupt_sets(stop, signals, second_interrupts="RANK" not in os.environ))
        viewers: list[Viewer] = [stack.enter_context(_viewer(words))]
        if tensorboard and _is_first():
            viewers.append(stack.enter_context(TensorBoardLog(folder / "tensorboard")))
        with contextlib.closing(run(*arguments, stop=stop)) as events:
            for event in events:
                for viewer in viewers:
                    viewer.show(event)
                if isinstance(event, Finished):
                    finished = event
    if finished is None or not _is_first():
        return
    if finished.status == "stopped":
        words.tell(f"继续：teachllm resume {folder}", f"Go on: teachllm resume {folder}")
    else:
        words.tell(
            f'试试：teachllm generate --model {finished.model} "…"',
            f'Try it: teachllm generate --model {finished.model} "…"',
        )


def _shown(
    events: Generator[Event, None, Any], viewer: Viewer, reports: list[CorpusCleaned] | None = None
) -> Any:
    """The value of a generator whose events are shown."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        viewer.show(event)
        if reports is not None and isinstance(event, CorpusCleaned):
            reports.append(event)


@contextlib.contextmanager
def _told(words: Words) -> Iterator[None]:
    """What goes wrong inside is told in words, and ends with 1; with 130 where preparing was stopped."""
    try:
        yield
    except Stopped:
        words.tell("已停下。", "Stopped.")
        raise SystemExit(130) from None
    except PROBLEMS as problem:
        words.fail(problem)


def _viewer(words: Words) -> Viewer:
    if not _is_first():
        return PlainLines(words, write=lambda line: None)
    console = Console(highlight=False, soft_wrap=True)
    return Dashboard(words, console) if console.is_terminal else PlainLines(words, write=_print)


def _print(line: str) -> None:
    print(line, flush=True)


def _is_first() -> bool:
    """Whether this is the only process, or the first of those that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"
