"""Events of a run in words, a few lines each, in Chinese and English."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from teachllm.stack.data.pipeline import StepReport
from teachllm.stack.inference.command import Words
from teachllm.stack.pretraining.events import (
    Chosen,
    CorpusCleaned,
    DataProgress,
    DataReady,
    Evaluated,
    Event,
    Finished,
    ModelReady,
    Sampled,
    TaskScored,
    Warned,
)
from teachllm.stack.pretraining.reasons import reason_zh
from teachllm.stack.training.events import Saved, Spike, StepMetrics

BARS = "▁▂▃▄▅▆▇█"
EXCERPT = 100  # characters of a dropped document that are shown


def lines(event: Event, words: Words) -> list[str]:
    """What a person should read of an event; nothing where there is nothing to say."""
    say = words.choose
    match event:
        case Chosen(device, dtype, reason, reason_zh):
            return [say(f"设备 {device} · {dtype}：{reason_zh}", f"device {device} · {dtype}: {reason}")]
        case DataProgress():
            return [data_progress(event, words)]
        case CorpusCleaned(corpus, reports, documents, n_bytes):
            head = say(
                f"{corpus}：清洗后 {documents:,} 篇，{n_bytes / 1e6:.2f} MB",
                f"{corpus}: {documents:,} documents, {n_bytes / 1e6:.2f} MB after cleaning",
            )
            return [head, *(f"  {step_line(report, words)}" for report in reports)]
        case DataReady():
            return [
                say(
                    f"数据{'（已有）' if event.from_cache else ''}：训练 {event.train_tokens:,} 个 token，"
                    f"留出 {event.held_out_tokens:,} 个；词表 {event.vocab_size:,}，"
                    f"每个 token {event.bytes_per_token:.2f} 字节 · {event.folder}",
                    f"data{' (prepared before)' if event.from_cache else ''}: {event.train_tokens:,} tokens "
                    f"to train on, {event.held_out_tokens:,} held out; vocabulary {event.vocab_size:,}, "
                    f"{event.bytes_per_token:.2f} bytes a token · {event.folder}",
                )
            ]
        case ModelReady():
            return _model_ready(event, words)
        case StepMetrics():
            return [step_metrics(event, words)]
        case Spike(step, loss, median, back_to):
            then_zh = "" if back_to is None else f"；回到第 {back_to} 步的检查点，跳过这批数据"
            then = "" if back_to is None else f"; back to the checkpoint of step {back_to}, past these data"
            return [
                say(
                    f"第 {step} 步损失突升：{loss:.3f}（中位数 {median:.3f}）{then_zh}",
                    f"step {step}: the loss jumps to {loss:.3f} (median {median:.3f}){then}",
                )
            ]
        case Saved(step, folder):
            return [say(f"检查点：{folder}", f"checkpoint: {folder}")]
        case Warned(_, message):
            return [message]
        case Evaluated(step, bits, perplexity, tokens, is_final):
            at, at_zh = (f"step {step}: ", f"第 {step} 步：") if not is_final else ("", "")
            return [
                say(
                    f"{at_zh}留出文本 {bits:.3f} 比特/字节，困惑度 {perplexity:.2f}（{tokens:,} 个 token）",
                    f"{at}held-out text {bits:.3f} bits per byte, perplexity {perplexity:.2f} "
                    f"({tokens:,} tokens)",
                )
            ]
        case TaskScored(_, task, "accuracy", value, n):
            return [say(f"{task}：{n} 题，答对 {value:.1%}", f"{task}: {value:.1%} of {n} right")]
        case TaskScored(_, task, metric, value, n):
            return [
                say(f"{task}：{metric} {value:.3f}（{n} 项）", f"{task}: {metric} {value:.3f} ({n} items)")
            ]
        case Sampled(_, prompt, text):
            return [f"» {prompt}{printable(text)}"]
        case Finished():
            return _finished(event, words)


def printable(text: str) -> str:
    """A model's text on one line, without what could command a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "", text.replace("\n", "↵").replace("\t", " "))


def data_progress(event: DataProgress, words: Words) -> str:
    say = words.choose
    name = {"clean": say("清洗", "cleaning"), "encode": say("编码", "encoding")}.get(event.stage)
    if name is None:
        return say(
            f"学词表 {event.done:,}/{event.total:,} 次合并",
            f"vocabulary: {event.done:,}/{event.total:,} merges",
        )
    of = f"/{event.total / 1e6:.1f}" if event.total else ""
    return f"{name} {event.corpus} {event.done / 1e6:.1f}{of} MB"


