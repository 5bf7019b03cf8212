"""``teachllm doctor``: what is installed, what was chosen and why, what is missing and what to do."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from teachllm.school.device_words import device_and_reason
from teachllm.school.language import Both, Lang, terminal_language

State = Literal["fine", "note", "broken"]
"""``note``: the studio works without it; ``broken``: it does not."""

LEAST_PYTHON = (3, 11)
ENOUGH_DISK = 2e9
LITTLE_DISK = 200e6


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``advice`` says what to do about it."""

    state: State
    what: Both
    advice: tuple[Both, ...] = ()


def doctor(*, lang: Lang | None = None) -> int:
    """Say what is installed, which device is used, what is missing, and what to do about each problem.

    Exits with 1 if something without which the studio does not work is broken.

    Parameters
    ----------
    lang
        Language: zh or en. By default that of the terminal.
    """
    speak = lang or terminal_language()
    console = Console(highlight=False)
    findings = []
    for title, look in _PARTS:
        console.print(Text(title.get(speak), "bold"))
        for finding in _looked(look):
            _print(console, finding, speak)
            findings.append(finding)
    broken = sum(finding.state == "broken" for finding in findings)
    notes = sum(finding.state == "note" for finding in findings)
    console.print(_summary(broken, notes).get(speak))
    return 1 if broken else 0


