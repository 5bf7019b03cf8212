"""The engine in its thread: answers come to threads and event loops, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from teachllm.stack.inference import Sampling
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Failed, Finished, NeverFits, RequestOptions, TokenOut
from teachllm.stack.inference.engine.service import Answer, EngineService, ServiceClosed
from teachllm.stack.inference.language_model import LanguageModel

LONG = RequestOptions(max_tokens=40, end_tokens=frozenset())
SHORT = RequestOptions(Sampling(temperature=1.0, seed=3), 6, n=2, end_tokens=frozenset())


@pytest.fixture
def engine(make_engine: Callable[..., Engine], mean_model: LanguageModel) -> Engine:
    return make_engine(mean_model, n_blocks=100)


@pytest.fixture
def service(engine: Engine) -> Iterator[EngineService]:
    with EngineService(engine) as service:
        yield service
    engine.check_integrity()


def tokens(answer: Answer) -> list[int]:
    return [output.token for output in answer if isinstance(output, TokenOut)]


def test_many_threads_ask_at_once(service: EngineService, make_engine, mean_model, run) -> None:
    alone = make_engine(mean_model)
    wanted = {}
    for i in range(8):
        name = alone.add([i + 1, 2, 3], SHORT)
        wanted[i] = run(alone)[name].outs
    answers: dict[int, list[TokenOut]] = {}

    def ask(i: int) -> None:
        answers[i] = [out for out in service.submit([i + 1, 2, 3], SHORT) if isinstance(out, TokenOut)]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for i in range(8):
        assert [(o.index, o.token) for o in answers[i]] == [(o.index, o.token) for o in wanted[i]]


def test_an_event_loop_reads_many_answers_while_some_are_cancelled(service: EngineService) -> None:
    async def read(answer: Answer, cancel_at: int | None) -> tuple[int, str]:
        n_tokens = 0
        async for output in answer:
            if isinstance(output, Finished):
                return n_tokens, output.reason
            n_tokens += 1
            if n_tokens == cancel_at:
                answer.cancel()
            if n_tokens % 7 == 0:
                await asyncio.sleep(0.001)  # a slow reader
        raise AssertionError("an answer ended without saying so")

    async def main() -> list[tuple[int, str]]:
        answers = [service.submit([i % 50 + 1], LONG) for i in range(200)]
        return await asyncio.gather(*(read(one, 2 if i % 2 else None) for i, one in enumerate(answers)))

    for i, (n_tokens, reason) in enumerate(asyncio.run(asyncio.wait_for(main(), 60))):
        if i % 2:
            assert reason in ("cancelled", "length")  # the end may already have been written
            assert n_tokens >= 2
        else:
            assert (n_tokens, reason) == (40, "length")
    counts = service.snapshot()
    assert counts.requests_cancelled + counts.requests_finished == 200
    assert counts.requests_cancelled > 50
    assert not counts.texts


def test_refusals_are_the_callers(service: EngineService) -> None:
    with pytest.raises(NeverFits):
        service.submit([1], RequestOptions(max_tokens=5, n=33))
    with pytest.raises(ValueError, match="empty"):
        service.submit([])
    first = service.submit([1], LONG, "same")
    with pytest.raises(ValueError, match="another id"):
        service.submit([1], LONG, "same")
    assert len(tokens(first)) == 40
    assert len(tokens(service.submit([1], LONG, "same"))) == 40


def test_draining_lets_all_finish_and_nobody_in(service: EngineService) -> None:
    answers = [service.submit([i + 1], LONG) for i in range(5)]
    assert service.drain(30)
    with pytest.raises(ServiceClosed, match="shutting down"):
        service.submit([1])
    assert [len(tokens(answer)) for answer in answers] == [40] * 5


class Gate:
    """Holds the engine's step until it is opened."""

    def __init__(self, engine: Engine) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        self._step = engine.step
        engine.step = self  # type: ignore[method-assign]

    def __call__(self):
        self.reached.set()
        assert self.opened.wait(30)
        return self._step()


def test_a_reader_that_is_cancelled_while_it_waits_can_read_on(engine: Engine) -> None:
    gate = Gate(engine)

    problems: list[object] = []

    async def main(service: EngineService) -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
        answer = service.submit([1, 2], LONG)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(answer), 0.01)
        gate.opened.set()
        while not answer.is_complete:  # nobody waits: what the engine wakes is gone
            await asyncio.sleep(0.001)
        return len([output async for output in answer])

    with EngineService(engine) as service:
        assert asyncio.run(asyncio.wait_for(main(service), 30)) == 41
    assert not problems


def test_closing_tells_whoever_is_still_waiting(engine: Engine) -> None:
    gate = Gate(engine)
    service = EngineService(engine)
    answer = service.submit([1, 2], LONG)
    assert gate.reached.wait(30)
    assert not service.drain(0.01)
    closing = threading.Thread(target=service.close)
    closing.start()
    gate.opened.set()
    closing.join(30)
    *_, last = answer
    assert isinstance(last, Failed)
    assert "closed before this answer was complete" in last.message
    with pytest.raises(ServiceClosed):
        service.submit([1])
    service.snapshot()
    service.close()


def test_an_engine_that_breaks_fails_all_requests_and_is_closed(engine: Engine) -> None:
    gate = Gate(engine)
    service = EngineService(engine)
    answers = [service.submit([i + 1], LONG) for i in range(3)]
    assert gate.reached.wait(30)

    def broken():
        raise KeyError("a bug in the engine")

    gate._step = broken
    gate.opened.set()
    for answer in answers:
        (failed,) = answer
        assert isinstance(failed, Failed)
        assert "KeyError: 'a bug in the engine'" in failed.message
    with pytest.raises(ServiceClosed, match="a bug in the engine"):
        service.submit([1])
    service.close()
