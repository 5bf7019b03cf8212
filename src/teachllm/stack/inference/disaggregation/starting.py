"""A disaggregated server from nothing: processes that load the model, and the router in front of them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat

import torch

from teachllm.stack.inference.command import Weights
from teachllm.stack.inference.disaggregation.messages import Role
from teachllm.stack.inference.disaggregation.processes import Assignment, worker_process
from teachllm.stack.inference.disaggregation.remote import Door
from teachllm.stack.inference.disaggregation.service import DisaggregatedService
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.language_model import LanguageModel, load_language_model
from teachllm.stack.nn.device import choose_device

START_SECONDS = 600.0  # a large model is read from a slow disk
KEY_BYTES = 32


@contextlib.contextmanager
def disaggregated(
    source: str,
    config: EngineConfig,
    *,
    n_prefill: int = 1,
    n_decode: int = 1,
    weights: Weights | None = None,
) -> Iterator[tuple[LanguageModel, DisaggregatedService]]:
    """The model without its weights, and a service whose workers hold them, until the block ends.

    source, weights: as in `load_language_model`; config: of each worker. The threads of this machine are
    shared among the workers. Raises what `load_language_model` does, ValueError if a worker cannot start,
    TimeoutError.
    """
    if n_prefill < 1 or n_decode < 1:
        raise ValueError(
            f"{n_prefill} workers for prefill and {n_decode} for decode: give at least one of each, or none "
            "of either for one engine that does both"
        )
    language_model = without_weights(source, weights)
    key = secrets.token_bytes(KEY_BYTES)
    roles: list[Role] = [*repeat("prefill", n_prefill), *repeat("decode", n_decode)]
    n_threads = max(1, torch.get_num_threads() // len(roles))
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(Door(key))
        processes = {}
        for i, role in enumerate(roles):
            name = f"{role} {i if role == 'prefill' else i - n_prefill}"
            assignment = Assignment(name, role, door.port, source, weights, n_threads, config)
            processes[name] = stack.enter_context(worker_process(assignment, key))

        def still_alive() -> None:
            for name, process in processes.items():
                if process.poll() is not None:
                    raise ValueError(f"{name} has ended with exit code {process.returncode} as it began")

        workers = door.wait_for(len(roles), START_SECONDS, still_alive)
        service = stack.enter_context(DisaggregatedService(language_model, config, workers))
        first = workers[0].hello
        told = replace(
            language_model,
            decoding=first.decoding,
            decoding_zh=first.decoding_zh,
            attention=first.prompts,
            elsewhere=first.device,
        )
        yield told, service


def without_weights(source: str, weights: Weights | None = None) -> LanguageModel:
    """Tokenizer, template, sizes and dtype of a model; its weights are on the device "meta", where there is
    no memory. Raises as `load_language_model`.
    """
    dtype = torch.bfloat16 if weights == "bf16" else choose_device().dtype
    return load_language_model(source, "meta", dtype)
