"""Two engines that hand over keys and values answer as one does, whatever happens between them."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from teachllm.stack.inference import Sampling
from teachllm.stack.inference.disaggregation.messages import Blocks, Gone, to_bytes
from teachllm.stack.inference.disaggregation.transport import Connection
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import BeamSearch, Constraint, NeverFits, RequestOptions
from teachllm.stack.inference.engine.service import EngineService
from teachllm.stack.inference.language_model import LanguageModel

PROMPT = [1 + i * 7 % 200 for i in range(30)]
LONG = RequestOptions(max_tokens=40, end_tokens=frozenset())
DRAWN = Sampling(temperature=1.0, top_p=0.9, seed=5)

REQUESTS = {
    "greedy": (PROMPT, LONG),
    "seeded": (PROMPT, replace(LONG, sampling=DRAWN)),
    "several": ([9, *PROMPT], replace(LONG, sampling=DRAWN, n=3, max_tokens=10)),
    "best": (PROMPT[:17], replace(LONG, sampling=DRAWN, n=2, best_of=4, max_tokens=8)),
    "penalty": (PROMPT[5:], replace(LONG, sampling=Sampling(repetition_penalty=1.3))),
    "stopped": (PROMPT[:24], replace(LONG, stop=("a", "e", "i"))),
    "regex": (PROMPT[:20], replace(LONG, constraint=Constraint.regex("[a-c]{6}"), max_tokens=20)),
    "beams": (PROMPT[:21], RequestOptions(max_tokens=8, n=2, beam=BeamSearch(3))),
    "one block": (PROMPT[:4], LONG),
    "one token": (PROMPT[:1], LONG),
    "again": (PROMPT, LONG),
    "longer": ([*PROMPT, 3, 4, 5, 6, 7, 8], LONG),
}


def test_the_same_answers_as_one_engine(tiny: LanguageModel, config: EngineConfig, running, told_of) -> None:
    config = replace(config, n_blocks=200)  # nothing cached is given away, so that both find the same
    with EngineService(Engine(tiny, config)) as one:
        wanted = {name: told_of(one.submit(*asked)) for name, asked in REQUESTS.items()}
    with running(tiny, config) as service:
        for name, asked in REQUESTS.items():
            told = told_of(service.submit(*asked))
            assert told.said == wanted[name].said, name
            cached = {i: end.usage.cached_tokens for i, end in wanted[name].ends.items()}
            assert {i: end.usage.cached_tokens for i, end in told.ends.items()} == cached, name
        seen = service.snapshot()
        assert seen.requests_finished == len(REQUESTS)
        assert seen.latencies.ttft_p50 is not None
    # Of a prompt of 30 tokens, 7 blocks of 4 go over; what the decode worker has already does not go again.
    transfers = seen.transfers
    assert transfers is not None
    assert (transfers.n, transfers.n_failed) == (len(REQUESTS) - 2, 0)
    assert transfers.n_bytes == transfers.n_tokens * 2 * 2 * 2 * 8 * 4  # layers, k and v, heads, d, float32
    full = [(len(prompt) - 1) // 4 * 4 for prompt, _ in REQUESTS.values()]
    assert 28 <= transfers.n_tokens < sum(full)


def test_all_at_once_in_little_memory(tiny: LanguageModel, config: EngineConfig, running, told_of) -> None:
    """What is read waits for room where it is written, and what comes behind it where it is read."""
    small = replace(config, n_blocks=22)
    asked = [([i, *PROMPT], replace(LONG, sampling=Sampling(temperature=1.0, seed=i))) for i in range(16)]
    with EngineService(Engine(tiny, config)) as one:
        wanted = [told_of(one.submit(*each)) for each in asked]
    with running(tiny, small, n_prefill=2, n_decode=2) as service, ThreadPoolExecutor(16) as threads:
        answers = [service.submit(*each) for each in asked]
        told = list(threads.map(told_of, answers))
        seen = service.snapshot()
    assert [one.said for one in told] == [one.said for one in wanted]
    assert len({one.name for one in seen.workers if one.steps}) == 4  # the router has used them all
    with running(tiny, small) as service, pytest.raises(NeverFits):
        service.submit(PROMPT, replace(LONG, max_tokens=60))


def good(line: Connection, blocks: Blocks, payload: bytes) -> None:
    line.send(blocks, memoryview(payload))


def test_what_is_handed_over_is_what_is_read(
    tiny: LanguageModel, config: EngineConfig, running, by_hand, told_of
) -> None:
    """Zeros in place of keys and values give another text: nothing is quietly computed again."""
    with EngineService(Engine(tiny, config)) as one:
        wanted = told_of(one.submit(PROMPT, LONG))
    with running(tiny, config, n_prefill=0, by_hand=by_hand(good)) as service:
        told = told_of(service.submit(PROMPT, LONG))
        assert told.tokens != wanted.tokens
        assert service.snapshot().transfers.n_tokens == 28


def gone(line: Connection, blocks: Blocks, payload: bytes) -> None:
    line.send(Gone(blocks.request))


def of_other_tokens(line: Connection, blocks: Blocks, payload: bytes) -> None:
    line.send(replace(blocks, digest="0" * 64), memoryview(payload))


def of_another_request(line: Connection, blocks: Blocks, payload: bytes) -> None:
    line.send(replace(blocks, request="request-9"), memoryview(payload))


def of_another_layout(line: Connection, blocks: Blocks, payload: bytes) -> None:
    line.send(replace(blocks, layout=replace(blocks.layout, n_layers=1)), memoryview(payload[::2]))


def too_few_bytes(line: Connection, blocks: Blocks, payload: bytes) -> None:
    line.send(blocks, memoryview(payload[:-4]))


def too_many_blocks(line: Connection, blocks: Blocks, payload: bytes) -> None:
    line.send(replace(blocks, n_tokens=10**9), memoryview(payload))


def half_and_closed(line: Connection, blocks: Blocks, payload: bytes) -> None:
    send_part(line, blocks, payload, len(payload) // 2)
    line.close()


def send_part(line: Connection, blocks: Blocks, payload: bytes, n: int) -> None:
    """Announce the whole payload, and send its first `n` bytes."""
    data = to_bytes(blocks)
    line._socket.sendall(struct.pack("!IQ", len(data), len(payload)) + data + payload[:n])


@pytest.mark.parametrize(
    "play",
    [
        gone,
        of_other_tokens,
        of_another_request,
        of_another_layout,
        too_few_bytes,
        too_many_blocks,
        half_and_closed,
    ],
)
def test_what_does_not_come_is_computed(
    tiny: LanguageModel, config: EngineConfig, running, by_hand, told_of, play: Callable[..., None]
) -> None:
    with EngineService(Engine(tiny, config)) as one:
        wanted = told_of(one.submit(PROMPT, LONG))
    prefill = by_hand(play)
    with running(tiny, config, n_prefill=0, by_hand=prefill) as service:
        told = told_of(service.submit(PROMPT, LONG))
        seen = service.snapshot()
    assert told.said == wanted.said
    assert told.ends[0].usage.cached_tokens == 0
    assert (seen.transfers.n, seen.transfers.n_failed) == (0, 1)
    assert prefill.cancelled == ["request-1"]  # it need not keep them any longer


def test_cancelled_while_keys_and_values_are_on_their_way(
    tiny: LanguageModel, config: EngineConfig, running, by_hand, told_of, wait_until
) -> None:
    half_way, go_on = threading.Event(), threading.Event()

    def slowly(line: Connection, blocks: Blocks, payload: bytes) -> None:
        if half_way.is_set():
            gone(line, blocks, payload)
            return
        half = len(payload) // 2
        send_part(line, blocks, payload, half)
        half_way.set()
        assert go_on.wait(20)
        line._socket.sendall(payload[half:])

    with EngineService(Engine(tiny, config)) as one:
        wanted = told_of(one.submit(PROMPT, LONG))
    with running(tiny, config, n_prefill=0, by_hand=by_hand(slowly)) as service:
        answer = service.submit(PROMPT, LONG)
        assert half_way.wait(20)
        answer.cancel()
        told = told_of(answer)  # at once, not when they have come
        assert told.ends[0].reason == "cancelled"
        assert not told.tokens
        go_on.set()
        wait_until(lambda: service.snapshot().transfers.n == 1)
        assert told_of(service.submit(PROMPT, LONG)).said == wanted.said  # the zeros that came are nowhere
        assert service.snapshot().requests_cancelled == 1


def test_cancelled_at_any_time(tiny: LanguageModel, config: EngineConfig, running, told_of) -> None:
    with running(tiny, replace(config, n_blocks=30)) as service:
        answers = [service.submit([i, *PROMPT], LONG) for i in range(12)]
        for answer in answers[::2]:
            answer.cancel()
        told = [told_of(answer) for answer in answers]
        seen = service.snapshot()
    assert all(one.ends[0].reason == "length" for one in told[1::2])
    assert seen.requests_cancelled + seen.requests_finished == 12
    assert seen.requests_cancelled >= 4
