"""The page of all cards: found by what they are, an own one, files out and in."""

from __future__ import annotations

import base64

import httpx


def test_own_cards_go_out_and_come_in_and_are_found(page: httpx.Client) -> None:
    added = page.post("/api/own-cards", json={"question": "<b>why</b> zebra?", "answer": "$x$"}).json()["id"]
    html = page.get("/cards?q=zebra&state=own").text
    assert f'data-card="{added}"' in html
    assert "&lt;b&gt;why&lt;/b&gt;" in html
    assert "<b>why" not in html
    assert f'data-card="{added}"' not in page.get("/cards?q=zebra&state=aside").text
    page.post(f"/api/cards/{added}/aside", json={"state": "suspended"}).raise_for_status()
    assert f'data-card="{added}"' in page.get("/cards?q=zebra&state=aside").text

    anki, table = page.get("/api/card-files/anki"), page.get("/api/card-files/table")
    assert anki.headers["content-disposition"].endswith('"teachllm.apkg"')
    same = {"added": 0, "changed": 0, "same": 1, "unsuitable": 0}
    for name, data in (("a.apkg", anki.content), ("a.csv", table.content)):
        carried = {"name": name, "file": base64.b64encode(data).decode()}
        brought = page.post("/api/card-files/import", json=carried).json()
        assert brought.items() >= same.items(), name
    refused = page.post("/api/card-files/import", json={"name": "a.apkg", "file": "AAAA"})
    assert refused.status_code == 422
    assert page.get("/api/cards/media/..%2Fprogress.db").status_code == 404
    page.delete(f"/api/own-cards/{added}").raise_for_status()
    assert f'data-card="{added}"' not in page.get("/cards").text
