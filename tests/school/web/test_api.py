"""The API on a whole studio: what the page's scripts send and get, what is refused and how it is said."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest

STUB_SOLUTION = """
import math
def number(value):
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("no number")
    return value if math.isfinite(value) else None
"""


def error_of(response: httpx.Response) -> str:
    message = response.json()["error"]["message"]
    assert "Traceback" not in response.text
    assert 'File "' not in response.text
    return message


def test_progress_is_kept_and_counted(page: httpx.Client) -> None:
    assert page.post("/api/progress/read", json={"lesson": "1.1", "anchor": "idea"}).status_code == 200
    assert page.post("/api/progress/position", json={"lesson": "1.1", "anchor": "code"}).status_code == 200
    six = page.get("/api/progress/1.1").json()
    assert set(six) == {"read", "moved", "ran", "wrote", "recalled", "asked"}
    assert 0 < six["read"] < 1
    assert all(0 <= share <= 1 for share in six.values())


def test_notes_and_bookmarks(page: httpx.Client, studio: Any) -> None:
    note = {"lesson": "1.1", "anchor": "idea", "quote": "softmax", "text": "  为什么？ "}
    made = page.post("/api/notes", json=note).json()["id"]
    assert page.put(f"/api/notes/{made}", json={"text": "because"}).status_code == 200
    store = studio.studio.store
    assert [(kept.text, kept.quote) for kept in store.notes("1.1")] == [("because", "softmax")]
    assert page.delete(f"/api/notes/{made}").status_code == 200
    assert page.delete(f"/api/notes/{made}").status_code == 404
    assert page.put(f"/api/notes/{made}", json={"text": "x"}).status_code == 404
    assert page.post("/api/notes", json={**note, "text": "   "}).status_code == 422
    for on in (True, True, False, False):
        answer = page.post("/api/bookmarks", json={"lesson": "1.1", "anchor": "idea", "on": on})
        assert answer.json() == {"on": on}
        assert [mark.anchor for mark in store.bookmarks("1.1")] == (["idea"] if on else [])


def test_figure_moves_and_counts_as_moved(page: httpx.Client) -> None:
    path = "/api/figure/1.1/sharpness"
    default = page.post(path, json={"args": {"temperature": 1.0}}).json()
    assert default["charts"][0]["kind"] == "bars"
    assert page.get("/api/progress/1.1").json()["moved"] == 0
    sharp = page.post(path, json={"args": {"temperature": 0.5}}).json()
    assert sharp["charts"][0] != default["charts"][0]
    assert page.get("/api/progress/1.1").json()["moved"] == 1


@pytest.mark.parametrize(("lang", "said"), [("zh", "温度"), ("en", "temperature")])
def test_wrong_values_of_controls_are_explained(studio: Any, lang: str, said: str) -> None:
    with studio.client() as page:
        path = f"/api/figure/1.1/sharpness?lang={lang}"
        for value in (99, "hot", None, True):
            answer = page.post(path, json={"args": {"temperature": value}})
            assert answer.status_code == 422
            assert said in error_of(answer)
        assert page.post(path, json={"args": {"warmth": 1}}).status_code == 422


def test_prediction_is_judged_and_kept(page: httpx.Client, studio: Any) -> None:
    path = "/api/figure/1.1/sharpness/predict"
    judged = page.post(path, json={"answer": 0.86}).json()
    assert judged["right"]
    assert judged["given"] == 0.86
    assert judged["answer"] == pytest.approx(0.8668, abs=1e-3)
    assert studio.studio.store.predictions("1.1") == {"sharpness": {"given": 0.86, "right": True}}
    assert page.post(path, json={"answer": "much"}).status_code == 422
    assert page.post(path, json={"answer": 7}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/figure/9.9/sharpness"),
        ("POST", "/api/figure/1.2/sharpness"),
        ("POST", "/api/figure/1.1/none"),
        ("POST", "/api/figure/1.1/none/predict"),
        ("POST", "/api/lab/9.9/sample_many"),
        ("POST", "/api/lab/1.1/none"),
        ("GET", "/api/lab/9.9/sample_many/last"),
        ("GET", "/api/lab/run/none/events"),
        ("POST", "/api/lab/run/none/cancel"),
        ("GET", "/api/exercise/9.9"),
        ("GET", "/api/exercise/1.2"),
        ("GET", "/api/exercise/1.1/hint/7"),
        ("GET", "/api/exercise/1.1/hint/-1"),
        ("GET", "/api/cards/9.9"),
        ("POST", "/api/review/1.1:none"),
        ("GET", "/api/review/next?lesson=9.9"),
        ("GET", "/api/progress/9.9"),
        ("GET", "/api/chat/threads/999"),
        ("DELETE", "/api/chat/threads/999"),
        ("GET", "/api/nothing"),
    ],
)
def test_what_is_not_there_is_404_in_words(page: httpx.Client, method: str, path: str) -> None:
    bodies = {"predict": {"answer": 1}, "review": {"rating": 3, "reviews": 0}}
    body = next((value for name, value in bodies.items() if name in path), {})
    answer = page.request(method, path, json=body if method == "POST" else None)
    assert answer.status_code == 404
    assert error_of(answer)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/progress/read", {"lesson": "1.1"}),
        ("/api/progress/read", {"lesson": "1.1", "anchor": ""}),
        ("/api/progress/read", {"lesson": "1.1", "anchor": "a" * 300}),
        ("/api/progress/read", []),
        ("/api/bookmarks", {"lesson": "1.1", "anchor": "idea", "on": "maybe"}),
        ("/api/settings", {"theme": "pink"}),
        ("/api/settings", {"nothing": 1}),
        ("/api/settings", {"new_cards_per_day": -1}),
        ("/api/chat", {"text": "   "}),
        ("/api/chat", {"text": "x" * 5000}),
        ("/api/exercise/1.1/submit", {}),
        ("/api/exercise/1.1/submit", {"source": "x" * 100_001}),
    ],
)
def test_wrong_bodies_are_422_in_words(page: httpx.Client, path: str, body: Any) -> None:
    answer = page.post(path, json=body)
    assert answer.status_code == 422
    assert error_of(answer)


def test_body_that_is_no_json(page: httpx.Client) -> None:
    answer = page.post("/api/notes", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert error_of(answer)


def test_huge_bodies_are_refused(page: httpx.Client) -> None:
    huge = {"source": "x" * 1_100_000}
    answer = page.put("/api/exercise/1.1/draft", json=huge)
    assert answer.status_code == 413
    assert error_of(answer)

    def pieces():
        for _ in range(30):
            yield b"x" * 50_000

    answer = page.put(
        "/api/exercise/1.1/draft", content=pieces(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def test_settings(page: httpx.Client) -> None:
    assert page.post("/api/settings", json={"theme": "dark", "lang": "zh"}).json()["theme"] == "dark"
    assert page.get("/api/settings").json()["lang"] == "zh"
    assert "没有" in error_of(page.get("/api/progress/9.9"))
    page.post("/api/settings", json={"theme": "auto", "lang": "en"})
    assert "no such" in error_of(page.get("/api/progress/9.9")).lower()


def test_language_of_the_address_is_remembered(page: httpx.Client) -> None:
    page.get("/api/exercise/1.1?lang=zh")
    assert page.get("/api/settings").json()["lang"] == "zh"
    page.get("/api/exercise/1.1?lang=fr")
    assert page.get("/api/settings").json()["lang"] == "zh"
    page.get("/api/exercise/1.1?lang=en")


def test_cards_come_back(page: httpx.Client) -> None:
    before = page.get("/api/cards/1.1").json()
    assert len(before["cards"]) == 7
    assert not before["learning"]
    assert page.get("/api/review/next").json()["card"] is None
    assert page.post("/api/cards/1.1/learn", json={}).json() == {"added": 7}
    assert page.get("/api/cards/1.1").json()["learning"]
    first = page.get("/api/review/next?lesson=1.1").json()
    assert first["left"] == 7
    assert first["card"]["reviews"] == 0
    assert "<p>" in first["card"]["question_html"]
    assert len(first["intervals"]) == 4
    assert first["intervals"] == sorted(first["intervals"])
    card = first["card"]["id"]
    assert page.post(f"/api/review/{card}", json={"rating": 9, "reviews": 0}).status_code == 422
    assert page.post(f"/api/review/{card}", json={"rating": 4}).status_code == 422
    assert page.post(f"/api/review/{card}", json={"rating": 4, "reviews": 0}).status_code == 200
    assert page.post(f"/api/review/{card}", json={"rating": 4, "reviews": 1}).status_code == 409  # not due
    second = page.get("/api/review/next").json()
    assert second["card"]["id"] != card
    assert second["left"] == 6
    assert page.post("/api/review/undo", json={}).json() == {"card": card}
    assert page.get("/api/review/next").json()["left"] == 7
    # It is due again, but a window that still shows it as answered once is behind.
    stale = page.post(f"/api/review/{card}", json={"rating": 4, "reviews": 1})
    assert stale.status_code == 409
    assert "another window" in error_of(stale)
    assert page.get("/api/review/next").json()["left"] == 7
    assert page.post("/api/review/undo", json={}).json() == {"card": None}


def test_search_finds_lessons_and_own_notes(page: httpx.Client) -> None:
    hits = page.get("/api/search", params={"q": "softmax"}).json()["hits"]
    assert hits[0]["lesson_id"] == "1.1"
    assert [text for text, is_match in hits[0]["snippet"] if is_match]
    note = {"lesson": "1.1", "anchor": "idea", "quote": "", "text": "zebracorn"}
    made = page.post("/api/notes", json=note).json()["id"]
    (hit,) = page.get("/api/search", params={"q": "zebracorn"}).json()["hits"]
    assert (hit["kind"], hit["url"]) == ("note", "/lesson/1.1#idea")
    page.delete(f"/api/notes/{made}")
    assert page.get("/api/search", params={"q": "zebracorn"}).json()["hits"] == []
    assert page.get("/api/search").json()["hits"] == []
    assert page.get("/api/search", params={"q": "x" * 300}).status_code == 422


def test_static_files_are_packed_and_kept(page: httpx.Client, studio: Any) -> None:
    from teachllm.school.web.static_files import BUILT

    if not BUILT.exists():
        pytest.skip("the page's scripts are not built (make start builds them)")
    plain = page.get("/static/built/main.css", headers={"accept-encoding": "identity"})
    assert plain.headers["content-type"].startswith("text/css")
    assert plain.headers["cache-control"] == "private, no-cache"
    packed = page.get("/static/built/main.css?v=1", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "immutable" in packed.headers["cache-control"]
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(gzip.compress(plain.content)) * 1.1
    again = page.get("/static/built/main.css", headers={"if-none-match": plain.headers["etag"]})
    assert again.status_code == 304
    assert page.head("/static/built/manifest.json").status_code == 200
    font = next((BUILT / "fonts").iterdir()).name
    answer = page.get(f"/static/built/fonts/{font}")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"] == "font/woff2"
    script = page.get("/static/built/main.js")
    assert script.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    [
        "../security.py",
        "built/../../security.py",
        "built/%2e%2e/%2e%2e/security.py",
        "%2e%2e/security.py",
        "..%2fsecurity.py",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "built/main.js%00.css",
        "built\\..\\..\\security.py",
        ".hidden",
        "built",
        "",
    ],
)
def test_nothing_outside_of_the_static_folder(studio: Any, path: str) -> None:
    import socket

    host, port = studio.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        lines = [
            f"GET /static/{path} HTTP/1.1",
            f"Host: {host}:{port}",
            f"Cookie: {studio.cookie}",
            "Sec-Fetch-Site: same-origin",
            "Connection: close",
        ]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    status = answer.split(b" ", 2)[1]
    assert status in (b"404", b"400")
    assert b"class Gate" not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_no_description_of_the_api_is_served(page: httpx.Client, path: str) -> None:
    assert page.get(path).status_code == 404


def test_failure_is_told_without_a_traceback(
    page: httpx.Client, studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(studio.studio.store, "set_bookmark", fails)
    answer = page.post("/api/bookmarks", json={"lesson": "1.1", "anchor": "idea", "on": True})
    assert answer.status_code == 500
    assert "terminal" in error_of(answer)
    assert "secret" not in answer.text


def test_broken_figure_says_what_failed(page: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from teachllm.school.lesson import load_lesson

    module = load_lesson("1.1").module

    def fails(temperature: float) -> None:
        raise ZeroDivisionError(f"no temperature {temperature}")

    monkeypatch.setattr(module, "probabilities", fails)
    answer = page.post("/api/figure/1.1/sharpness", json={"args": {"temperature": 0.7}})
    assert answer.status_code == 500
    assert "ZeroDivisionError: no temperature 0.7" in error_of(answer)
