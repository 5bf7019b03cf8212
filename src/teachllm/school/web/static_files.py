"""The bundled scripts, styles and fonts: compressed once, kept by the browser until they change."""

from __future__ import annotations

import gzip
import json
import mimetypes
import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.language import Both
from teachllm.school.web.refusals import Refusal

STATIC = Path(__file__).parent / "static"
BUILT = STATIC / "built"
router = APIRouter()

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_HASHED = re.compile(r"-[A-Z0-9]{8}\.[a-z0-9]+$")
_TEXT = {".js", ".css", ".json", ".svg", ".txt", ".html"}
_FOREVER = "private, max-age=31536000, immutable"
_ASK = "private, no-cache"


@dataclass(frozen=True)
class _Loaded:
    stamp: tuple[int, int]
    plain: bytes
    packed: bytes | None
    media_type: str


_lock = threading.Lock()
_loaded: dict[Path, _Loaded] = {}


@router.get("/static/{name:path}", include_in_schema=False)
@router.head("/static/{name:path}", include_in_schema=False)
def static_file(request: Request, name: str) -> Response:
    file = _load(name)
    if file is None:
        raise Refusal(404, Both(f"没有文件 {name}", f"there is no file {name}"))
    etag = f'"{file.stamp[0]:x}-{file.stamp[1]:x}"'
    lasting = bool(_HASHED.search(name)) or bool(request.query_params.get("v"))
    headers = {"cache-control": _FOREVER if lasting else _ASK, "etag": etag, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    content = file.plain
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content = file.packed
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=file.media_type, headers=headers)


def _load(name: str) -> _Loaded | None:
    """A file below ``static``; names that could lead out of it are no files."""
    if not _NAME.fullmatch(name) or ".." in name.split("/"):
        return None
    path = STATIC / name
    try:
        if not path.resolve().is_relative_to(STATIC.resolve()) or not path.is_file():
            return None
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        with _lock:
            known = _loaded.get(path)
        if known is not None and known.stamp == stamp:
            return known
        plain = path.read_bytes()
    except OSError:
        return None
    packed = gzip.compress(plain, 6, mtime=0) if path.suffix in _TEXT else None
    kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
    file = _Loaded(stamp, plain, packed, kind or "application/octet-stream")
    with _lock:
        _loaded[path] = file
    return file


class BundleMissing(RuntimeError):
    """The page's scripts have not been built."""


def manifest() -> dict[str, Any]:
    """``{"main.js": {"file", "hash", "bytes"}, "main.css": …, "preload": […]}`` of the bundle.

    Raises :class:`BundleMissing`.
    """
    path = BUILT / "manifest.json"
    try:
        return _manifest(path.stat().st_mtime_ns)
    except OSError:
        raise BundleMissing(
            f"the studio's scripts are not built ({path} is missing); `make start` builds them"
        ) from None


@lru_cache(maxsize=2)
def _manifest(_stamp: int) -> dict[str, Any]:
    return json.loads((BUILT / "manifest.json").read_text("utf-8"))
