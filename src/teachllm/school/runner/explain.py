"""Verdicts in words: what an exception, an endless loop or a crash means, in both languages."""

from __future__ import annotations

import signal
from typing import Any

from teachllm.school.checks import LearnerError
from teachllm.school.language import Both
from teachllm.school.runner.implementation import LearnerGone

# Slips of programming: the check in which they happened says nothing about them.
_SLIPS = {
    "NotImplementedError": Both(
        "这里还没写完：把 raise NotImplementedError 换成你的代码。",
        "This is not written yet: replace raise NotImplementedError by your code.",
    ),
    "NameError": Both(
        "用到了一个没有定义的名字。检查拼写，或者是不是少了 import。",
        "A name is used that is not defined. Check its spelling, or whether an import is missing.",
    ),
    "UnboundLocalError": Both(
        "变量在赋值之前就被用到了。检查每个分支是不是都给它赋了值。",
        "A variable is used before it has a value. Check that every branch gives it one.",
    ),
    "RecursionError": Both(
        "函数一直在调用自己，没有停下来。检查递归的终止条件。",
        "The function keeps calling itself. Check the condition that ends the recursion.",
    ),
    "ImportError": Both(
        "import 失败了。检查模块名和要导入的名字。",
        "An import failed. Check the name of the module and of what you import.",
    ),
    "ModuleNotFoundError": Both(
        "要导入的模块不存在，或者没有安装。",
        "The module that you import does not exist or is not installed.",
    ),
    "SystemExit": Both(
        "你的代码想结束程序（exit）。函数应当返回结果。",
        "Your code tried to end the program (exit). A function should return its result.",
    ),
    "NotEncodable": Both(
        "返回值里有评分程序读不了的东西。请返回数、文字、列表、字典、数组或张量。",
        "What was returned holds something that the grader cannot read. "
        "Return numbers, text, lists, dicts, arrays or tensors.",
    ),
    "PermissionError": Both(
        "你的代码想做沙箱里不允许的事（网络、别的进程、别处的文件）。这道练习用不到它们。",
        "Your code tried what the sandbox forbids (network, processes, files elsewhere). "
        "The exercise needs none of it.",
    ),
}
_SIGNALS = {
    "SIGSEGV": Both("访问了非法内存（段错误）", "illegal memory access (segmentation fault)"),
    "SIGABRT": Both("程序自己中止了（abort）", "the program aborted"),
    "SIGFPE": Both("算术错误，比如整数除以零", "arithmetic error, such as integer division by zero"),
    "SIGKILL": Both(
        "被系统杀掉了，多半是内存或 CPU 时间用得太多", "killed by the system, mostly for memory or CPU time"
    ),
}


def explain_error(
    error: LearnerError, diagnosis: Both | None = None, *, while_loading: bool = False
) -> dict[str, Any]:
    """The learner's code raised; ``diagnosis`` is that of the check in which it did."""
    if error.kind == "SyntaxError":
        where = _at(error.line)
        text = Both(f"{where.zh}有语法错误：{error.text}", f"Syntax error{where.en}: {error.text}")
        return _verdict("syntax", text, Both.same(error.trace), error.line)
    text = _SLIPS.get(error.kind, diagnosis)
    if while_loading and error.kind == "NameError" and error.text.startswith("your code does not define"):
        name = error.text.split()[-1]
        text = Both(
            f"你的代码里没有定义函数 {name}。函数名要和题目里的一样。",
            f"Your code does not define the function {name}. Keep the name that the exercise gives.",
        )
    if text is None:
        where = _at(error.line)
        text = Both(f"{where.zh}出错了：{error}", f"Your code raised an error{where.en}: {error}")
    return _verdict("error", text, Both.same(error.trace or str(error)), error.line)


def explain_gone(gone: LearnerGone) -> dict[str, Any]:
    """The learner's process ended before the checks did."""
    where = _at(gone.line)
    if gone.ending == "timeout":
        text = Both(
            f"超过 {gone.detail} 秒还没有算完，已经停下。{_stopped(gone.line).zh}"
            "检查循环能不能结束，或者换一个更快的算法。",
            f"Stopped: it was not done after {gone.detail} seconds. {_stopped(gone.line).en}"
            "Check that your loops end, or use a faster algorithm.",
        )
        return _verdict("timeout", text, text, gone.line)
    if gone.ending == "memory":
        text = Both(
            f"{where.zh}内存用得太多，已经停下。检查中间结果的形状是不是比需要的大。",
            f"Stopped: too much memory{where.en}. "
            "Check whether an intermediate result is larger than it need be.",
        )
        return _verdict("memory", text, Both.same(gone.detail), gone.line)
    if gone.ending == "crashed":
        how = _signal(gone.detail)
        text = Both(
            f"{where.zh}你的代码让 Python 进程崩溃了：{how.zh}。",
            f"Your code crashed the Python process{where.en}: {how.en}.",
        )
        return _verdict("crashed", text, text, gone.line)
    if gone.ending == "malformed":
        text = Both(
            "你的代码破坏了返回结果的通道，结果无法读取。",
            "Your code broke the channel by which results are returned; they cannot be read.",
        )
        return _verdict("error", text, Both.same(gone.detail), gone.line)
    text = Both(
        f"你的代码自己结束了进程（退出码 {gone.detail or '0'}），没有返回结果。",
        f"Your code ended the process itself (exit code {gone.detail or '0'}) instead of returning a result.",
    )
    return _verdict("crashed", text, text, gone.line)


def _verdict(status: str, diagnosis: Both, message: Both, line: int | None) -> dict[str, Any]:
    texts = {
        "diagnosis": {"zh": diagnosis.zh, "en": diagnosis.en},
        "message": {"zh": message.zh, "en": message.en},
    }
    return {"status": status, **texts, "line": line}


def _at(line: int | None) -> Both:
    return Both(f"第 {line} 行", f" on line {line}") if line else Both("", "")


def _stopped(line: int | None) -> Both:
    return Both(f"停在第 {line} 行。", f"It was on line {line}. ") if line else Both("", "")


def _signal(number: str) -> Both:
    try:
        name = signal.Signals(int(number)).name
    except ValueError:
        return Both("原因不明", "the reason is not known")
    known = _SIGNALS.get(name)
    return Both(f"{known.zh}，{name}", f"{known.en}, {name}") if known else Both.same(name)
