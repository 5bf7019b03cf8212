"""Hints on an exercise in three steps: where to look, a small case to try, nearly the line of thought.

The solution is not handed out before it is passed: it is in no prompt, and what a model wrote is compared
with it before anyone sees it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from teachllm.school.cards.plain import plain
from teachllm.school.course import Course
from teachllm.school.exercise import Exercise
from teachllm.school.language import Both, Lang
from teachllm.school.progress.practice import ExerciseState, Submission
from teachllm.school.runner.verdict import CheckResult
from teachllm.school.tutor.prompt import Border, Source, data_rule
from teachllm.stack.chat import Message

STEPS = 3
SAME_LINE = 0.8
MOST_OF_SOLUTION = 0.5
MOST_OF_DRAFT = 6000


@dataclass(frozen=True)
class Attempt:
    """What a learner has before them: the exercise, their draft, and what the last submission failed."""

    exercise: Exercise
    draft: str
    submission: Submission | None

    @property
    def failed(self) -> CheckResult | None:
        if self.submission is None or self.submission.passed:
            return None
        return next((one for one in self.submission.verdict.checks if one.passed is False), None)

    def diagnosis(self, lang: Lang) -> str:
        """What the checks say is wrong; empty before a submission."""
        if self.submission is None or self.submission.passed:
            return ""
        verdict = self.submission.verdict
        return (verdict.diagnosis or verdict.message).get(lang)


def attempt_of(exercise: Exercise, state: ExerciseState) -> Attempt:
    return Attempt(
        exercise, state.draft or exercise.stub, state.submissions[0] if state.submissions else None
    )


def question_of(attempt: Attempt, text: str, lang: Lang) -> str:
    """What to look up: the mistake, in its own words."""
    return f"{attempt.diagnosis(lang) or attempt.exercise.title.get(lang)} {text}".strip()


def hint_without_model(attempt: Attempt, step: int, lang: Lang, course: Course) -> str:
    """Made of what the checks say, of the docstring and of the hints that the lesson's author wrote."""
    failed, diagnosis = attempt.failed, attempt.diagnosis(lang)
    lines: list[str] = []
    if step == 1:
        lines.append(_LOOK.get(lang))
        lines.append(diagnosis or _NOT_YET.get(lang))
        if promise := _promise(attempt.exercise.stub):
            lines.append(_PROMISE.get(lang).format(text=promise))
    elif step == 2:
        lines.append(_TRY.get(lang))
        if failed is not None:
            lines.append(_CHECK.get(lang).format(name=failed.name))
            if failed.message:
                lines.append(f"```text\n{failed.message[:800]}\n```")
        else:
            lines.append(_SMALL.get(lang))
    else:
        hints = attempt.exercise.hints
        lines.append(_THINK.get(lang))
        lines += [f"{n}. {plain(hint.get(lang), lang, course)}" for n, hint in enumerate(hints, 1)]
        if not hints:
            lines.append(diagnosis or _SMALL.get(lang))
    return "\n\n".join(lines)


def hint_messages(
    attempt: Attempt, step: int, question: str, sources: Sequence[Source], lang: Lang
) -> list[Message]:
    """The stub is in it, the stack's own function is not."""
    border = Border()
    exercise, failed = attempt.exercise, attempt.failed
    quoted = [
        border.around("task", f"{exercise.title.get(lang)}\n{exercise.task.get(lang)}\n\n{exercise.stub}"),
        border.around("draft", attempt.draft[:MOST_OF_DRAFT]),
    ]
    if diagnosis := attempt.diagnosis(lang):
        name = f"{failed.name}: {failed.message[:800]}\n" if failed else ""
        quoted.append(border.around("check", f"{name}{diagnosis}"))
    quoted += [border.around("source", f"[{one.number}] {one.title}\n{one.text}") for one in sources]
    return [
        Message("system", f"{_RULES.get(lang)}\n{_STEPS[step - 1].get(lang)}\n{data_rule(border, lang)}"),
        Message("user", "\n\n".join([*quoted, f"{_ASKED.get(lang)}{question}"])),
    ]


