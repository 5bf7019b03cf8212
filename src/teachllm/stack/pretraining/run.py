"""A pretraining run from its recipe to a model, as a stream of events that a terminal or a page shows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path

import torch

from teachllm.stack.data.loader import BatchLoader
from teachllm.stack.models.export import save_hugging_face
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.loading import load_model
from teachllm.stack.nn.attention_choice import choose_attention
from teachllm.stack.nn.attention_ways import Heads
from teachllm.stack.nn.device import choose_device
from teachllm.stack.pretraining.events import (
    Chosen,
    CorpusCleaned,
    Evaluated,
    Event,
    Finished,
    ModelReady,
    TaskScored,
    Warned,
)
from teachllm.stack.pretraining.measure import compare, final_measures, held_out_score, samples
from teachllm.stack.pretraining.prepare import PreparedData, Stopped, prepare
from teachllm.stack.pretraining.recipe import LEAST_VOCABULARY, Recipe, read_recipe, recipe_text
from teachllm.stack.pretraining.record import (
    CHECKPOINTS,
    DATA,
    INFO,
    MODEL,
    RECIPE,
    TOKENIZER,
    RunError,
    RunWriter,
    read_info,
)
from teachllm.stack.pretraining.reports import report_to_json
from teachllm.stack.training.accounting import (
    flops_per_token,
    measure_matmul_peak,
    step_seconds,
    training_memory,
)
from teachllm.stack.training.checkpoint import CheckpointFolder, only_process
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import StepMetrics, train
from teachllm.stack.training.parallel import Processes, processes
from teachllm.stack.training.precision import choose_precision
from teachllm.stack.training.state import TrainingState, begin

INFO_SECONDS = 5.0  # how old run.json may be while training
USUAL_FRACTION = 0.3  # of the matmul peak, for the time that is predicted before anything is measured


def run_recipe(
    recipe: Recipe, folder: Path, *, stop: threading.Event | None = None, prepared_in: Path | None = None
) -> Generator[Event, None, None]:
    """Do what a recipe says, and keep the record of it in `folder`; go on from there if it holds a part.

    Setting `stop`, or closing the generator, ends the run behind the current step with a checkpoint.
    prepared_in: where prepared data are kept, by default `prepared_root()`. In several processes
    (`torchrun`), each must call this with the same recipe; the first one writes, and its `folder` counts.
    Raises `RunError` if the run is finished, `RunBusy` if another process is at it, and everything that
    preparing and training raise; the record then says "failed", and why.
    """
    stop = stop or threading.Event()
    device = choose_device().device.type
    with ExitStack() as stack, ExitStack() as group:
        these = group.enter_context(processes(device))
        folder = _same_folder(folder, these)
        if these.is_first:
            stack.enter_context(only_process(folder))
        run = Run(recipe, folder, stop, these, prepared_in)
        try:
            for event in chain(run.prepare(), run.train()):
                run.writer.log(event)
                yield event
            group.close()  # the rest is done by one process
            if these.is_first:
                for event in run.finish():
                    run.writer.log(event)
                    yield event
        except Stopped:
            run.writer.update(status="stopped")
            yield Finished("stopped", run.step, run.seconds / 60)
        except GeneratorExit:
            run.save()
            run.writer.update(status="stopped")
            raise
        except BaseException as problem:
            message = str(problem) or type(problem).__name__
            with suppress(OSError):  # a full disk: what is raised says so
                run.writer.update(status="failed", message=message, step=run.step, seconds=run.seconds)
            raise


def resume_run(
    folder: Path, *, stop: threading.Event | None = None, prepared_in: Path | None = None
) -> Generator[Event, None, None]:
    """Go on with the run in `folder`, from its last checkpoint. Raises `RunError`, see `run_recipe`."""
    read_info(folder)
    return run_recipe(read_recipe(folder / RECIPE), folder, stop=stop, prepared_in=prepared_in)


class Run:
    """The parts of `run_recipe`, in order, and what they hand on."""

    def __init__(
        self, recipe: Recipe, folder: Path, stop: threading.Event, these: Processes, prepared_in: Path | None
    ) -> None:
        self.recipe, self.folder, self.stop, self.processes = recipe, folder, stop, these
        self.prepared_in = prepared_in
        before = read_info(folder) if (folder / INFO).exists() else None
        if before is not None and before.status == "finished":
            raise RunError(f"the run in {folder} is finished; its model is {folder / MODEL}")
        self._seconds_before = 0.0 if before is None else before.seconds
        self._began = time.monotonic()
        self.device = these.device(choose_device().device.type)
        self.chosen = _chosen(recipe, self.device)
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = RunWriter.begin(
            folder,
            recipe.name,
            None if before is None else before.created,
            is_silent=not these.is_first,
            steps=recipe.training.steps,
            step=0 if before is None else before.step,
            seconds=self._seconds_before,
            device=self.chosen.device,
            dtype=self.chosen.dtype,
            reason=self.chosen.reason,
            reason_zh=self.chosen.reason_zh,
            prepared="" if before is None else before.prepared,
        )
        if before is None:
            self.writer.write(RECIPE, recipe_text(recipe))
        self.data: PreparedData | None = None
        self.state: TrainingState | None = None
        self.checkpoints = CheckpointFolder(folder / CHECKPOINTS)

    @property
    def step(self) -> int:
        return self.writer.info.step if self.state is None else self.state.step

    @property
    def seconds(self) -> float:
        """That the run has taken, its earlier parts included."""
        return self._seconds_before + time.monotonic() - self._began

    # 1. Data ---------------------------------------------------------------------------------------------

    def prepare(self) -> Iterator[Event]:
        """Tokens on disk, by this run or an earlier one."""
        yield self.chosen
        reports = {}
        begun_with = Path(self.writer.info.prepared) if self.writer.info.prepared else None
        preparing = prepare(self.recipe.data, root=self.prepared_in, begun_with=begun_with, stop=self.stop)
        while True:
            try:
                event = next(preparing)
            except StopIteration as end:
                self.data = end.value
                break
            if isinstance(event, CorpusCleaned):
                reports[event.corpus] = [report_to_json(report) for report in event.reports]
            yield event
        assert self.data is not None
        self.writer.write(DATA, json.dumps(reports, ensure_ascii=False))
        self.writer.write(TOKENIZER, (self.data.folder / "tokenizer.json").read_text(encoding="utf-8"))
        self.writer.update(prepared=str(self.data.folder))

    # 2. Training -----------------------------------------------------------------------------------------

    def train(self) -> Iterator[Event]:
        """The model of the last step, in the last checkpoint."""
        assert self.data is not None
        recipe, config, data = self.recipe, self.recipe.training, self.data
        self.checkpoints.tokenizer = data.tokenizer
        state = self.state = self._begin(data)
        damaged: list[Warned] = []
        newest = self.checkpoints.newest(
            lambda path, why: damaged.append(Warned(0, f"{path} is not used: {why}"))
        )
        if newest is not None:
            self.checkpoints.load(newest, state, config)
        self.writer.forget_after(state.step)
        yield from damaged
        n_parameters = sum(p.numel() for p in state.model.parameters())
        peak = measure_matmul_peak(self.device, config.compute_dtype(self.device))
        yield self._model_ready(n_parameters, peak, state.step if newest is not None else None)
        self.writer.update(status="training", step=state.step, parameters=n_parameters)
        # A model that is cut into shares is gathered for a batch, not for one token after another.
        is_cut = self.processes.world_size > 1 and config.sharing == "fsdp"
        written = time.monotonic()
        at_peak = peak * self.processes.world_size / self._flops_per_token()
        for event in train(state, config, self.checkpoints, at_peak):
            yield event
            if not isinstance(event, StepMetrics):
                continue
            if time.monotonic() - written > INFO_SECONDS:
                self.writer.update(step=state.step, seconds=self.seconds)
                written = time.monotonic()
            is_last = state.step == config.steps
            if _is_due(state.step, recipe.evaluation.eval_every) and not is_last:
                score = held_out_score(state.objective, data, recipe)
                yield Evaluated(state.step, score.bits_per_byte, score.perplexity, score.n_tokens)
            if _is_due(state.step, recipe.samples.sample_every) and not is_last and not is_cut:
                yield from samples(state.objective, data.tokenizer, recipe, state.step)
            if self._shall_stop() and not is_last:
                self.save()
                raise Stopped

    def _begin(self, data: PreparedData) -> TrainingState:
        recipe = self.recipe
        model = Llama(self._config())
        initialize(model, torch.Generator().manual_seed(recipe.seed))
        shares = recipe.data.corpora
        loader = BatchLoader(
            data.train,
            recipe.batch.rows,
            recipe.batch.length,
            recipe.seed,
            weights={c.name: c.weight for c in shares if c.weight is not None} or None,
            max_epochs={c.name: c.max_epochs for c in shares if c.max_epochs is not None},
            packing=recipe.batch.packing,
            rank=self.processes.rank,
            world_size=self.processes.world_size,
        )
        return begin(model.to(self.device), loader, recipe.training, self.processes)

    def _config(self) -> LlamaConfig:
        assert self.data is not None
        return self.recipe.model.config(self.data.tokenizer.vocab_size, self.recipe.batch.length)

    def _flops_per_token(self) -> float:
        parts = flops_per_token(self._config(), self.recipe.batch.length, self.recipe.training.recompute)
        return sum(parts.values())

    def _model_ready(self, n_parameters: int, peak: float, resumed_from: int | None) -> ModelReady:
        """peak: operations a second that one process does in its fastest matrix products."""
        assert self.data is not None
        batch, training = self.recipe.batch, self.recipe.training
        steps, these = training.steps, self.processes
        tokens = batch.rows * batch.length * steps
        left = tokens * (1 - (resumed_from or 0) / steps)
        memory = training_memory(
            self._config(),
            training.micro_rows,
            batch.length,
            training.compute_dtype(self.device),
            recompute=training.recompute,
        )
        return ModelReady(
            parameters=n_parameters,
            steps=steps,
            tokens=tokens,
            epochs=tokens / sum(shards.n_tokens for shards in self.data.train.values()),
            memory_bytes=memory.peak,
            seconds=step_seconds(left * self._flops_per_token(), peak * these.world_size, USUAL_FRACTION),
            resumed_from=resumed_from,
        )

    def _shall_stop(self) -> bool:
        """Whether any process was asked to: all must end behind the same step."""
        return bool(self.processes.total(torch.tensor(int(self.stop.is_set()), device=self.device)))

    def save(self) -> None:
        """A checkpoint of where the run is, unless there is one or training has not begun."""
        if self.state is None:
            return
        last = self.checkpoints.last
        if self.state.step and (last is None or last.name != f"step-{self.state.step:08}"):
            self.checkpoints.save(self.state, self.recipe.training)
        self.writer.update(step=self.state.step, seconds=self.seconds)

    # 3. The end ------------------------------------------------------------------------------------------

    def finish(self) -> Iterator[Event]:
        """The model in the form that other programs read, and what it can do."""
        assert self.data is not None
        assert self.checkpoints.last is not None
        model = load_model(self.checkpoints.last, "cpu", torch.float32)
        save_hugging_face(model, self.data.tokenizer, self.folder / MODEL)
        self.state = None  # its memory is not needed any more
        scores: list[Evaluated | TaskScored] = []
        for event in final_measures(self.folder / MODEL, self.recipe, self.data):
            if isinstance(event, Evaluated | TaskScored):
                scores.append(event)
            yield event
        steps, minutes = self.recipe.training.steps, self.seconds / 60
        comparison = compare(self.recipe, scores, minutes)
        for row in comparison:
            self.writer.log(row)
        self.writer.update(status="finished", step=steps, seconds=self.seconds)
        yield Finished("finished", steps, minutes, str(self.folder / MODEL), comparison)


def _chosen(recipe: Recipe, device: torch.device) -> Chosen:
    why = choose_precision(device)
    if recipe.training.precision == "auto":
        reason, reason_zh = why.reason, why.reason_zh
    else:
        reason, reason_zh = "the recipe says so", "配方里这样写的"
    dtype = recipe.training.compute_dtype(device)
    attention, attention_zh = _attention(recipe, dtype, device)
    return Chosen(
        str(device),
        str(dtype).removeprefix("torch."),
        f"{reason}; attention: {attention}",
        f"{reason_zh}；注意力：{attention_zh}",
    )


def _attention(recipe: Recipe, dtype: torch.dtype, device: torch.device) -> tuple[str, str]:
    """In which way it is computed, and why, in English and Chinese."""
    if recipe.training.within_documents and device.type != "cpu":
        return "PyTorch's kernel (others take no mask of documents)", "PyTorch 的算子（别的不认文档掩码）"
    length = recipe.batch.length
    sizes = recipe.model.config(LEAST_VOCABULARY, length)
    chosen = choose_attention("training", Heads.of_model(sizes, dtype, device), length, sizes.n_parameters)
    return chosen.reason, chosen.reason_zh


def _same_folder(folder: Path, these: Processes) -> Path:
    """The folder that the first process was given."""
    if these.world_size == 1:
        return folder
    box = [str(folder)]
    torch.distributed.broadcast_object_list(box, src=0)
    return Path(box[0])


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
