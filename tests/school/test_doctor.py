"""teachllm doctor: it looks at the real machine, and says what to do about each problem."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from teachllm.school import doctor as module
from teachllm.school.doctor import Finding, doctor
from teachllm.stack.nn.device import choose_device


def _of(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    return list(module._looked(look))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the part that starts processes: it has a test of its own."""
    parts = tuple(part for part in module._PARTS if part[1] is not module._isolation)
    monkeypatch.setattr(module, "_PARTS", parts)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("lang", "words"), [("zh", ("计算设备", "学习记录")), ("en", ("Device", "Progress"))]
)
def test_a_healthy_checkout(lang: Any, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor(lang=lang)
    told = capsys.readouterr().out
    assert code == 0, told
    for word in words:
        assert word in told
    assert "torch" not in told.split("\n")[1]
    assert "float" in told, "which dtype was chosen"
    assert "99" in told


def test_isolation_is_that_of_the_runner() -> None:
    from teachllm.school.runner import Runner

    with Runner(grades=1, labs=1) as runner:
        real = runner.isolation()
    found = _of(module._isolation)
    assert found[0].state == ("fine" if real.level == "full" else "note")
    assert found[0].advice == real.advice
    assert len(found) >= 1 + len(real.details)
    assert sum(one.state == "note" for one in found[1 : 1 + len(real.details)]) == len(real.advice)


@pytest.mark.usefixtures("quick")
def test_a_broken_database_is_essential(learner_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (learner_home / "progress.db").write_bytes(b"not a database" * 999)
    assert doctor(lang="en") == 1
    told = capsys.readouterr().out
    assert "✗" in told
    assert "1 problem to solve" in told
    assert "kept as it" in told.replace("\n", " ")


def test_the_database_is_the_learners(learner_home: Path) -> None:
    (found,) = _of(module._database)
    assert found.state == "fine"
    assert str(learner_home) in found.what.en


def test_a_missing_package_and_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    real = module.version

    def version(name: str) -> str:
        if name == "fsrs":
            raise PackageNotFoundError(name)
        return "0.0.1" if name == "rich" else real(name)

    monkeypatch.setattr(module, "version", version)
    found = {one.state: one for one in _of(module._packages)}
    assert found["broken"].what.en == "not installed: fsrs"
    assert "rich 0.0.1 (" in found["note"].what.en
    assert all(one.advice for one in found.values())


def test_versions_are_compared_for_this_python() -> None:
    pinned = module._pinned()
    assert pinned["fsrs"] == module.version("fsrs")
    assert all(not set(pin) & set("<>=!~;") for pin in pinned.values())


def test_assets_missing_cut_off_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from teachllm.stack.data.assets import ASSETS

    folder = tmp_path / "assets"
    monkeypatch.setenv("TEACHLLM_ASSETS", str(folder))
    found = _of(module._assets)
    assert [one.state for one in found] == ["note"] * len(ASSETS)
    assert found[0].advice[0].en == f"teachllm assets fetch {next(iter(ASSETS))}"
    folder.mkdir()
    row = next(iter(ASSETS.values()))
    (folder / row.file).write_bytes(b"short")
    assert "cut off" in _of(module._assets)[0].what.en


def test_a_part_that_fails_does_not_stop_the_others() -> None:
    def fails() -> Iterator[Finding]:
        yield Finding("fine", module.Both("好", "well"))
        raise OSError("the disk is gone")

    found = _of(fails)
    assert [one.state for one in found] == ["fine", "broken"]
    assert "OSError: the disk is gone" in found[1].what.en


def test_little_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(Path.cwd())
    for free, state in ((50e9, "fine"), (1e9, "note"), (1e6, "broken")):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _, free=free: usage._replace(free=int(free)))
        found = _of(module._disk)
        assert {one.state for one in found} == {state}
        assert all(bool(one.advice) == (state != "fine") for one in found)


def test_no_browser_and_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TEACHLLM_CHROMIUM", raising=False)
    (browser,) = _of(module._browser)
    assert browser.state == "note"
    assert "TEACHLLM_CHROMIUM" in browser.advice[0].en
    monkeypatch.setattr("teachllm.school.web.static_files.BUILT", tmp_path / "nothing")
    (page,) = _of(module._page)
    assert page.state == "broken"


def test_a_course_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "course.yaml").write_text("chapters: 3\n", encoding="utf-8")
    monkeypatch.setenv("TEACHLLM_COURSE", str(tmp_path))
    (found,) = _of(module._course)
    assert found.state == "broken"
    assert "course.yaml:1" in found.what.en


def test_a_home_that_cannot_be_made_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TEACHLLM_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.delenv("TEACHLLM_DATABASE", raising=False)
    (told,) = _of(module._database)
    assert told.state == "broken"
    assert [one.state for one in _of(module._disk)] != []
    assert "looked at" not in " ".join(one.what.en for one in _of(module._disk))


def test_the_reason_for_the_device_is_told_in_chinese() -> None:
    (device,) = _of(module._device)
    assert choose_device().reason in device.what.en
    assert not re.search("[A-Za-z]{4,} [a-z]", device.what.zh), device.what.zh