def _looked(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A part that fails to look says so; the others are still looked at."""
    try:
        yield from look()
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        yield Finding("broken", Both(f"查不了：{what}", f"could not be looked at: {what}"))


def _print(console: Console, finding: Finding, lang: Lang) -> None:
    mark, colour = {"fine": ("✓", "green"), "note": ("!", "yellow"), "broken": ("✗", "red")}[finding.state]
    line = Text(f"{mark} ", colour)
    line.append(finding.what.get(lang), "" if finding.state == "fine" else colour)
    console.print(Padding(line, (0, 0, 0, 2)))
    for advice in finding.advice:
        console.print(Padding(Text(f"→ {advice.get(lang)}"), (0, 0, 0, 6)))


def _summary(broken: int, notes: int) -> Both:
    if broken:
        return Both(
            f"\n{broken} 个问题要先解决，工作室才能用。",
            f"\n{broken} problem{'s' * (broken != 1)} to solve before the studio works.",
        )
    if notes:
        return Both(
            f"\n可以用了；{notes} 处不完整，见上面的箭头。",
            f"\nReady; {notes} thing{'s' * (notes != 1)} not complete: see the arrows.",
        )
    return Both("\n一切正常。", "\nEverything is in order.")


def _python() -> Iterator[Finding]:
    found = platform.python_version()
    where = sys.prefix
    if sys.version_info[:2] < LEAST_PYTHON:
        yield Finding(
            "broken",
            Both(
                f"Python {found} 太旧，要 3.11 或更新", f"Python {found} is too old; 3.11 or later is needed"
            ),
            (Both("装一个新的 Python，再运行 make start", "Install a newer Python, then run make start"),),
        )
    else:
        system = f"{platform.system()} {platform.machine()}"
        yield Finding("fine", Both.same(f"Python {found}, {system}, {where}"))


def _packages() -> Iterator[Finding]:
    """Every package that TeachLLM requires: is it there, and is it the version that was tested?"""
    pinned = _pinned()
    names = sorted(_required())
    missing, other = [], []
    for name in names:
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if name in pinned and found.partition("+")[0] != pinned[name]:
            other.append(f"{name} {found} ({pinned[name]})")
    again = Both("重新安装：make start", "Install again: make start")
    if missing:
        listed = ", ".join(missing)
        yield Finding("broken", Both(f"没有安装：{listed}", f"not installed: {listed}"), (again,))
    if other:
        listed = ", ".join(other)
        yield Finding(
            "note",
            Both(
                f"版本和测试过的不同（括号里是测试过的）：{listed}",
                f"other versions than tested (in brackets): {listed}",
            ),
            (again,),
        )
    if not missing and not other:
        which = Both("，版本都是测试过的", ", in the tested versions") if pinned else Both("", "")
        yield Finding(
            "fine",
            Both(f"{len(names)} 个依赖包齐全{which.zh}", f"all {len(names)} packages are there{which.en}"),
        )


def _required() -> set[str]:
    """Names of the packages that the installed TeachLLM names; extras and other systems' are left out."""
    from packaging.requirements import Requirement

    found = map(Requirement, requires("teachllm") or [])
    return {one.name.lower() for one in found if one.marker is None or one.marker.evaluate({"extra": ""})}


def _pinned() -> dict[str, str]:
    """Versions by name from the checkout's ``constraints.txt``; empty in an installed wheel."""
    path = Path(__file__).resolve().parents[3] / "constraints.txt"
    if not path.is_file():
        return {}
    from packaging.requirements import Requirement

    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pins = [Requirement(line) for line in lines if line]
    return {
        pin.name.lower(): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


def _device() -> Iterator[Finding]:
    chosen, cores = device_and_reason(), os.cpu_count() or 1
    yield Finding("fine", Both(f"{chosen.zh}，{cores} 个处理器核", f"{chosen.en}, {cores} processor cores"))


def _assets() -> Iterator[Finding]:
    from teachllm.stack.data.assets import ASSETS, AssetDamaged, AssetMissing, asset

    for row in ASSETS.values():
        fetch = Both(f"teachllm assets fetch {row.name}", f"teachllm assets fetch {row.name}")
        size = f"{row.bytes / 1e6:.0f} MB"
        try:
            path = asset(row.name)
        except AssetDamaged as error:
            yield Finding("note", Both(f"{row.title}：文件坏了（{error}）", str(error)), (fetch,))
        except AssetMissing:
            yield Finding(
                "note",
                Both(
                    f"{row.title}（{size}）还没有；没有它，对话和部分图、实验不能用",
                    f"{row.title} ({size}) is not here; without it no chat, and some figures and labs fail",
                ),
                (fetch,),
            )
        else:
            yield Finding("fine", Both(f"{row.title}：完好，{path}", f"{row.title}: whole, {path}"))


def _isolation() -> Iterator[Finding]:
    from teachllm.school.runner import Runner

    with Runner(grades=1, labs=1) as runner:
        isolation = runner.isolation()
        failed = runner.not_imported()
    levels = {
        "full": Both("完整的隔离", "fully isolated"),
        "partial": Both("一部分隔离", "partly isolated"),
        "limits": Both("只限时限量", "only limited in time and size"),
    }
    level = levels[isolation.level]
    yield Finding(
        "fine" if isolation.level == "full" else "note",
        Both(f"你的代码在这台电脑上：{level.zh}", f"your code on this computer: {level.en}"),
        isolation.advice,
    )
    for detail in isolation.details:
        yield Finding("fine" if detail.en.startswith("✓") else "note", _unmarked(detail))
    for module, why in failed.items():
        yield Finding("note", Both(f"{module} 导入失败：{why}", f"{module} cannot be imported: {why}"))


def _unmarked(text: Both) -> Both:
    return Both(text.zh.lstrip("✓✗ "), text.en.lstrip("✓✗ "))


def _database() -> Iterator[Finding]:
    from teachllm.school.progress import DatabaseError, open_store

    try:
        with contextlib.closing(open_store()) as store:
            store.save_settings()  # takes the writer's lock: a database that only may be read is found out
            kind = "SQLite" if store.database.is_sqlite else "PostgreSQL"
            yield Finding("fine", Both(f"{kind}：{store.where}", f"{kind}: {store.where}"))
    except DatabaseError as error:
        yield Finding("broken", error.why)


def _course() -> Iterator[Finding]:
    from teachllm.school.course import load_course
    from teachllm.school.problem import CourseError

    try:
        course = load_course()
    except CourseError as error:
        yield Finding("broken", Both(error.get("zh"), error.get("en")))
        return
    there = sum(1 for _ in course.available())
    yield Finding(
        "fine",
        Both(
            f"{len(course.lessons)} 课，可以学的 {there} 课，{course.folder}",
            f"{len(course.lessons)} lessons, {there} of them there, {course.folder}",
        ),
    )


def _page() -> Iterator[Finding]:
    from teachllm.school.web.static_files import BundleMissing, manifest

    try:
        built = manifest()
    except BundleMissing as error:
        yield Finding(
            "broken",
            Both(
                f"网页的脚本和样式没有构建：{error}", f"the page's scripts and styles are not built: {error}"
            ),
        )
        return
    size = sum(entry["bytes"] for name, entry in built.items() if name != "preload")
    yield Finding(
        "fine",
        Both(
            f"脚本和样式已构建（{size / 1e3:.0f} kB）", f"scripts and styles are built ({size / 1e3:.0f} kB)"
        ),
    )


def _browser() -> Iterator[Finding]:
    """Only the tests need one that they can drive."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = os.environ.get("TEACHLLM_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path and Path(path).exists():
        yield Finding("fine", Both.same(path))
    else:
        yield Finding(
            "note",
            Both(
                "没有找到 Chromium：工作室不需要它，浏览器测试需要",
                "no Chromium: the browser tests need it, the studio does not",
            ),
            (
                Both(
                    "装一个，或者把 TEACHLLM_CHROMIUM 设为它的路径",
                    "Install one, or set TEACHLLM_CHROMIUM to its path",
                ),
            ),
        )


def _disk() -> Iterator[Finding]:
    from teachllm.school.progress import StoreError, learner_home
    from teachllm.stack.data.assets import asset_folder

    folders = [_existing(asset_folder())]
    with contextlib.suppress(StoreError):  # the progress part tells it
        folders.insert(0, learner_home())
    seen = set()
    for folder in folders:
        device = folder.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(folder).free
        state: State = "broken" if free < LITTLE_DISK else "note" if free < ENOUGH_DISK else "fine"
        advice = () if state == "fine" else (Both("腾出一些空间", "Free some space"),)
        yield Finding(
            state, Both(f"{folder} 剩余 {free / 1e9:.1f} GB", f"{free / 1e9:.1f} GB free at {folder}"), advice
        )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


_PARTS: tuple[tuple[Both, Callable[[], Iterator[Finding]]], ...] = (
    (Both("Python", "Python"), _python),
    (Both("依赖包", "Packages"), _packages),
    (Both("计算设备", "Device"), _device),
    (Both("模型和数据", "Models and data"), _assets),
    (Both("学习记录", "Progress"), _database),
    (Both("课程", "Course"), _course),
    (Both("网页", "Pages"), _page),
    (Both("运行你的代码", "Running your code"), _isolation),
    (Both("测试用的浏览器", "Browser for the tests"), _browser),
    (Both("磁盘", "Disk"), _disk),
)
