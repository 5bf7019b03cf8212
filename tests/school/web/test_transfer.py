"""The learner's data through the settings page: taken along, looked at, merged, brought back."""

from __future__ import annotations

import base64
from typing import Any

import httpx


def test_taken_along_merged_and_undone(page: httpx.Client, studio: Any) -> None:
    note = {"lesson": "1.1", "anchor": "opening", "quote": "", "text": "mine"}
    kept = page.post("/api/notes", json=note).json()["id"]
    exported = page.get("/api/transfer/export")
    assert exported.headers["content-disposition"].endswith('.teachllm"')
    file = base64.b64encode(exported.content).decode()
    page.delete(f"/api/notes/{kept}").raise_for_status()

    looked = page.post("/api/transfer/import", json={"file": file, "look": True}).json()
    assert looked == {"changes": [{"name": "notes", "added": 1, "changed": 0}], "backup": None}
    assert not studio.studio.store.notes()
    merged = page.post("/api/transfer/import", json={"file": file}).json()
    assert merged["changes"] == looked["changes"]
    assert [one.text for one in studio.studio.store.notes()] == ["mine"]
    page.post("/api/transfer/undo", json={"backup": merged["backup"]}).raise_for_status()
    assert not studio.studio.store.notes()

    assert page.post("/api/transfer/undo", json={"backup": "../progress.db"}).status_code == 404
    wrong = page.post("/api/transfer/import", json={"file": base64.b64encode(b"PK").decode()})
    assert wrong.status_code == 422
    assert "not a file that teachllm export wrote" in wrong.json()["error"]["message"]
    long = page.post("/api/transfer/import", json={"file": "a" * 2_000_000})
    assert long.status_code == 422, "a file may be larger than a request of a page"
