"""Event files for TensorBoard, for those who compare runs there."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from teachllm.stack.pretraining.events import Evaluated, Event, Sampled
from teachllm.stack.training.loop import StepMetrics

SCALARS = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "matmul_fraction", "memory_bytes")


class TensorBoardLog:
    """A viewer that writes. ValueError, with what to install, if the package tensorboard is not there."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError(
                'tensorboard is not installed. Install it: pip install "teachllm[tensorboard]", or leave out '
                "--tensorboard; metrics.jsonl has the same numbers"
            ) from None
        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> TensorBoardLog:
        return self

    def show(self, event: Event) -> None:
        match event:
            case StepMetrics():
                for name in SCALARS:
                    if (value := getattr(event, name)) is not None:
                        self._writer.add_scalar(f"training/{name}", value, event.step)
            case Evaluated():
                self._writer.add_scalar("held_out/bits_per_byte", event.bits_per_byte, event.step)
                self._writer.add_scalar("held_out/perplexity", event.perplexity, event.step)
            case Sampled():
                self._writer.add_text(event.prompt, event.text, event.step)
            case _:
                pass

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
