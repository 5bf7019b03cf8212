"""Two processes with half of the batch each find the gradient of the whole."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from teachllm.stack.retrieval.embedding.gathering import gathered
from teachllm.stack.retrieval.embedding.losses import info_nce
from teachllm.stack.retrieval.embedding.pooling import normalize

N_PROCESSES = 2


def texts() -> tuple[Tensor, Tensor]:
    return tuple(torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)))


def weight() -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()


def one_process(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=N_PROCESSES)
    matrix = weight()
    queries, passages = (normalize(part.chunk(N_PROCESSES)[rank] @ matrix) for part in texts())
    (info_nce(gathered(queries), gathered(passages)) * N_PROCESSES).backward()
    assert matrix.grad is not None
    dist.all_reduce(matrix.grad)
    torch.save(matrix.grad / N_PROCESSES, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")
def test_the_gradient_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=one_process, args=(rank, tmp_path)) for rank in range(N_PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    matrix = weight()
    info_nce(*(normalize(part @ matrix) for part in texts())).backward()
    for rank in range(N_PROCESSES):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), matrix.grad)


def test_alone_it_is_the_identity() -> None:
    vectors = torch.ones(2, 3)
    assert gathered(vectors) is vectors
