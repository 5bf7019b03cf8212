"""Who computes what, and who makes room."""

from __future__ import annotations

import zlib

import pytest

from teachllm.stack.inference.engine.blocks import BlockPool
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.scheduler import Job, Plan, Scheduler, longest_alone, share_budget, turn


def make_scheduler(**sizes: int) -> Scheduler:
    settings = {"n_blocks": 20, "block_size": 4, "max_batch_tokens": 16, "max_running": 8} | sizes
    config = EngineConfig(**settings)
    assert config.n_blocks is not None
    return Scheduler(BlockPool(config.n_blocks, config.block_size), config)


def add(scheduler: Scheduler, name: str, prompt: int, priority: int = 0, slots: int = 1) -> Job:
    # Prompts of their own, so that nothing is shared.
    job = Job(name, 0, priority, [zlib.crc32(f"{name} {i}".encode()) for i in range(prompt)], slots)
    scheduler.add(job)
    return job


def compute(scheduler: Scheduler) -> Plan:
    """A step, as the engine would do it: written, and a next token for whoever wants one."""
    plan = scheduler.schedule()
    for row in plan.rows:
        scheduler.pool.commit(row.table, row.tokens)
        if row.is_last:
            row.job.branches[0].tokens.append(7)
    scheduler.check_integrity()
    return plan


def shape(plan: Plan) -> dict[str, int]:
    return {row.job.request: len(row.tokens) for row in plan.rows}


@pytest.mark.parametrize(
    ("wanted", "budget", "shares"),
    [
        ([], 5, []),
        ([1, 1, 1], 8, [1, 1, 1]),
        ([9, 1, 9, 1], 8, [6, 1, 0, 1]),
        ([3, 1, 9, 1], 8, [3, 1, 3, 1]),
        ([1, 1, 1], 2, [1, 1, 0]),
        ([4, 0, 2], 100, [4, 0, 2]),
    ],
)
def test_newest_tokens_come_first_and_the_rest_in_order(wanted, budget, shares) -> None:
    assert share_budget(wanted, budget) == shares


def test_prompts_are_read_in_pieces_beside_texts_that_are_written() -> None:
    scheduler = make_scheduler()
    add(scheduler, "short", 3)
    add(scheduler, "long", 30)
    steps = [compute(scheduler) for _ in range(4)]
    assert [shape(plan) for plan in steps] == [
        {"short": 3, "long": 13},
        {"short": 1, "long": 15},
        {"short": 1, "long": 2},
        {"short": 1, "long": 1},
    ]
    assert [row.is_decode for row in steps[2].rows] == [True, False]


def test_requests_join_and_leave_between_any_two_steps() -> None:
    scheduler = make_scheduler(max_running=2)
    first, second = add(scheduler, "first", 2), add(scheduler, "second", 2)
    third = add(scheduler, "third", 2)
    assert shape(compute(scheduler)) == {"first": 2, "second": 2}
    scheduler.remove(first)
    assert shape(compute(scheduler)) == {"second": 1, "third": 2}
    scheduler.remove(second)
    scheduler.remove(third)
    assert not compute(scheduler).rows
    assert scheduler.pool.n_free == 20


def test_the_latest_loses_its_memory_and_computes_it_again() -> None:
    scheduler = make_scheduler(n_blocks=6)
    add(scheduler, "early", 8)
    late = add(scheduler, "late", 5)
    plans = [compute(scheduler) for _ in range(12)]
    preempting = next(plan for plan in plans if plan.preempted)
    assert preempting.preempted == [late]
    assert shape(preempting) == {"early": 1}
    written = len(late.branches[0].tokens)
    scheduler.remove(scheduler.running[0])
    again = compute(scheduler)
    (row,) = again.rows
    assert again.admitted == [late]
    assert row.table.length == written > 5
    assert len(row.tokens) == written - 4  # its first block was still cached


def test_newcomers_wait_while_those_who_run_may_need_the_blocks() -> None:
    scheduler = make_scheduler(n_blocks=5)
    add(scheduler, "runs", 4)
    compute(scheduler)
    add(scheduler, "waits", 12)  # three blocks are free, but the next that "runs" needs would be gone
    assert shape(compute(scheduler)) == {"runs": 1}


def test_whoever_is_more_important_takes_the_place_of_the_last() -> None:
    scheduler = make_scheduler(max_running=2)
    add(scheduler, "a", 3)
    usual = add(scheduler, "b", 3)
    compute(scheduler)
    add(scheduler, "urgent", 3, priority=1)
    plan = compute(scheduler)
    assert plan.preempted == [usual]
    assert set(shape(plan)) == {"a", "urgent"}


def test_nobody_starves_under_a_stream_of_more_important_requests() -> None:
    scheduler = make_scheduler(max_running=1, ageing_steps=20)
    waiting = add(scheduler, "patient", 3, priority=-1)
    for step in range(100):
        add(scheduler, f"important-{step}", 3, priority=1)
        compute(scheduler)
        (running,) = scheduler.running
        if running is waiting:
            break
        scheduler.remove(running)
    assert step == 40  # two levels of 20 steps
    assert turn(0, -1, 20) == turn(40, 1, 20)


def test_the_first_in_order_gets_on_though_all_want_everything() -> None:
    scheduler = make_scheduler(n_blocks=8, max_running=8)
    jobs = [add(scheduler, f"{i}", 6) for i in range(8)]
    done: list[Job] = []
    for _ in range(400):
        compute(scheduler)
        for job in list(scheduler.running):
            if len(job.branches[0].tokens) > 30:  # each needs nearly all blocks
                scheduler.remove(job)
                done.append(job)
    assert done == jobs


def test_several_texts_of_one_prompt_take_their_slots_before_it_is_read() -> None:
    scheduler = make_scheduler(max_running=4)
    several = add(scheduler, "several", 6, slots=3)
    add(scheduler, "two", 2, slots=2)
    assert shape(compute(scheduler)) == {"several": 6}
    scheduler.split(several, [1, 2])
    scheduler.check_integrity()
    assert len(scheduler.running) == 3
    scheduler.remove(scheduler.running[1])
    assert "two" in shape(compute(scheduler))


@pytest.mark.parametrize(("prompt", "beams", "blocks"), [(20, 3, 9), (3, 2, 4), (16, 4, 5), (40, 2, 3)])
def test_what_fits_alone_is_what_branches_can_fill(prompt: int, beams: int, blocks: int) -> None:
    size = 4
    longest = longest_alone(prompt, beams, blocks, size)
    shared = prompt // size

    def taken(length: int) -> int:
        return shared + beams * (-(-(length - 1) // size) - shared)

    if longest > prompt:
        assert taken(longest) <= blocks < taken(longest + 1)
    else:
        assert taken(prompt + 1) > blocks
