"""``teachllm train-embedding``: an embedding model learns a second language, as a recipe says."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from teachllm.stack.data.assets import AssetError
from teachllm.stack.inference.command import Lang, Words, terminal_language

if TYPE_CHECKING:
    from teachllm.stack.retrieval.embedding.recipe_run import Ready
    from teachllm.stack.retrieval.embedding.training import EmbeddingStep

FOLDER = Path("runs/course-embedding")
GAIN = "gain.json"
TOLD_EVERY = 10  # steps


def train_embedding_command(recipe: Path, *, out: Path = FOLDER, lang: Lang | None = None) -> None:
    """Train an embedding model, measure it on held-out translations, and write it into a folder.

    Parameters
    ----------
    recipe
        A TOML file, such as recipes/retrieval/embedding.toml.
    out
        The folder of the model. One that this command wrote is replaced when the new model is whole. The
        studio's search takes the model that lies in the folder of the assets as course-embedding.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    from teachllm.stack.retrieval.embedding.recipe import read_recipe  # PyTorch takes seconds to import
    from teachllm.stack.retrieval.embedding.recipe_run import Ready, run_recipe
    from teachllm.stack.retrieval.embedding.saving import save_embedding_model

    words = Words(lang or terminal_language())
    try:
        chosen = read_recipe(recipe)
        if out.exists() and not (out / GAIN).is_file():
            raise ValueError(
                words.choose(
                    f"{out} 已经在了，而且不是这条命令写的；请换一个 --out",
                    f"{out} exists, and this command did not write it; give another --out",
                )
            )
        words.tell(chosen.about_zh, chosen.about)
        steps = chosen.training.steps

        def told(event: Ready | EmbeddingStep) -> None:
            if isinstance(event, Ready):
                words.tell(
                    f"{event.training:,} 对译文用来训练，{event.held_out:,} 对留出；"
                    f"词表新增 {event.new_pieces:,} 个字",
                    f"{event.training:,} translations to train on, {event.held_out:,} held out; "
                    f"{event.new_pieces:,} new characters in the vocabulary",
                )
            elif event.step % TOLD_EVERY == 0 or event.step in (1, steps):
                words.tell(
                    f"第 {event.step}/{steps} 步 · 损失 {event.loss:.3f} · {event.seconds:.1f} 秒",
                    f"step {event.step}/{steps} · loss {event.loss:.3f} · {event.seconds:.1f} s",
                )

        model, gain = run_recipe(chosen, told)
        draft = out.with_name(out.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        save_embedding_model(model, draft)
        (draft / GAIN).write_text(json.dumps(asdict(gain), indent=2) + "\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        draft.rename(out)
    except (ValueError, OSError, AssetError) as problem:
        words.fail(problem)
    words.tell(
        f"{gain.texts} 段留出的中文里，最近的英文就是译文的："
        f"{gain.found_before:.1%} → {gain.found_after:.1%}；"
        f"英文向量与老师的余弦 {gain.kept:.3f}",
        f"of {gain.texts} held-out texts, the translation is nearest for {gain.found_before:.1%} → "
        f"{gain.found_after:.1%}; cosine with the teacher's English vectors {gain.kept:.3f}",
    )
    words.tell(f"{gain.seconds / 60:.1f} 分钟", f"{gain.seconds / 60:.1f} minutes")
    if (expected := chosen.expected) is not None:
        words.tell(
            f"配方记的是 {expected.before:.1%} → {expected.after:.1%}，"
            f"{expected.minutes:.0f} 分钟（{expected.machine}）",
            f"the recipe's own run: {expected.before:.1%} → {expected.after:.1%}, "
            f"{expected.minutes:.0f} minutes ({expected.machine})",
        )
    sys.stdout.write(f"{out}\n")
