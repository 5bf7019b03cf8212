"""Data sets from the Hugging Face hub: listed, downloaded once, checked against the hub's hashes, streamed.

``HF_ENDPOINT`` names a mirror, ``HF_TOKEN`` an account, ``HF_HUB_OFFLINE=1`` forbids the network: the same as
for the hub's own tools. A download that was cut off is continued.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from teachllm.stack.data.assets import asset_folder
from teachllm.stack.data.documents import Document, read_parquet
from teachllm.stack.data.file_lock import file_lock

TIMEOUT = httpx.Timeout(30.0, connect=10.0)  # seconds; of one read, not of the whole file
OFFLINE_ONES = "a corpus that needs no network: stdlib-docs, stdlib-sources, course-zh, course-en"

Progress = Callable[[str, int, int], object]
"""Called with the file, the bytes of it that are here, and all its bytes; what it raises stops the work."""


@dataclass(frozen=True, slots=True)
class HubDataset:
    """The Parquet files of a data set whose paths begin with `prefix`."""

    repository: str
    prefix: str
    revision: str = "main"
    text_field: str = "text"


class HubError(Exception):
    """The data cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class HubFileFacts:
    """What the hub says of a file."""

    path: str
    bytes: int
    sha256: str | None
    """None for a small file, which the hub keeps in git."""


def hub_documents(dataset: HubDataset, on_progress: Progress | None = None) -> Iterator[Document]:
    """The rows of the data set, file by file, each downloaded when it is its turn. Raises `HubError`."""
    report = on_progress or (lambda file, done, total: None)
    for facts in list_files(dataset):
        path = download(dataset, facts, report)
        for row, document in enumerate(read_parquet(path, dataset.text_field), 1):
            yield Document(document.text, f"{dataset.repository}/{facts.path}:{row}")


def list_files(dataset: HubDataset) -> list[HubFileFacts]:
    """The data set's files, in order; without a network those that are here, if all are.

    Raises `HubError`.
    """
    folder = dataset.prefix.rpartition("/")[0]
    url = f"{_endpoint()}/api/datasets/{dataset.repository}/tree/{dataset.revision}/{folder}"
    try:
        answer = _ask(dataset, url)
    except HubError:
        if here := _files_here(dataset):
            return here
        raise
    files = [
        HubFileFacts(entry["path"], entry["size"], entry.get("lfs", {}).get("oid"))
        for entry in answer.json()
        if entry["type"] == "file"
        and entry["path"].startswith(dataset.prefix)
        and entry["path"].endswith(".parquet")
    ]
    if not files:
        raise HubError(
            f"{dataset.repository} has no Parquet files at {dataset.prefix}…: it has been changed. Download "
            "it by hand and give the path of its files as the corpus."
        )
    return sorted(files, key=lambda facts: facts.path)


def download(dataset: HubDataset, facts: HubFileFacts, report: Progress) -> Path:
    """The file, from the asset folder if it is there, else from the hub. It appears whole or not at all.

    Raises `HubError`.
    """
    path = _place(dataset, facts.path)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    url = f"{_endpoint()}/datasets/{dataset.repository}/resolve/{dataset.revision}/{facts.path}"
    part = path.with_suffix(".part")
    with file_lock(path.with_suffix(".lock"), lambda: report(facts.path, 0, facts.bytes)):
        if path.exists():  # another process was quicker
            return path
        _continue(dataset, url, part, facts, report)
        problem = _difference(part, facts)
        if problem:
            part.unlink(missing_ok=True)
            raise HubError(f"{facts.path} of {dataset.repository} came damaged: {problem}. Try again.")
        part.replace(path)
    return path


def _continue(dataset: HubDataset, url: str, part: Path, facts: HubFileFacts, report: Progress) -> None:
    """Download what `part` does not have yet."""
    done = part.stat().st_size if part.exists() else 0
    if done >= facts.bytes:
        return
    _check_online(dataset)
    headers = _headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        with (
            httpx.Client(timeout=TIMEOUT, follow_redirects=True, headers=headers) as client,
            client.stream("GET", url) as answer,
        ):
            _check_status(dataset, answer)
            is_rest = answer.status_code == httpx.codes.PARTIAL_CONTENT
            done = done if is_rest else 0
            with open(part, "ab" if is_rest else "wb") as file:
                for block in answer.iter_raw():
                    file.write(block)
                    done += len(block)
                    report(facts.path, done, facts.bytes)
    except httpx.HTTPError as problem:
        raise HubError(_unreachable(dataset, problem)) from None
    except OSError as problem:
        raise HubError(f"{part} cannot be written: {problem.strerror or problem}.") from None


def _difference(part: Path, facts: HubFileFacts) -> str | None:
    size = part.stat().st_size
    if size != facts.bytes:
        return f"{size:,} bytes instead of {facts.bytes:,}"
    if facts.sha256 is not None:
        with open(part, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != facts.sha256:
            return f"its SHA-256 begins with {found[:12]} instead of {facts.sha256[:12]}"
    return None


def _ask(dataset: HubDataset, url: str) -> httpx.Response:
    _check_online(dataset)
    try:
        answer = httpx.get(url, timeout=TIMEOUT, follow_redirects=True, headers=_headers())
    except httpx.HTTPError as problem:
        raise HubError(_unreachable(dataset, problem)) from None
    _check_status(dataset, answer)
    return answer


def _check_online(dataset: HubDataset) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise HubError(
            f"{dataset.repository} is not here, and HF_HUB_OFFLINE forbids to download it. Unset it, or use "
            f"{OFFLINE_ONES}."
        )


def _check_status(dataset: HubDataset, answer: httpx.Response) -> None:
    if answer.status_code in {401, 403, 404}:
        raise HubError(
            f"the hub does not give {dataset.repository} (HTTP {answer.status_code}): it was moved, or needs "
            "an account whose token is in HF_TOKEN."
        )
    if answer.is_error:
        raise HubError(
            f"the hub cannot give {dataset.repository} now (HTTP {answer.status_code}). Try again later."
        )


def _unreachable(dataset: HubDataset, problem: Exception) -> str:
    why = str(problem) or type(problem).__name__
    return (
        f"{dataset.repository} cannot be downloaded from {_endpoint()}: {why}. What has come is kept: "
        f"try again when there is a network. HF_ENDPOINT can name a mirror of the hub. Or use {OFFLINE_ONES}."
    )


def _files_here(dataset: HubDataset) -> list[HubFileFacts]:
    """Files of an earlier download; only if all of them came is nothing missing, which the names tell."""
    root = _place(dataset, "")
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.parquet"))
    wanted = [path for path in paths if path.startswith(dataset.prefix)]
    is_whole = wanted and all(f"-of-{len(wanted):05}" in path for path in wanted)
    return [HubFileFacts(path, (root / path).stat().st_size, None) for path in wanted] if is_whole else []


def _place(dataset: HubDataset, path: str) -> Path:
    return asset_folder() / "datasets" / dataset.repository.replace("/", "--") / dataset.revision / path


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _headers() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
