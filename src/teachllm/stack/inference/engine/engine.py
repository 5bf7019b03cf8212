"""The engine: many requests, one model, one step at a time.

    schedule → copy shared blocks → one forward pass over all new tokens → choose tokens → outputs

Not thread-safe: `EngineService` runs it in a thread of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, groupby

import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.inference.engine.admission import Admission
from teachllm.stack.inference.engine.blocks import BlockPool, IntegrityError
from teachllm.stack.inference.engine.capacity import blocks_on
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.decode_graph import SPARE_BLOCKS, DecodeSteps, graphs_pay
from teachllm.stack.inference.engine.metrics import Metrics
from teachllm.stack.inference.engine.ongoing import Ongoing, Sampled, Searching
from teachllm.stack.inference.engine.paged_kv import PagedBatch, PagedKV, block_bytes
from teachllm.stack.inference.engine.prefixes import HeldPrefixes
from teachllm.stack.inference.engine.request import Failed, Output, RequestOptions, TokenOut
from teachllm.stack.inference.engine.row_counts import row_counts
from teachllm.stack.inference.engine.sampler import NOT_FINITE, Choice, NoChoice, choose_tokens
from teachllm.stack.inference.engine.scheduler import Job, Plan, Row, Scheduler
from teachllm.stack.inference.engine.snapshot import EngineSnapshot, texts_of
from teachllm.stack.inference.engine.structured import GrammarError
from teachllm.stack.inference.engine.text import Text
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.nn.attention_choice import choose_attention
from teachllm.stack.nn.attention_ways import Heads

USUAL_LENGTH = 512  # of the texts for which the way of computing attention is chosen


class Engine:
    """`add` requests, then `step` while it `has_work`; each step returns what it wrote."""

    def __init__(self, language_model: LanguageModel, config: EngineConfig | None = None) -> None:
        self._rows = row_counts(language_model, config or EngineConfig())
        self.config = config = self._rows.limited(config or EngineConfig())
        self._model, self._device = language_model.model, language_model.device
        n_blocks, size, dtype = config.n_blocks, config.block_size, language_model.dtype
        sizes = language_model.model.config
        if n_blocks is None:
            one = block_bytes(sizes, size, dtype.itemsize)
            n_blocks = blocks_on(self._device, one, config.memory_share)
        self._pool = BlockPool(n_blocks, size, prefix_caching=config.prefix_caching)
        spare = SPARE_BLOCKS if graphs_pay(self._device) else 0
        self._kv = PagedKV.for_model(sizes, n_blocks + spare, size, dtype, self._device)
        heads = Heads.of_model(sizes, dtype, self._device)
        n_parameters = language_model.n_parameters
        self.attention = choose_attention("blocks", heads, USUAL_LENGTH, n_parameters, block_size=size)
        self._decode = DecodeSteps(self._model, self._kv, self.attention.way) if spare else None
        self.prefixes = HeldPrefixes(self._pool, self._kv)
        self._scheduler = Scheduler(self._pool, config)
        self._admission = Admission(language_model, config, n_blocks)
        self._requests: dict[str, Ongoing] = {}
        self._held: list[Output] = []
        self._stalled = False
        self._metrics = Metrics()
        self._compute_seconds = 0.0  # of the step: the model and the choice of tokens
        self._chosen = 0  # tokens, in the step

    # What callers need ---------------------------------------------------------------------------------

    def prepare(
        self, prompt_ids: Sequence[int], options: RequestOptions | None = None, request_id: str | None = None
    ) -> Ongoing:
        """The request, checked but not let in; any thread may call this. Raises as `Admission.prepare`."""
        return self._admission.prepare(prompt_ids, options or RequestOptions(), request_id)

    def enter(self, ongoing: Ongoing) -> str:
        """Let a prepared request in; its id. ValueError if another of this id is here."""
        if ongoing.id in self._requests:
            raise ValueError(f"a request with the id {ongoing.id!r} is being answered; give another id")
        self._requests[ongoing.id] = ongoing
        for job in ongoing.jobs.values():
            self._scheduler.add(job)
        return ongoing.id

    def add(
        self, prompt_ids: Sequence[int], options: RequestOptions | None = None, request_id: str | None = None
    ) -> str:
        """`prepare` and `enter`."""
        return self.enter(self.prepare(prompt_ids, options, request_id))

    def cancel(self, request_id: str) -> bool:
        """End a request: its blocks are free now, and the next step says that it is over. False if there is
        none of this id.
        """
        ongoing = self._requests.get(request_id)
        if ongoing is None:
            return False
        self._held += ongoing.cancelled()
        self._drop(ongoing)
        self._metrics.requests_cancelled += 1
        return True

    @property
    def has_work(self) -> bool:
        return bool(self._requests or self._held)

    @property
    def is_stalled(self) -> bool:
        """Whether the last step found no room for anything, which happens only while `prefixes` hold blocks:
        another step will not either, until something else has.
        """
        return self._stalled and not self._held

    def has_room_for(self, ongoing: Ongoing, promised: Sequence[Ongoing] = ()) -> bool:
        """Whether a prepared request would run at once, if it entered now and `promised` after it."""
        sizes = [(len(other.prompt), other.options.n_texts) for other in promised]
        return self._scheduler.has_room_for(len(ongoing.prompt), ongoing.options.n_texts, sizes)

    # region: step
    def step(self) -> list[Output]:
        """Compute one plan of the scheduler; what was written, and what ended."""
        began, self._compute_seconds, self._chosen = time.perf_counter(), 0.0, 0
        outputs, self._held = self._held, []
        plan = self._scheduler.schedule()
        self._stalled = bool(self._requests) and not plan.rows
        self._note_admitted(plan)
        outputs += self._compute(plan.rows)
        seconds = time.perf_counter() - began
        self._metrics.add_step(plan, self._scheduler, seconds, self._compute_seconds, self._chosen)
        return outputs

    # endregion: step

    def check_integrity(self) -> None:
        """`IntegrityError` if blocks, jobs and requests do not add up."""
        self._scheduler.check_integrity(self.prefixes.tables)
        scheduled = {id(job) for job in (*self._scheduler.waiting, *self._scheduler.running)}
        wanted = {id(job) for ongoing in self._requests.values() for job in ongoing.jobs.values()}
        if scheduled != wanted:
            lost, stray = len(wanted - scheduled), len(scheduled - wanted)
            raise IntegrityError(
                f"{lost} jobs of requests are not scheduled; {stray} scheduled have no request"
            )

    def snapshot(self) -> EngineSnapshot:
        """How the engine stands now."""
        metrics = self._metrics
        return EngineSnapshot(
            texts=tuple(texts_of(self._scheduler)),
            blocks=tuple(self._pool.states()),
            block_size=self.config.block_size,
            steps=tuple(metrics.steps),
            latencies=metrics.latencies,
            tokens_per_second=metrics.tokens_per_second,
            requests_finished=metrics.requests_finished,
            requests_failed=metrics.requests_failed,
            requests_cancelled=metrics.requests_cancelled,
            tokens_written=metrics.tokens_written,
            prompt_tokens=metrics.prompt_tokens,
            cached_tokens=metrics.cached_tokens,
            preemptions=metrics.preemptions,
        )

    # One step ------------------------------------------------------------------------------------------

    # region: compute
    def _compute(self, rows: list[Row]) -> list[Output]:
        """The rows' tokens in one pass, and what follows from it. If that fails, each job's by themselves, so
        that only those fail which fail alone.
        """
        rows = [row for row in rows if row.job.request in self._requests]
        if not rows:
            return []
        try:
            with self._timed():
                logits = self._logits(rows)
        except Exception as problem:  # whatever a model or a device may raise
            jobs = [list(group) for _, group in groupby(rows, key=lambda row: id(row.job))]
            if len(jobs) > 1:
                return [output for job_rows in jobs for output in self._compute(job_rows)]
            return self._fail(rows[0].job.request, _failure(problem))
        for row in rows:
            self._pool.commit(row.table, row.tokens)
        return self._continue([row.job for row in rows if row.is_last], logits)

    @torch.inference_mode()
    def _logits(self, rows: list[Row]) -> Float[Tensor, "last_rows vocab"]:
        """Behind the last token of each row that is the last of its text. Keys and values of all rows are
        written.
        """
        if copies := [copy for row in rows for copy in row.copies]:
            self._kv.copy(copies)
        if self._decode is not None and all(row.is_last and len(row.tokens) == 1 for row in rows):
            return self._decode([row.tokens[0] for row in rows], [row.table for row in rows])
        tokens = torch.tensor([token for row in rows for token in row.tokens], device=self._device)
        tokens = self._rows.filled(tokens)
        parts = [(row.table, len(row.tokens)) for row in rows]
        view = PagedBatch(self._kv, parts, n_rows=len(tokens), way=self.attention.way)
        features = self._model.features(tokens[None], view)[0]
        ends = accumulate(len(row.tokens) for row in rows)
        wanted = [end - 1 for row, end in zip(rows, ends, strict=True) if row.is_last]
        if not wanted:
            return features[:0]
        return self._model.head(self._rows.filled(features[wanted]))[: len(wanted)]

    # endregion: compute

    # region: continue
    def _continue(self, jobs: list[Job], logits: Float[Tensor, "jobs_rows vocab"]) -> list[Output]:
        """The next tokens of those whose turn it is: jobs, once a row of logits. A text chooses from one row;
        several that begin with the same prompt, from the same one; a search, from all of its beams'.
        """
        outputs: list[Output] = []
        choosing: list[tuple[Sampled, Text, int]] = []
        for job, group in groupby(range(len(jobs)), key=lambda row: jobs[row]):
            rows, ongoing = list(group), self._requests[job.request]
            if isinstance(ongoing, Searching):
                outputs += self._search(ongoing, job, logits[rows])
                continue
            if job.slots > 1:
                others = self._scheduler.split(job, range(1, job.slots))
                ongoing.jobs |= {other.index: other for other in others}
                choosing += [(ongoing, text, rows[0]) for text in ongoing.texts]
            else:
                choosing.append((ongoing, ongoing.texts[job.index], rows[0]))
        return outputs + self._choose(choosing, logits)

    # endregion: continue

    @torch.inference_mode()
    def _choose(self, choosing: list[tuple[Sampled, Text, int]], logits: Tensor) -> list[Output]:
        if not choosing:
            return []
        rows = [row for _, _, row in choosing]
        if rows != list(range(len(logits))):
            logits = logits[rows]
        choosers = [text.chooser for _, text, _ in choosing]
        try:
            with self._timed():
                choices = choose_tokens(logits, choosers)
        except Exception as problem:
            if len(choosing) > 1:
                return [
                    output
                    for i, (ongoing, text, _) in enumerate(choosing)
                    for output in self._choose([(ongoing, text, 0)], logits[i : i + 1])
                ]
            choices = [_failure(problem)]
        outputs: list[Output] = []
        for (ongoing, text, _), choice in zip(choosing, choices, strict=True):
            if ongoing.id in self._requests:  # else another of its texts has just failed
                outputs += self._write(ongoing, text, choice)
        return outputs

    # region: write
    def _write(self, ongoing: Sampled, text: Text, choice: Choice | NoChoice) -> list[Output]:
        """The text with one more token, and its end if that is one."""
        try:
            said = text.accept(choice) if isinstance(choice, Choice) else choice
        except (GrammarError, ValueError) as problem:
            said = _failure(problem)
        if isinstance(said, NoChoice):
            return self._fail(ongoing.id, said)
        self._note_token(ongoing, text)
        outputs: list[Output] = [*ongoing.say(said)] if said is not None else []
        job = ongoing.jobs[text.index]
        if text.reason is None:
            assert isinstance(choice, Choice)
            job.branches[0].tokens.append(choice.token)
            return outputs
        self._scheduler.remove(job)
        del ongoing.jobs[text.index]
        outputs += ongoing.say(text.finish(len(ongoing.prompt), ongoing.cached_tokens))
        if not ongoing.jobs:
            self._end(ongoing)
        return outputs

    # endregion: write

    def _search(self, ongoing: Searching, job: Job, logits: Tensor) -> list[Output]:
        try:
            with self._timed():
                logprobs = logits.float().log_softmax(-1)
                if not logprobs.amax(-1).isfinite().all():
                    return self._fail(ongoing.id, NOT_FINITE)
                over = ongoing.advance(logprobs)
                said = ongoing.found() if over else []
        except Exception as problem:
            return self._fail(ongoing.id, _failure(problem))
        if over:
            self._chosen += sum(isinstance(output, TokenOut) for output in said)
            self._end(ongoing)
        else:
            beams = ongoing.beams
            self._scheduler.regrow(job, beams.parents, [beam.tokens[-1] for beam in beams.running])
        return [*said]

    # Ends ----------------------------------------------------------------------------------------------

    def _end(self, ongoing: Ongoing) -> None:
        self._drop(ongoing)
        self._metrics.requests_finished += 1

    def _fail(self, request_id: str, why: NoChoice) -> list[Output]:
        self._drop(self._requests[request_id])
        self._metrics.requests_failed += 1
        return [Failed(request_id, why.kind, why.message)]

    def _drop(self, ongoing: Ongoing) -> None:
        for job in ongoing.jobs.values():
            self._scheduler.remove(job)
        del self._requests[ongoing.id]

    # What is noted -------------------------------------------------------------------------------------

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """What happens inside is computing, and all else bookkeeping."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._compute_seconds += time.perf_counter() - began

    def _note_admitted(self, plan: Plan) -> None:
        for job in plan.admitted:
            if not job.preempted:
                cached, ongoing = job.branches[0].computed, self._requests[job.request]
                ongoing.cached_tokens = cached
                self._metrics.prompt_tokens += len(job.prompt)
                self._metrics.cached_tokens += cached

    def _note_token(self, ongoing: Sampled, text: Text) -> None:
        now = time.perf_counter()
        self._chosen += 1
        if text.first_at is None:
            text.first_at = now
            if text.index == 0:
                self._metrics.add_first_token(now - ongoing.arrived)
        if text.reason is not None:
            self._metrics.add_text(now - text.first_at, text.written)


def _failure(problem: Exception) -> NoChoice:
    """A failure of the kind that its exception shows."""
    text = str(problem) or problem.__class__.__name__
    if isinstance(problem, GrammarError):
        return NoChoice("grammar", text)
    if isinstance(problem, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text:
        return NoChoice("memory", f"not enough memory to go on: {text}")
    return NoChoice("engine", f"this request failed in the engine: {problem.__class__.__name__}: {text}")
