"""What the next step computes, for whom, and who makes room for it.

There is no phase of reading prompts and none of writing. A job has tokens that are computed and tokens that
it wants computed; every step has a budget of tokens and shares it out. A text that only wants its newest
token gets it first; what is left goes to those that want more: prompts, in pieces if need be, and texts that
lost their memory. So one rule gives continuous batching, chunked prefill and recompute after preemption.

Yu et al., OSDI 2022 (Orca: scheduling at every iteration); Agrawal et al. 2024, arXiv:2403.02310
(Sarathi-Serve: decodes first, prompts in chunks).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from teachllm.stack.inference.engine.blocks import BlockPool, BlockTable, Copy, IntegrityError, OutOfBlocks
from teachllm.stack.inference.engine.config import EngineConfig


# region: share_budget
def share_budget(wanted: Sequence[int], budget: int) -> list[int]:
    """How many of its `wanted` tokens each gets, in order of importance; their sum is at most `budget`.

    Whoever wants one token gets it before anyone gets more: it is somebody's next word. The rest of the
    budget goes to the others, each as much as it wants, until it is spent.

    >>> share_budget([700, 1, 300, 1], 512)
    [510, 1, 0, 1]
    """
    shares = [0] * len(wanted)
    for only_one in (True, False):
        for i, n in enumerate(wanted):
            if (n == 1) is only_one:
                shares[i] = min(n, budget)
                budget -= shares[i]
    return shares


# endregion: share_budget


def turn(arrived: int, priority: int, ageing_steps: int) -> int:
    """Who has the smaller number goes first: the step of arrival, `ageing_steps` earlier a level of priority.

    Two that wait age alike, so their order never changes, and no list need be sorted again. It also means
    that nobody waits for ever: from some step on, whoever comes has a larger number, whatever its priority.
    """
    return arrived - priority * ageing_steps


def longest_alone(prompt: int, n_branches: int, n_blocks: int, block_size: int) -> int:
    """Tokens that each branch of a job may have, its prompt among them, if it has all blocks to itself.

    At worst branches share the full blocks of the prompt and nothing else. The last token is never computed.

    >>> longest_alone(prompt=20, n_branches=2, n_blocks=5, block_size=16)  # one block shared, two for each
    49
    """
    shared = min(prompt // block_size, n_blocks) if n_branches > 1 else 0
    return (shared + (n_blocks - shared) // n_branches) * block_size + 1


@dataclass(eq=False, slots=True)
class Branch:
    """Tokens to be computed, and the blocks that hold what is; no table while it waits."""

    tokens: list[int]
    table: BlockTable | None = None

    @property
    def computed(self) -> int:
        return 0 if self.table is None else self.table.length

    @property
    def wanted(self) -> int:
        """Tokens that are not computed yet."""
        return len(self.tokens) - self.computed


@dataclass(eq=False, slots=True)
class Job:
    """What is scheduled as one: a text, or all the beams of a search.

    slots: how many texts it may grow to; while a prompt is read once for several, more than its branches.
    order: (turn, number of its request, index in it); nobody shares it.
    """

    request: str
    index: int
    priority: int
    prompt: list[int]
    slots: int = 1
    branches: list[Branch] = field(init=False)
    order: tuple[int, int, int] = (0, 0, 0)
    preempted: bool = False

    def __post_init__(self) -> None:
        self.branches = [Branch(self.prompt.copy())]

    def lose_memory(self) -> None:
        """What was computed must be computed again. A search of several beams begins anew: to read all its
        beams again would need as much memory as it just lost, where one prompt is enough to begin with.
        """
        self.preempted = True
        if len(self.branches) > 1:
            self.branches = [Branch(self.prompt.copy())]


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """Tokens to be computed behind those of a table, whose blocks have room; `copies` come first.

    is_last: whether a text then wants its next token, and so the logits behind these. is_decode: whether this
    is just the newest token of a text.
    """

    job: Job
    table: BlockTable
    tokens: list[int]
    copies: list[Copy]
    is_last: bool
    is_decode: bool


@dataclass(slots=True)
class Plan:
    """One step: what to compute, and who got or lost memory for it."""

    rows: list[Row] = field(default_factory=list)
    admitted: list[Job] = field(default_factory=list)
    preempted: list[Job] = field(default_factory=list)


class Scheduler:
    """Jobs that wait and jobs that hold memory, both in order of their turn.

    Progress is sure: the first in order loses its memory to nobody, and fits alone (`blocks_alone`).
    """

    def __init__(self, pool: BlockPool, config: EngineConfig) -> None:
        self.pool, self.config = pool, config
        self.step = 0
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self._numbers = 0
        self._slots_used = 0

    def add(self, job: Job) -> None:
        """A new job waits."""
        self._numbers += 1
        arrived = turn(self.step, job.priority, self.config.ageing_steps)
        job.order = (arrived, self._numbers, job.index)
        insort(self.waiting, job, key=_order)

    def split(self, job: Job, indices: Iterable[int]) -> list[Job]:
        """The texts of `indices` go on from where `job` stands, each as a job, with its blocks shared."""
        (branch,) = job.branches
        assert branch.table is not None
        siblings = []
        for index in indices:
            sibling = Job(job.request, index, job.priority, job.prompt, order=(*job.order[:2], index))
            sibling.branches[0].table = self.pool.fork(branch.table)
            insort(self.running, sibling, key=_order)
            siblings.append(sibling)
        job.slots -= len(siblings)
        return siblings

    def regrow(self, job: Job, parents: Sequence[int], newest: Sequence[int]) -> None:
        """The job's branches become: for each i, branch parents[i] and the token newest[i]."""
        old = job.branches
        job.branches = []
        for parent, token in zip(parents, newest, strict=True):
            table = old[parent].table
            assert table is not None
            job.branches.append(Branch([*old[parent].tokens, token], self.pool.fork(table)))
        for branch in old:
            assert branch.table is not None
            self.pool.release(branch.table)

    def remove(self, job: Job) -> None:
        """It is over: its blocks are free at once."""
        for jobs in (self.running, self.waiting):
            place = bisect_left(jobs, job.order, key=_order)
            if place < len(jobs) and jobs[place] is job:
                del jobs[place]
                self._slots_used -= job.slots if jobs is self.running else 0
        self._release(job)

    # region: schedule
    def schedule(self) -> Plan:
        """The next step. Blocks are taken here; nothing is computed yet."""
        self.step += 1
        plan = Plan()
        self._make_way(plan)
        groups = [(job, job.branches) for job in self.running]
        wanted = [branch.wanted for _, branches in groups for branch in branches]
        shares = iter(share_budget(wanted, self.config.max_batch_tokens))
        before = len(plan.preempted)
        for job, branches in groups:  # the most important takes its blocks first
            self._take_blocks(job, list(zip(branches, islice(shares, len(branches)), strict=True)), plan)
        budget = self.config.max_batch_tokens - sum(len(row.tokens) for row in plan.rows)
        while budget > 0 and self.waiting and len(plan.preempted) == before:
            job = self.waiting[0]
            if not self._admit(job, plan):
                break
            n_new = min(budget, job.branches[0].wanted)
            self._take_blocks(job, [(job.branches[0], n_new)], plan)
            budget -= n_new
        return plan

    def _take_blocks(self, job: Job, shares: list[tuple[Branch, int]], plan: Plan) -> None:
        """Rows for a job, with room in its tables. Where blocks lack, the last in order gives up its own;
        that may be the job itself.
        """
        rows: list[Row] = []
        for branch, n_new in shares:
            while branch.table is not None and n_new > 0:
                try:
                    copies = self.pool.extend(branch.table, n_new)
                except OutOfBlocks:
                    self._preempt(self.running[-1], plan)
                else:
                    start, end = branch.computed, branch.computed + n_new
                    tokens = branch.tokens[start:end]
                    is_last = end == len(branch.tokens)
                    is_decode = n_new == 1 and start >= len(job.prompt)
                    rows.append(Row(job, branch.table, tokens, copies, is_last, is_decode))
                    break
        if all(branch.table is not None for branch, _ in shares):
            plan.rows += rows

    # endregion: schedule

    # region: admit
    def _admit(self, job: Job, plan: Plan) -> bool:
        """Let the first that waits run, if there is a slot, and blocks for all that it wants and one more for
        each job that runs: who would soon be pushed out again had better wait.
        """
        if self._slots_used + job.slots > self.config.max_running:
            return False
        (branch,) = job.branches
        table = self.pool.open(branch.tokens)
        n_new = len(branch.tokens) - table.length
        if self.pool.blocks_needed(table, n_new) + len(self.running) > self.pool.n_free:
            self.pool.release(table)
            return False
        self.pool.extend(table, n_new)  # taken now, so that the next in line sees what is left
        branch.table = table
        self.waiting.remove(job)
        insort(self.running, job, key=_order)
        self._slots_used += job.slots
        plan.admitted.append(job)
        return True

    # endregion: admit

    def _make_way(self, plan: Plan) -> None:
        """Whoever waits with an earlier turn than someone who runs takes the place of the last."""
        while self.waiting and self.running and _order(self.waiting[0]) < _order(self.running[-1]):
            if not self._admit(self.waiting[0], plan):
                self._preempt(self.running[-1], plan)

    def _preempt(self, job: Job, plan: Plan) -> None:
        """Take the job's blocks; it waits again, and computes once more what it had computed.

        Keys and values are not copied anywhere: reading the tokens again is quick, as a prompt is, and what
        is still cached is not even read.
        """
        self.running.remove(job)
        self._slots_used -= job.slots
        self._release(job)
        job.lose_memory()
        insort(self.waiting, job, key=_order)
        plan.preempted.append(job)

    def _release(self, job: Job) -> None:
        for branch in job.branches:
            if branch.table is not None:
                self.pool.release(branch.table)
                branch.table = None

    def has_room_for(self, n_tokens: int, slots: int = 1, promised: Sequence[tuple[int, int]] = ()) -> bool:
        """Whether a job that wants `n_tokens` for so many slots would be let in now, if it came, and nothing
        of it were cached. promised: (tokens, slots) of others that are on their way and shall be let in too.
        """
        size = self.config.block_size
        needed = sum(-(-tokens // size) for tokens in (n_tokens, *(tokens for tokens, _ in promised)))
        n_running, taken = len(self.running) + len(promised), sum(slots for _, slots in promised)
        return (
            not self.waiting
            and self._slots_used + taken + slots <= self.config.max_running
            and needed + n_running <= self.pool.n_free
        )

    def check_integrity(self, others: Iterable[BlockTable] = ()) -> None:
        """`IntegrityError` names what is wrong with the order, the slots or the tables. others: tables that
        are open and no job's.
        """
        problems = []
        for name, jobs in (("waiting", self.waiting), ("running", self.running)):
            if [job.order for job in jobs] != sorted({job.order for job in jobs}):
                problems.append(f"jobs that are {name} are out of order, or one is there twice")
        if any(branch.table is not None for job in self.waiting for branch in job.branches):
            problems.append("a job that waits holds blocks")
        if any(branch.table is None for job in self.running for branch in job.branches):
            problems.append("a job that runs holds no blocks")
        slots = sum(job.slots for job in self.running)
        if slots != self._slots_used or slots > self.config.max_running:
            problems.append(f"{slots} slots are used, {self._slots_used} counted")
        if problems:
            raise IntegrityError("; ".join(problems))
        tables = [branch.table for job in self.running for branch in job.branches if branch.table]
        self.pool.check_integrity([*tables, *others])


def _order(job: Job) -> tuple[int, int, int]:
    return job.order
