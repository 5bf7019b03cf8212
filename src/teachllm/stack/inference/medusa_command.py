"""``teachllm medusa``: heads that guess for a model, trained on what the model itself writes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from teachllm.stack.data.assets import AssetError
from teachllm.stack.inference.command import DEFAULT_MODEL, Lang, Weights, Words, terminal_language

if TYPE_CHECKING:
    from teachllm.stack.inference.language_model import LanguageModel
    from teachllm.stack.inference.speculation import MedusaHeads, TreeShape
    from teachllm.stack.inference.speculation.comparison import Comparison
    from teachllm.stack.inference.speculation.medusa_training import HeadData
    from teachllm.stack.inference.speculation.self_distillation import Answered
    from teachllm.stack.inference.speculation.tree_choice import TreeTiming

HELD_OUT = 10  # one text of so many is measured on, and not learned
RANKS = 10  # guesses of each head that a tree may use
TIMED_TEXTS = 4


def medusa(
    prompts: Path | None = None,
    *,
    model: str = DEFAULT_MODEL,
    weights: Weights = "auto",
    heads: int = 3,
    tokens: int = 40_000,
    answer_tokens: int = 160,
    temperature: float = 0.7,
    steps: int = 1200,
    positions: int = 128,
    learning_rate: float = 2e-3,
    out: Path = Path("medusa.safetensors"),
    seed: int = 0,
    lang: Lang | None = None,
) -> None:
    """Train Medusa heads for a model, on answers that it writes now.

    `teachllm generate --speculate medusa --heads FILE` guesses with them.

    Parameters
    ----------
    prompts
        A text file with a prompt on each line. Without it: everyday questions, and paragraphs of the course.
    model
        An asset, a GGUF file, or a folder of safetensors.
    weights
        In which numbers decoding reads the weights: auto, bf16, int8 or int4; see teachllm generate.
    heads
        How many tokens are guessed behind the next one.
    tokens
        How much text the model writes, in tokens. Less if the prompts do not last.
    answer_tokens
        The longest answer.
    temperature
        Of the answers: 0 always writes the most probable token, which repeats itself.
    steps
        Steps of the training.
    positions
        Positions of the text that a step learns from.
    learning_rate
        Its peak.
    out
        The file that is written: the heads, and how often their guesses are right.
    seed
        The same seed on the same machine gives the same heads.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    from teachllm.stack.inference.language_model import load_language_model
    from teachllm.stack.inference.speculation.comparison import compare
    from teachllm.stack.inference.speculation.tree_choice import tree_timings

    words = Words(lang or terminal_language())
    begun = time.perf_counter()
    try:
        _check(heads, tokens, answer_tokens, steps, positions, out)
        asked = _prompts(prompts)
        with words.loading():
            language_model = load_language_model(model, weights=weights)
        texts = _write(language_model, asked, tokens, answer_tokens, temperature, seed, words)
        data, held_out = _read(language_model, texts, heads, words)
        trained, before = _train(
            language_model, data, held_out, heads, steps, positions, learning_rate, seed, words
        )
        trained.save(out)
    except (ValueError, OSError, AssetError) as problem:
        words.fail(problem)
    except KeyboardInterrupt:
        words.tell("停下了，没有写文件。", "Stopped; no file was written.")
        raise SystemExit(130) from None
    minutes = (time.perf_counter() - begun) / 60
    n_written = sum(text.n_written for text in texts)
    words.tell(
        f"{out}：{len(texts)} 篇、{n_written} 个 token 的回答，{len(data)} 个位置，{minutes:.1f} 分钟",
        f"{out}: {len(texts)} answers of {n_written} tokens, {len(data)} positions, {minutes:.1f} minutes",
    )
    console = Console(highlight=False)
    console.print(_accuracy_table(before, trained.accuracies, words))
    with words.waiting("量一步要多久…", "Measuring passes…"):
        timings = list(tree_timings(language_model.model, trained))
    best = max(timings, key=lambda timing: timing.tokens_per_second)
    console.print(_timing_table(timings, best, words))
    shape = best.shape if best.shape.paths else timings[1].shape  # what guessing costs, if it does not pay
    with words.waiting("和不猜时比…", "Comparing with decoding as usual…"):
        comparison = compare(language_model.model, trained, shape, _timed_prompts(texts))
    _tell_comparison(comparison, shape, words)