def gives_away(answer: str, exercise: Exercise, draft: str = "") -> bool:
    """Whether at least half of the solution's lines that neither stub nor draft have stand in the answer.

    A line stands there if at least four in five of its tokens do, in one line: other names and other spaces
    hide nothing. Comments, docstrings and lines of fewer than four tokens do not count.
    """
    known = _lines(exercise.stub) + _lines(draft)
    wanted = [line for line in _lines(exercise.solution_source) if not any(_same(line, one) for one in known)]
    if not wanted:
        return False
    said = _lines(answer)
    given = sum(any(_same(line, one) for one in said) for line in wanted)
    return given / len(wanted) >= MOST_OF_SOLUTION


def _same(wanted: Counter[str], said: Counter[str]) -> bool:
    shared = sum((wanted & said).values())
    return shared >= SAME_LINE * wanted.total() and said.total() <= 2 * wanted.total()


def _lines(text: str) -> list[Counter[str]]:
    """The tokens of each line that says something, without comments and docstrings."""
    lines = []
    for line in _without_docstrings(text).splitlines():
        tokens = _tokens(line.strip().strip("`"))
        if len(tokens) >= 4:
            lines.append(Counter(tokens))
    return lines


def _without_docstrings(text: str) -> str:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # an answer is prose with code in it
        return re.sub(r'""".*?"""', "", text, flags=re.S)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            node.body = body[1:] or [ast.Pass()] if isinstance(body, list) else node.body
    return ast.unparse(tree)


def _tokens(line: str) -> list[str]:
    try:
        found = list(tokenize.generate_tokens(io.StringIO(line).readline))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return re.findall(r"\w+|[^\w\s]", line.partition("#")[0])
    skipped = (tokenize.COMMENT, tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER, tokenize.INDENT)
    return [one.string for one in found if one.type not in (*skipped, tokenize.DEDENT)]


def _promise(stub: str) -> str:
    """The first sentence of the docstring: what must be true of the result."""
    try:
        tree = ast.parse(stub)
    except SyntaxError:
        return ""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    words = ast.get_docstring(functions[-1]) if functions else None
    return " ".join((words or "").partition("\n\n")[0].split())


_RULES = Both(
    "你是 TeachLLM 的助教，学生在做一道编程练习。用中文，不超过五句话。"
    "绝不写出解答：不写完整的函数，不写能直接抄的关键代码行。优先说不变量和该试的小例子。"
    "用到课程片段就标编号，如 [1]。",
    "You are the tutor of TeachLLM; the student works on a programming exercise. Write English, at most five "
    "sentences. Never write the solution: no whole function, no line of code to be copied as its core. "
    "Prefer invariants and small cases to try. Cite pieces of the course by number, as [1].",
)
_STEPS = (
    Both(
        "现在只给第一步提示：该看哪一处，那里什么必须成立。",
        "Give only the first hint now: where to look, and what must hold there.",
    ),
    Both(
        "现在只给第二步提示：一个能手算的小例子或测试，让他自己看出错在哪。",
        "Give only the second hint now: a small case or test, done by hand, that shows what is wrong.",
    ),
    Both(
        "现在给第三步提示：用话讲出思路，几乎到那一行，但不写代码。",
        "Give the third hint now: the line of thought in words, nearly to that line, without code.",
    ),
)
_ASKED = Both("学生问：", "The student asks: ")
_LOOK = Both("**第 1 步：看哪里。**", "**Step 1: where to look.**")
_TRY = Both("**第 2 步：试一个小例子。**", "**Step 2: try a small case.**")
_THINK = Both("**第 3 步：思路。**", "**Step 3: the line of thought.**")
_NOT_YET = Both(
    "还没有提交过。先按题目写一版交上去，检查会说出第一处错误。",
    "Nothing has been submitted yet. Write a version and submit it: the checks name the first mistake.",
)
_PROMISE = Both("这个函数的承诺是：{text}", "What the function promises: {text}")
_CHECK = Both(
    "没有通过的检查是 `{name}`。把它说的情形缩到最小，两三个数就够，在纸上算出结果，再和你的函数比。",
    "The check that fails is `{name}`. Shrink its case to two or three numbers, work out the result on "
    "paper, then compare it with what your function gives.",
)
_SMALL = Both(
    "取最小的输入，两三个数就够，在纸上算出结果，再和你的函数比。",
    "Take the smallest input, two or three numbers, work out the result on paper, then compare it with what "
    "your function gives.",
)
