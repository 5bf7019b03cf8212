"""The real engine at work, seen as steps of the simulation: what each computed, and how long it took."""

from __future__ import annotations

import platform
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil
import torch

from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import RequestOptions
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.roofline import measure_read_bandwidth
from teachllm.stack.inference.simulation.calibration import MeasuredStep
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.training.accounting import measure_matmul_peak

_BLOCK = EngineConfig().block_size


@dataclass(frozen=True, slots=True)
class Composition:
    """A step to be measured: `decoding` texts of about `length` tokens each, beside a prompt of `new` tokens;
    or, alone, the last `new` tokens of a prompt of which `cached` were read before, at least as many.
    """

    decoding: int = 0
    length: int = 1
    new: int = 0
    cached: int = 0


# Prompts short and long, one in two pieces, a few and many that decode at two depths, and both mixed.
COMPOSITIONS = (
    *(Composition(new=new) for new in (32, 64, 128, 256, 384)),
    Composition(new=128, cached=256),
    *(Composition(decoding=n, length=length) for n in (1, 4, 16) for length in (32, 192)),
    Composition(decoding=8, length=32, new=64),
    Composition(decoding=8, length=32, new=256),
)


def step_and_measure(engine: Engine) -> MeasuredStep | None:
    """One step of the engine, as what it computed of each text. None if it computed nothing, or a text came
    to its end and cannot be seen any more.
    """
    before = {(text.request, text.index): text for text in engine.snapshot().texts}
    engine.step()
    snapshot = engine.snapshot()
    after = {(text.request, text.index): text for text in snapshot.texts}
    if after.keys() != before.keys():
        return None
    pieces, n_sampled = [], 0
    for key, text in after.items():
        cached = before[key].computed
        if text.computed > cached:
            pieces.append((cached, text.computed - cached))
            n_sampled += text.computed == before[key].wanted
    return MeasuredStep(tuple(pieces), n_sampled, snapshot.steps[-1].seconds) if pieces else None


def measure_engine(
    language_model: LanguageModel,
    compositions: Sequence[Composition] = COMPOSITIONS,
    *,
    repeats: int = 5,
    seed: int = 0,
) -> Iterator[MeasuredStep]:
    """For each composition the fastest of `repeats` steps: the one that other programs disturbed least.

    Tokens are random, which costs the same. Nothing is found in a prefix cache, and no text ends
    meanwhile. Steps before the first are not counted: kernels are chosen and compiled in them.
    """
    draw = random.Random(seed)
    for _ in _steps(language_model, Composition(decoding=1, length=16, new=16), 2, draw):
        pass
    for composition in compositions:
        yield min(_steps(language_model, composition, repeats, draw), key=lambda step: step.seconds)


def _steps(
    language_model: LanguageModel, composition: Composition, repeats: int, draw: random.Random
) -> Iterator[MeasuredStep]:
    c = composition
    n_tokens = (c.decoding + 1) * (c.length + 2 * repeats + 2 * _BLOCK) + c.cached + c.new
    config = EngineConfig(
        max_batch_tokens=c.cached or n_tokens,  # so that a prompt is cut where the composition says
        max_running=c.decoding + 1,
        n_blocks=n_tokens // _BLOCK + c.decoding + 2,
        prefix_caching=False,
    )
    engine = Engine(language_model, config)
    options = RequestOptions(max_tokens=2 * repeats + 2, end_tokens=frozenset())
    vocabulary = _sizes(language_model).vocab_size

    def tokens(n: int) -> list[int]:
        return [draw.randrange(vocabulary) for _ in range(n)]

    for _ in range(c.decoding):
        engine.add(tokens(c.length), options)
    if c.decoding:
        engine.step()  # all of their prompts
    for _ in range(repeats):
        prompt = engine.add(tokens(c.cached + c.new), options) if c.new else None
        if c.cached:
            engine.step()
        step = step_and_measure(engine)
        if step is not None:
            yield step
        if prompt is not None:
            engine.cancel(prompt)


def this_device(language_model: LanguageModel) -> Device:
    """Where the model lies: its name, its measured peak and bandwidth, its memory."""
    where, dtype = language_model.device, language_model.dtype
    if where.type == "cuda":
        properties = torch.cuda.get_device_properties(where)
        name, memory = properties.name, properties.total_memory
    else:
        name = f"{platform.machine()} with {torch.get_num_threads()} threads"
        memory = psutil.virtual_memory().total
    peak, bandwidth = measure_matmul_peak(where, dtype), measure_read_bandwidth(where)
    return Device(name, peak=peak, bandwidth=bandwidth, memory=memory)


def times_on_this_device(language_model: LanguageModel) -> StepTimes:
    """What `calibrate` begins with: the model where it lies, as if it reached all of the measured peak and
    bandwidth. ValueError if it is no Llama.
    """
    size = language_model.dtype.itemsize
    return StepTimes(
        _sizes(language_model),
        this_device(language_model),
        bytes_per_weight=size,
        bytes_per_cached_number=size,
    )


def _sizes(language_model: LanguageModel) -> LlamaConfig:
    config = language_model.model.config
    if not isinstance(config, LlamaConfig):
        raise ValueError(
            f"{language_model.name} is a {type(config).__name__}; the cost of a step is known for Llamas"
        )
    return config
