"""A data set comes from a hub once, whole and checked; a cut-off download goes on; errors say what to do."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from teachllm.stack.data.hub import HubDataset, HubError, hub_documents

DATASET = HubDataset("someone/stories", "data/train-")


def parquet(*texts: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": list(texts)}), buffer)
    return buffer.getvalue()


class Hub(BaseHTTPRequestHandler):
    """What the hub's two addresses answer."""

    files: dict[str, bytes]
    asked: list[tuple[str, str | None]]
    cut_off_after: int | None = None
    damage = b""

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range")))
        if self.path == "/api/datasets/someone/stories/tree/main/data":
            self.answer(
                json.dumps([self.entry(path, content) for path, content in self.files.items()]).encode()
            )
            return
        name = self.path.removeprefix("/datasets/someone/stories/resolve/main/")
        if name not in self.files:
            self.send_error(404)
            return
        content = self.damage or self.files[name]
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.answer(content[first:], 206 if first else 200, self.cut_off_after)

    def entry(self, path: str, content: bytes) -> dict[str, object]:
        oid = hashlib.sha256(content).hexdigest()
        return {"type": "file", "path": path, "size": len(content), "lfs": {"oid": oid}}

    def answer(self, content: bytes, status: int = 200, only: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:only])
        if only is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    class OwnHub(Hub):
        asked = []  # noqa: RUF012
        files = {  # noqa: RUF012
            "data/train-00001-of-00002.parquet": parquet("three"),
            "data/train-00000-of-00002.parquet": parquet("one", "two"),
            "data/validation.parquet": parquet("not this"),
            "data/train-notes.txt": b"nor this",
        }

    server = ThreadingHTTPServer(("127.0.0.1", 0), OwnHub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("TEACHLLM_ASSETS", str(tmp_path / "assets"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield OwnHub
    server.shutdown()
    server.server_close()
    thread.join()


def texts() -> list[str]:
    return [document.text for document in hub_documents(DATASET)]


def test_every_row_of_the_right_files_in_order(hub: type[Hub]) -> None:
    seen: list[tuple[str, int, int]] = []
    documents = list(hub_documents(DATASET, lambda *progress: seen.append(progress)))
    assert [document.text for document in documents] == ["one", "two", "three"]
    assert documents[1].source == "someone/stories/data/train-00000-of-00002.parquet:2"
    size = len(hub.files["data/train-00000-of-00002.parquet"])
    assert ("data/train-00000-of-00002.parquet", size, size) in seen


def test_a_file_comes_when_it_is_its_turn_and_only_once(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = hub_documents(DATASET)
    next(stream)
    assert len(hub.asked) == 2, "the list, and the first file"
    list(stream)
    n_asked = len(hub.asked)
    assert texts() == ["one", "two", "three"]
    assert len(hub.asked) == n_asked + 1, "the list"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert texts() == ["one", "two", "three"], "without a network, since all is here"


def test_part_of_a_data_set_is_not_taken_for_the_whole(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    next(hub_documents(DATASET))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        texts()


def test_a_cut_off_download_goes_on_where_it_was(hub: type[Hub]) -> None:
    hub.cut_off_after = 100
    with pytest.raises(HubError, match=r"cannot be downloaded .* is kept: try again"):
        texts()
    hub.cut_off_after = None
    assert texts() == ["one", "two", "three"]
    assert "bytes=100-" in [asked_range for _, asked_range in hub.asked]


def test_a_damaged_file_is_not_kept(hub: type[Hub], tmp_path: Path) -> None:
    whole = hub.files["data/train-00000-of-00002.parquet"]
    hub.damage = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(HubError, match="came damaged: its SHA-256 begins with"):
        texts()
    assert not list((tmp_path / "assets").rglob("*.part"))
    assert not list((tmp_path / "assets").rglob("*.parquet"))


def test_without_a_network_it_says_what_works(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        HubError, match=r"stories cannot be downloaded from http://127\.0\.0\.1:9: .*stdlib-docs"
    ):
        texts()


def test_what_the_hub_does_not_have(hub: type[Hub]) -> None:
    with pytest.raises(HubError, match=r"does not give someone/else \(HTTP 404\)"):
        list(hub_documents(HubDataset("someone/else", "data/train-")))
    with pytest.raises(HubError, match="no Parquet files at data/other-"):
        list(hub_documents(HubDataset("someone/stories", "data/other-")))