def _check(heads: int, tokens: int, answer_tokens: int, steps: int, positions: int, out: Path) -> None:
    given = {
        "heads": heads,
        "tokens": tokens,
        "answer-tokens": answer_tokens,
        "steps": steps,
        "positions": positions,
    }
    if small := [f"--{name} is {value}" for name, value in given.items() if value < 1]:
        raise ValueError(f"{', '.join(small)}; it must be at least 1")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} for --out; make it first")


def _prompts(file: Path | None) -> list[str]:
    from teachllm.stack.data.corpora import course_text
    from teachllm.stack.inference.speculation.self_distillation import everyday_questions, questions_about

    if file is None:
        return [*everyday_questions(), *questions_about(course_text("en"))]
    found = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not found:
        raise ValueError(f"{file} has no prompts; write one on each line")
    return found


# The three stages ------------------------------------------------------------------------------------------


def _write(
    language_model: LanguageModel,
    prompts: Sequence[str],
    tokens: int,
    answer_tokens: int,
    temperature: float,
    seed: int,
    words: Words,
) -> list[Answered]:
    from teachllm.stack.inference.speculation.self_distillation import encoded_prompts, write_answers

    texts = []
    with _bar(words.choose("写：token", "writing: tokens"), tokens) as bar:
        for text in write_answers(
            language_model,
            encoded_prompts(language_model, prompts, seed),
            n_tokens=tokens,
            max_tokens=answer_tokens,
            temperature=temperature,
            seed=seed,
        ):
            texts.append(text)
            bar.update(bar.task_ids[0], advance=text.n_written)
    if len(texts) < HELD_OUT:
        raise ValueError(f"{len(texts)} answers are too few to learn from: give more prompts or --tokens")
    return texts


def _read(
    language_model: LanguageModel, texts: Sequence[Answered], n_heads: int, words: Words
) -> tuple[HeadData, HeadData]:
    """What is learned, and what is held out."""
    from teachllm.stack.inference.speculation.medusa_training import HeadData, head_data

    parts: list[HeadData] = []
    with _bar(words.choose("读：篇", "reading: texts"), len(texts)) as bar:
        for text in texts:
            parts.append(head_data(language_model.model, text.tokens, n_heads, text.n_prompt))
            bar.update(bar.task_ids[0], advance=1)
    learned = [part for i, part in enumerate(parts) if i % HELD_OUT]
    return HeadData.join(learned), HeadData.join(parts[::HELD_OUT])


def _train(
    language_model: LanguageModel,
    data: HeadData,
    held_out: HeadData,
    n_heads: int,
    steps: int,
    positions: int,
    learning_rate: float,
    seed: int,
    words: Words,
) -> tuple[MedusaHeads, list[list[float]]]:
    """The heads, and how accurate they were before they learned anything."""
    from torch import Tensor

    from teachllm.stack.inference.speculation import MedusaHeads
    from teachllm.stack.inference.speculation.medusa_training import head_accuracies, train_medusa

    head_weight = language_model.model.head.weight
    assert isinstance(head_weight, Tensor)
    trained = MedusaHeads(n_heads, head_weight.shape[1]).to(language_model.device)
    ranks = min(RANKS, len(head_weight))
    before = head_accuracies(trained, held_out, head_weight, ranks)
    with _bar(words.choose("学：步", "training: steps"), steps) as bar:
        for step in train_medusa(
            trained,
            data,
            head_weight,
            steps=steps,
            positions_a_step=positions,
            learning_rate=learning_rate,
            seed=seed,
        ):
            bar.update(bar.task_ids[0], completed=step.step, loss=f"{step.loss:.2f}")
    trained.accuracies = head_accuracies(trained, held_out, head_weight, ranks)
    return trained.eval(), before