def step_metrics(event: StepMetrics, words: Words) -> str:
    say = words.choose
    peak = "" if event.matmul_fraction is None else say(
        f"（矩阵乘峰值的 {event.matmul_fraction:.0%}）", f" ({event.matmul_fraction:.0%} of the matmul peak)"
    )  # fmt: skip
    return say(
        f"第 {event.step} 步 损失 {event.loss:.3f} 学习率 {event.learning_rate:.2e} "
        f"梯度 {event.gradient_norm:.2f} 每秒 {event.tokens_per_second:,.0f} 个 token{peak} "
        f"内存 {megabytes(event.memory_bytes)} 还要 {duration(event.seconds_left)}",
        f"step {event.step} loss {event.loss:.3f} lr {event.learning_rate:.2e} gradient "
        f"{event.gradient_norm:.2f} {event.tokens_per_second:,.0f} tokens/s{peak} memory "
        f"{megabytes(event.memory_bytes)} {duration(event.seconds_left)} left",
    )


def step_line(report: StepReport, words: Words) -> str:
    """What one cleaning step did: `length: 2,001 of 2,255 kept; too short 254`."""
    say = words.choose
    kept = say(f"留下 {report.kept:,}/{report.seen:,} 篇", f"{report.kept:,} of {report.seen:,} kept")
    dropped = "; ".join(
        f"{say(reason_zh(reason), reason)} {count:,}" for reason, count in report.dropped.most_common()
    )
    changed = say(f"改了 {report.changed:,} 篇", f"{report.changed:,} changed") if report.changed else ""
    return f"{report.name}: " + "; ".join(part for part in (kept, dropped, changed) if part)


def sample_lines(report: StepReport, words: Words) -> list[str]:
    """Documents that a step dropped or changed, by reason."""
    shown = []
    for reason, samples in report.samples.items():
        shown.append(f"{report.name} · {words.choose(reason_zh(reason), reason)}")
        for sample in samples:
            detail = f" ({sample.detail})" if sample.detail else ""
            shown.append(f"    {sample.source}{detail}: {printable(sample.excerpt)[:EXCERPT]}")
    return shown


def sparkline(values: Sequence[float], width: int) -> str:
    """The course of values in `width` characters, each the mean of its part, from the least to the most."""
    if not values:
        return ""
    width = min(width, len(values))
    edges = [len(values) * i // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _model_ready(event: ModelReady, words: Words) -> list[str]:
    say = words.choose
    shown = [
        say(
            f"模型 {event.parameters / 1e6:.2f} M 参数；{event.steps:,} 步，{event.tokens:,} 个 token，"
            f"数据看 {event.epochs:.1f} 遍",
            f"model {event.parameters / 1e6:.2f} M parameters; {event.steps:,} steps, "
            f"{event.tokens:,} tokens, {event.epochs:.1f} times through the data",
        )
    ]
    if event.memory_bytes is not None and event.seconds is not None:
        shown.append(
            say(
                f"预计张量占内存 {megabytes(event.memory_bytes)}，训练约 {duration(event.seconds)}",
                f"expected: {megabytes(event.memory_bytes)} of tensors, "
                f"about {duration(event.seconds)} of training",
            )
        )
    if event.resumed_from is not None:
        shown.append(say(f"从第 {event.resumed_from} 步继续", f"continues from step {event.resumed_from}"))
    return shown


def _finished(event: Finished, words: Words) -> list[str]:
    say = words.choose
    if event.status == "stopped":
        return [say(f"停在第 {event.step} 步。", f"Stopped at step {event.step}.")]
    shown = [say(f"完成，用时 {event.minutes:.1f} 分钟。", f"Finished in {event.minutes:.1f} minutes.")]
    for row in event.comparison:
        mark = "✓" if row.is_fine else "✗"
        what = {"bits_per_byte": say("比特/字节", "bits per byte"), "minutes": say("分钟", "minutes")}.get(
            row.what, row.what
        )
        shown.append(
            say(
                f"{mark} {what}：配方预期 {row.expected}，这次 {row.found}",
                f"{mark} {what}: the recipe expects {row.expected}, this run {row.found}",
            )
        )
    return shown
