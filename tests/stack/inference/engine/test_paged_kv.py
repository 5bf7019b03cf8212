"""A model that sees many texts through a paged batch answers each as if it stood alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from teachllm.stack.inference.engine.blocks import BlockPool, BlockTable, Copy
from teachllm.stack.inference.engine.paged_kv import PagedBatch, PagedKV, block_bytes
from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.fast import paged_attention as fast


def llama() -> Llama:
    return Llama(
        LlamaConfig(
            vocab_size=40, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, hidden=48,
            context_length=64,
        )
    )  # fmt: skip


def gpt2() -> GPT2:
    return GPT2(GPT2Config(vocab_size=40, d_model=32, n_layers=2, n_heads=2, hidden=64, context_length=64))


@dataclass
class Machine:
    """A pool, its tensors and a model; `step` does what an engine does in one step."""

    model: nn.Module
    n_blocks: int = 40
    block_size: int = 4
    readable: bool = False
    pool: BlockPool = field(init=False)
    kv: PagedKV = field(init=False)

    def __post_init__(self) -> None:
        self.pool = BlockPool(self.n_blocks, self.block_size)
        self.kv = PagedKV.for_model(self.model.config, self.n_blocks, self.block_size)  # type: ignore[arg-type]

    def step(self, *parts: tuple[BlockTable, list[int]]) -> list[Tensor]:
        """Logits of each part's tokens."""
        copies = [copy for table, tokens in parts for copy in self.pool.extend(table, len(tokens))]
        self.kv.copy(copies)
        view = PagedBatch(self.kv, [(table, len(tokens)) for table, tokens in parts], readable=self.readable)
        row = torch.tensor([[token for _, tokens in parts for token in tokens]])
        logits = self.model(row, view)[0]
        for table, tokens in parts:
            self.pool.commit(table, tokens)
        return list(logits.split([len(tokens) for _, tokens in parts]))

    def expect(self, table: BlockTable, logits: Tensor) -> None:
        """They are those of the last positions of the whole text alone, without a cache."""
        alone = self.model(torch.tensor([table.tokens]))[0, -len(logits) :]
        torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-5)


@pytest.fixture(params=[llama, gpt2], ids=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return request.param().eval()


@pytest.fixture(params=["kernel", "gathering", "readable"])
def machine(
    request: pytest.FixtureRequest, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """With the kernel, which any CPU runs; with what other devices do; text by text."""
    with torch.no_grad():
        if request.param == "gathering":
            monkeypatch.setattr(fast, "can_run", lambda keys: False)
        machine = Machine(model, readable=request.param == "readable")
        assert fast.can_run(machine.kv.keys[0]) == (request.param != "gathering")
        yield machine


def random_text(n: int, seed: int) -> list[int]:
    return torch.randint(0, 40, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_prompts_pieces_and_single_tokens_in_one_row(machine: Machine) -> None:
    a, b, c = (machine.pool.open([]) for _ in range(3))
    text_a, text_b, text_c = random_text(11, 1), random_text(9, 2), random_text(20, 3)
    for parts in (
        [(a, text_a[:7])],
        [(a, text_a[7:8]), (b, text_b[:9])],
        [(c, text_c[:6]), (a, text_a[8:9]), (b, [5])],
        [(b, [7]), (c, text_c[6:16]), (a, text_a[9:11])],
        [(a, [1]), (b, [2]), (c, text_c[16:17])],
    ):
        for (table, _), logits in zip(parts, machine.step(*parts), strict=True):
            machine.expect(table, logits)
    machine.pool.check_integrity([a, b, c])


def test_a_fork_goes_its_own_way_and_leaves_the_other_alone(machine: Machine) -> None:
    first = machine.pool.open([])
    machine.step((first, random_text(6, 1)))  # one and a half blocks
    second = machine.pool.fork(first)
    third = machine.pool.fork(second)
    for token in range(6):
        parts = [(first, [token]), (second, [token + 10]), (third, [token + 20])]
        for (table, _), logits in zip(parts, machine.step(*parts), strict=True):
            machine.expect(table, logits)
    assert first.blocks[0] == second.blocks[0] == third.blocks[0]
    machine.pool.check_integrity([first, second, third])


def test_a_cached_prefix_is_not_computed_again(machine: Machine) -> None:
    prompt = random_text(13, 1)
    first = machine.pool.open(prompt)
    machine.step((first, prompt))
    machine.pool.release(first)
    second = machine.pool.open([*prompt[:12], 39, 38])
    assert second.length == 12
    [logits] = machine.step((second, [39, 38]))
    machine.expect(second, logits)


def test_rejected_tokens_leave_no_trace(machine: Machine) -> None:
    table = machine.pool.open([])
    machine.step((table, random_text(6, 1)))
    drafted = random_text(5, 2)
    machine.step((table, drafted))
    machine.pool.truncate(table, 7)
    [logits] = machine.step((table, [3]))
    machine.expect(table, logits)


def test_a_plan_for_other_tokens_or_without_room_is_refused(machine: Machine) -> None:
    table = machine.pool.open([])
    with pytest.raises(ValueError, match="3 tokens behind 0 in 0 blocks of 4"):
        PagedBatch(machine.kv, [(table, 3)])
    machine.pool.extend(table, 3)
    with pytest.raises(ValueError, match="2 tokens were given, and this step was planned for 3"):
        machine.model(torch.tensor([[1, 2]]), PagedBatch(machine.kv, [(table, 3)]))


def test_a_model_of_another_dtype_is_refused(machine: Machine) -> None:
    table = machine.pool.open([])
    machine.pool.extend(table, 1)
    machine.model.bfloat16()
    with pytest.raises(ValueError, match=r"the cache holds torch.float32 and torch.bfloat16 is given"):
        machine.model(torch.tensor([[1]]), PagedBatch(machine.kv, [(table, 1)]))


def test_copies_wait_for_each_other() -> None:
    kv = PagedKV(1, 4, 1, 1, 1)
    numbers = torch.arange(4.0)
    kv.keys[0][:] = kv.values[0][:] = numbers[:, None, None, None]
    kv.copy([Copy(0, 1), Copy(1, 2)])
    assert kv.keys[0].flatten().tolist() == [0, 0, 0, 3]
    assert kv.values[0].flatten().tolist() == [0, 0, 0, 3]
    kv.copy([Copy(3, 0), Copy(2, 1)])
    assert kv.storage.flatten().tolist() == [3, 0, 0, 3] * 2


def test_bytes() -> None:
    kv = PagedKV(2, 5, 4, 3, 8, torch.bfloat16)
    assert kv.n_bytes == 2 * 2 * 5 * 4 * 3 * 8 * 2
    config = llama().config
    assert block_bytes(config, 16, 4) == PagedKV.for_model(config, 1, 16).n_bytes
    with pytest.raises(ValueError, match="each number must be at least 1"):
        PagedKV(1, 0, 4, 1, 8)