def _bar(name: str, total: int) -> Progress:
    """On the terminal only, and gone when it is over."""
    bar = Progress(
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task(name, total=total, loss="")
    return bar


# What came of it -------------------------------------------------------------------------------------------


def _timed_prompts(texts: Sequence[Answered]) -> list[tuple[int, ...]]:
    """Of texts that were held out."""
    return [text.tokens[: text.n_prompt] for text in texts[::HELD_OUT]][:TIMED_TEXTS]


def _accuracy_table(before: list[list[float]], after: list[list[float]], words: Words) -> Table:
    title = words.choose("没学过的文字上猜得多准", "How often guesses are right, on text not learned")
    table = Table(title=title)
    names = (
        words.choose("头", "head"),
        words.choose("学之前", "before"),
        words.choose("最好的一个", "best guess"),
        words.choose("前 3 个里有", "among the best 3"),
        words.choose(f"前 {len(after[0])} 个里有", f"among the best {len(after[0])}"),
    )
    for name in names:
        table.add_column(name, justify="right")
    for k, (first, ranks) in enumerate(zip(before, after, strict=True), start=1):
        shares = (first[0], ranks[0], sum(ranks[:3]), sum(ranks))
        table.add_row(str(k), *(f"{share:.1%}" for share in shares))
    return table


def _timing_table(timings: Sequence[TreeTiming], best: TreeTiming, words: Words) -> Table:
    table = Table(title=words.choose("树多大最好，在这台电脑上", "How large a tree is best, on this machine"))
    names = (
        words.choose("节点", "nodes"),
        words.choose("深", "deep"),
        words.choose("一步（毫秒）", "a pass (ms)"),
        words.choose("每步 token（估计）", "tokens a pass (estimate)"),
        words.choose("每秒 token（估计）", "tokens/s (estimate)"),
    )
    for name in names:
        table.add_column(name, justify="right")
    for timing in timings:
        cells = _timing_cells(timing)
        table.add_row(*cells, style="bold" if timing is best else None)
    return table


def _timing_cells(timing: TreeTiming) -> Iterator[str]:
    yield str(len(timing.shape.paths))
    yield str(timing.shape.depth)
    yield f"{1000 * timing.seconds:.1f}"
    yield f"{timing.tokens:.2f}"
    yield f"{timing.tokens_per_second:.0f}"


def _tell_comparison(comparison: Comparison, shape: TreeShape, words: Words) -> None:
    n_nodes, tally = len(shape.paths), comparison.tally
    per_second = tally.written / comparison.plain_seconds, tally.written / comparison.medusa_seconds
    words.tell(
        f"{n_nodes} 个节点的树：每步写 {tally.tokens_per_step:.2f} 个 token，每秒 {per_second[1]:.0f} 个；"
        f"不猜每秒 {per_second[0]:.0f} 个，快 {comparison.speed_up:.2f} 倍"
        f"（{comparison.n_texts} 篇里 {comparison.same} 篇一字不差）",
        f"A tree of {n_nodes} nodes: {tally.tokens_per_step:.2f} tokens a pass, "
        f"{per_second[1]:.0f} tokens/s, and {per_second[0]:.0f} without guesses: "
        f"{comparison.speed_up:.2f} times as fast "
        f"({comparison.same} of {comparison.n_texts} texts are the same, token by token)",
    )
    if comparison.speed_up <= 1:
        words.tell(
            "在这台电脑上不划算：一步多读几个 token，花的比省的多。",
            "It does not pay on this machine: reading more tokens a pass costs more than it saves.",
        )
    else:
        words.tell(
            f"用它：teachllm generate --speculate medusa --heads 文件 --draft-tokens {n_nodes}",
            f"Use it: teachllm generate --speculate medusa --heads FILE --draft-tokens {n_nodes}",
        )
