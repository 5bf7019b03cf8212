"""Three ways to train the same Llama on the same batches: the contenders of `benchmarks.learning`.

All compute the same loss, with AdamW in the same numbers, weight decay on the matrices inside the model only,
the same learning rate at every step, gradients clipped, and no attention across documents. They differ in
what should not matter: kernels, the places where numbers are rounded, the order of sums.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import transformers
from torch import Tensor, nn

from benchmarks.decode import reference_model
from benchmarks.training_peers import PlainLlama, plain_name
from teachllm.stack.data.loader import Batch, BatchLoader
from teachllm.stack.data.shards import TokenShards
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.weights import llama_layout
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.documents import causal_document_mask
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import StepMetrics, train
from teachllm.stack.training.loss import IGNORED
from teachllm.stack.training.schedules import lr_at
from teachllm.stack.training.state import TrainingState, begin

Weights: TypeAlias = dict[str, Tensor]
AfterStep: TypeAlias = Callable[[int, float, Callable[[], Weights]], None]
"""Is given the number of the step, its loss in nats a token, and what returns the weights in our names."""


@dataclass(frozen=True)
class Task:
    """What is to be learned. seed: of the first weights and of the order of the batches."""

    data: TokenShards
    config: LlamaConfig
    training: TrainingConfig
    seed: int

    def model(self) -> Llama:
        """Ours, with the first weights."""
        model = Llama(self.config)
        initialize(model, torch.Generator().manual_seed(self.seed))
        return model

    def batches(self) -> BatchLoader:
        return BatchLoader(self.data, self.training.micro_rows, self.config.context_length, self.seed)

    @property
    def in_bfloat16(self) -> bool:
        return self.training.compute_dtype("cpu") == torch.bfloat16


def ours(task: Task, after_step: AfterStep) -> None:
    """The loop that `teachllm train` runs."""
    state = begin_ours(task)
    for event in train(state, task.training):
        if isinstance(event, StepMetrics):
            after_step(event.step, event.loss, state.model.state_dict)


def begin_ours(task: Task) -> TrainingState:
    return begin(task.model(), task.batches(), task.training)


def plain(task: Task, after_step: AfterStep) -> None:
    """Plain PyTorch, as nanoGPT and minimind write it: autocast and torch's AdamW."""
    model = PlainLlama(task.config, nn.Linear, torch.float32)
    first = task.model().state_dict()
    model.load_state_dict({plain_name(name): weight for name, weight in first.items()}, strict=False)
    optimizer = torch_adamw(model, task.training)

    def weights() -> Weights:
        state = model.state_dict()
        return {name: state[plain_name(name)] for name in first}

    for step, batch in zip(range(task.training.steps), task.batches(), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, task.training.learning_rates)
        with torch.autocast("cpu", torch.bfloat16, enabled=task.in_bfloat16):
            loss = model(batch.tokens, batch.targets, causal_document_mask(batch.document_ids))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), task.training.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        after_step(step + 1, loss.item(), weights)


def trainer(task: Task, after_step: AfterStep) -> None:
    """`transformers` Llama in its Trainer, in the precision that `bf16=True` means there."""
    training = task.training
    model = reference_model(task.model()).train()
    optimizer = torch_adamw(model, training)
    # LambdaLR multiplies the optimizer's rate by what it is given.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_at(step, training.learning_rates) / training.learning_rate
    )
    layout = llama_layout(task.config, "hugging_face")

    def weights() -> Weights:
        state = model.state_dict()
        return {name: torch.cat([state[s.name] for s in sources]) for name, sources in layout.items()}

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, max_steps=training.steps, per_device_train_batch_size=training.micro_rows,
            bf16=task.in_bfloat16, use_cpu=True, max_grad_norm=training.clip, report_to="none",
            logging_steps=1, save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
            remove_unused_columns=False,
        )  # fmt: skip
        theirs = transformers.Trainer(
            model,  # pyright: ignore[reportArgumentType]
            arguments,
            train_dataset=RowStream(task.batches()),
            optimizers=(optimizer, schedule),
            callbacks=[Observer(after_step, weights)],
        )
        theirs.remove_callback(transformers.PrinterCallback)
        theirs.train()


class RowStream(torch.utils.data.IterableDataset):
    """The rows of endless batches, as a causal model of `transformers` wants them.

    It predicts token i + 1 of a row from the first i, so the row is one token longer, and the label of the
    first token does not count.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for batch in self.batches:
            last = batch.targets[:, -1:].clamp(min=0)
            ids = torch.cat([batch.document_ids, batch.document_ids[:, -1:]], dim=1)
            rows = {
                "input_ids": torch.cat([batch.tokens, last], dim=1),
                "labels": torch.cat([torch.full_like(last, IGNORED), batch.targets], dim=1),
                "attention_mask": causal_document_mask(ids),
            }
            for row in range(len(last)):
                yield {name: part[row] for name, part in rows.items()}


class Observer(transformers.TrainerCallback):
    def __init__(self, after_step: AfterStep, weights: Callable[[], Weights]) -> None:
        self.after_step, self.weights = after_step, weights

    def on_log(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        if "loss" in named["logs"]:
            self.after_step(state.global_step, named["logs"]["loss"], self.weights)


def torch_adamw(model: nn.Module, training: TrainingConfig) -> torch.optim.AdamW:
    """Matrices decay, embeddings (a tied head too) and norms do not: the groups of `parameter_groups`."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in tables]
    others = [p for p in model.parameters() if p.ndim < 2 or id(p) in tables]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0}],
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        fused=True,
    )
