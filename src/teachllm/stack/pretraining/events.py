"""What a run tells whoever watches it: the terminal and the studio show the same events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from teachllm.stack.data.pipeline import StepReport
from teachllm.stack.training.events import TrainingEvent

Stage = Literal["clean", "tokenizer", "encode"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Where the run computes and in which numbers, and why, in English and Chinese."""

    device: str
    dtype: str
    reason: str
    reason_zh: str


@dataclass(frozen=True, slots=True)
class DataProgress:
    """How far preparing is: bytes of text for "clean" and "encode", merges for "tokenizer".

    total: None where nobody knows before the end.
    """

    stage: Stage
    corpus: str
    done: int
    total: int | None = None


@dataclass(frozen=True, slots=True)
class CorpusCleaned:
    """What the cleaning steps kept and dropped of one corpus."""

    corpus: str
    reports: tuple[StepReport, ...]
    documents: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DataReady:
    """The data lie in `folder` as tokens. from_cache: an earlier run had prepared them."""

    folder: str
    vocab_size: int
    train_tokens: int
    train_documents: int
    held_out_tokens: int
    held_out_documents: int
    bytes_per_token: float
    from_cache: bool


@dataclass(frozen=True, slots=True)
class ModelReady:
    """The model that is trained, and what the run will need as far as it can be told in advance.

    epochs: how often the training text will be seen. memory_bytes, seconds: None where nobody predicts them.
    resumed_from: the step of the checkpoint that the run continues from; None from the beginning.
    """

    parameters: int
    steps: int
    tokens: int
    epochs: float
    memory_bytes: int | None = None
    seconds: float | None = None
    resumed_from: int | None = None


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the person should know; the run goes on."""

    step: int
    message: str


@dataclass(frozen=True, slots=True)
class Sampled:
    """How the model continued a prompt after `step` steps."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Held-out text: how many bits the model needs for a byte, and its perplexity a token.

    tokens: how many were predicted. is_final: after the last step, on all of the held-out text.
    """

    step: int
    bits_per_byte: float
    perplexity: float
    tokens: int
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class TaskScored:
    """A task at the end. metric: "accuracy", the share of `items` that was right, or "bits_per_byte"."""

    step: int
    task: str
    metric: str
    value: float
    items: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the recipe promises, what this run gave, and whether that will do.

    what: "bits_per_byte" of held-out text, "minutes", or the name of a task.
    """

    what: str
    expected: str
    found: str
    is_fine: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """The end. status "stopped": `teachllm resume` continues. model: the exported folder, if it is trained.

    minutes: of the whole run, preparing and all its parts included, pauses not.
    """

    status: Literal["finished", "stopped"]
    step: int
    minutes: float
    model: str | None = None
    comparison: tuple[Comparison, ...] = ()


Event: TypeAlias = (
    Chosen
    | DataProgress
    | CorpusCleaned
    | DataReady
    | ModelReady
    | TrainingEvent
    | Warned
    | Sampled
    | Evaluated
    | TaskScored
    | Finished
)
