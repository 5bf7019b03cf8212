"""How an index lies on disk: a folder with one file an array, and `index.json`, which says what they are.

Opening reads nothing but that: the arrays are memory maps, and come from the disk where a search looks. They
can be written to, which changes the memory and never the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from teachllm.stack.data.whole_folder import whole_folder

HEADER = "index.json"
FORMAT = 1


class SavedIndexError(Exception):
    """A folder holds no whole index of the kind that was asked for; the message says why and what to do."""


def save_index(folder: Path, kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an index; `folder` is what it was or all of it, even after a kill. `header` is JSON.

    An index that stands in `folder` is replaced. ValueError if anything else stands there.
    """
    if folder.exists() and not (folder / HEADER).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something that is no index; give another folder, or remove it")
    described = {name: {"dtype": array.dtype.name, "shape": array.shape} for name, array in arrays.items()}
    with whole_folder(folder) as draft:
        for name, array in arrays.items():
            np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tofile(draft / f"{name}.bin")
        text = json.dumps({"format": FORMAT, "kind": kind, **header, "arrays": described}, ensure_ascii=False)
        (draft / HEADER).write_text(text, "utf-8")


def open_index(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays, mapped. Raises `SavedIndexError`."""
    header = _read_header(folder, kind)
    try:
        arrays = {
            name: _map(folder / f"{name}.bin", np.dtype(one["dtype"]), tuple(one["shape"]))
            for name, one in header["arrays"].items()
        }
    except (KeyError, TypeError, AttributeError) as problem:
        raise SavedIndexError(f"{folder / HEADER} is damaged ({problem!r}). Build the index again.") from None
    return header, arrays


def _read_header(folder: Path, kind: str) -> dict[str, Any]:
    try:
        header = json.loads((folder / HEADER).read_bytes())
    except FileNotFoundError:
        what = "is not there" if not folder.exists() else f"has no {HEADER}"
        raise SavedIndexError(
            f"{folder} holds no index: it {what}. Give the folder of a saved one."
        ) from None
    except (OSError, ValueError) as problem:
        raise SavedIndexError(
            f"{folder / HEADER} cannot be read: {problem}. Build the index again."
        ) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        given = header.get("format") if isinstance(header, dict) else None
        raise SavedIndexError(f"{folder} has format {given}, not {FORMAT}. Build the index again.")
    if header.get("kind") != kind:
        raise SavedIndexError(f"{folder} holds an index of kind {header.get('kind')!r}, not {kind!r}.")
    return header


def _map(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    try:
        found = file.stat().st_size
    except OSError as problem:
        raise SavedIndexError(f"{file} cannot be read: {problem}. Build the index again.") from None
    if found != expected:
        raise SavedIndexError(
            f"{file} has {found:,} bytes instead of {expected:,}: it is cut off or another file. Build "
            "the index again."
        )
    if expected == 0:  # nothing can be mapped
        return np.empty(shape, dtype)
    # "c": a kernel compiled for arrays that can be written to need not be compiled again for these.
    return np.memmap(file, dtype=dtype.newbyteorder("<"), mode="c", shape=shape).view(np.ndarray)
