"""``teachllm train-reranker``: a cross-encoder as a recipe says, and what it gains."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from teachllm.stack.data.assets import AssetError
from teachllm.stack.data.documents import DocumentError
from teachllm.stack.data.hub import HubError
from teachllm.stack.inference.command import Lang, Words, terminal_language

if TYPE_CHECKING:
    from teachllm.stack.retrieval.embedding.training import EmbeddingStep
    from teachllm.stack.retrieval.rerankers.recipe_run import Ready

GAIN = "gain.json"
TOLD_EVERY = 10  # steps


def train_reranker(recipe: Path, *, out: Path = Path("runs/cross-encoder"), lang: Lang | None = None) -> None:
    """Train a cross-encoder, measure what it gains on held-out queries, and write it into a folder.

    `teachllm retrieve … --rerank FOLDER` uses it, and so do transformers and sentence-transformers.

    Parameters
    ----------
    recipe
        A TOML file, such as recipes/retrieval/cross_encoder.toml.
    out
        The folder of the model; it must not be there yet.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    from teachllm.stack.retrieval.rerankers.files import save_cross_encoder  # PyTorch takes seconds
    from teachllm.stack.retrieval.rerankers.recipe import read_recipe
    from teachllm.stack.retrieval.rerankers.recipe_run import Ready, run_recipe

    words = Words(lang or terminal_language())
    try:
        chosen = read_recipe(recipe)
        if out.exists():
            raise ValueError(
                words.choose(f"{out} 已经在了，请换一个 --out", f"{out} exists; give another --out")
            )
        words.tell(chosen.about_zh, chosen.about)
        steps = chosen.training.steps

        def told(event: Ready | EmbeddingStep) -> None:
            if isinstance(event, Ready):
                words.tell(
                    f"{event.passages:,} 段文字；{event.training:,} 个问题用来训练，"
                    f"{event.held_out:,} 个留出",
                    f"{event.passages:,} passages; {event.training:,} queries to train on, "
                    f"{event.held_out:,} held out",
                )
            elif event.step % TOLD_EVERY == 0 or event.step in (1, steps):
                words.tell(
                    f"第 {event.step}/{steps} 步 · 损失 {event.loss:.3f} · {event.seconds:.1f} 秒",
                    f"step {event.step}/{steps} · loss {event.loss:.3f} · {event.seconds:.1f} s",
                )

        model, gain = run_recipe(chosen, told)
        draft = out.with_name(out.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        save_cross_encoder(model, draft)
        (draft / GAIN).write_text(json.dumps(asdict(gain), indent=2) + "\n", encoding="utf-8")
        draft.rename(out)
    except (ValueError, OSError, AssetError, DocumentError, HubError) as problem:
        words.fail(problem)
    words.tell(
        f"{gain.queries} 个留出的问题：nDCG@10 {gain.ndcg_before:.3f} → {gain.ndcg_after:.3f}，"
        f"MRR@10 {gain.mrr_before:.3f} → {gain.mrr_after:.3f}（p = {gain.p:.3f}）",
        f"{gain.queries} held-out queries: nDCG@10 {gain.ndcg_before:.3f} → {gain.ndcg_after:.3f}, "
        f"MRR@10 {gain.mrr_before:.3f} → {gain.mrr_after:.3f} (p = {gain.p:.3f})",
    )
    words.tell(
        f"训练 {gain.seconds / 60:.1f} 分钟；每秒判 {gain.pairs_per_second:.0f} 对 · {out}",
        f"{gain.seconds / 60:.1f} minutes of training; {gain.pairs_per_second:.0f} pairs a second · {out}",
    )
    if (expected := chosen.expected) is not None:
        words.tell(
            f"配方记的是 {expected.before:.3f} → {expected.after:.3f}，{expected.minutes:.0f} 分钟"
            f"（{expected.machine}）",
            f"the recipe's own run: {expected.before:.3f} → {expected.after:.3f}, "
            f"{expected.minutes:.0f} minutes ({expected.machine})",
        )
    sys.stdout.write(f"{out}\n")
