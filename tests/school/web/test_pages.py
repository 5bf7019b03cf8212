"""The pages as HTML: what the scripts need, both languages, and nothing that a text could inject."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from teachllm.school.figures import FigureSpec
from teachllm.school.language import Both
from teachllm.school.lesson import render
from teachllm.school.web.pages import frame, home
from teachllm.school.web.pages.lesson import lesson_page
from teachllm.school.web.pages.things import things_of

KINDS = {
    "home": "/",
    "welcome": "/welcome",
    "lesson": "/lesson/1.1",
    "planned": "/lesson/1.2",
    "review": "/review",
    "cards": "/cards",
    "search": "/search?q=softmax",
    "plan": "/plan",
    "interview": "/interview",
    "map": "/map",
    "notes": "/notes",
    "chat": "/chat",
    "runs": "/runs",
    "settings": "/settings",
}
HOSTILE = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> \" ' & {{ 40961 * 2 }}"


class Elements(HTMLParser):
    """Every element with its attributes, and the text in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        names = {name.replace("_", "-").strip("-"): value for name, value in wanted.items()}
        return [
            attributes
            for found, attributes in self.found
            if found == tag and all(attributes.get(name) == value for name, value in names.items())
        ]

    def one(self, tag: str, **wanted: str) -> dict[str, str | None]:
        matches = self.all(tag, **wanted)
        assert len(matches) == 1, f"{len(matches)} × <{tag} {wanted}>"
        return matches[0]


@pytest.fixture(autouse=True)
def welcomed(page: httpx.Client) -> None:
    for name, value in {"welcomed": True, "lang": "en", "theme": "auto"}.items():
        page.post("/api/settings", json={name: value}).raise_for_status()


def get(page: httpx.Client, path: str, status: int = 200) -> str:
    response = page.get(path, follow_redirects=True)
    assert response.status_code == status, response.text[:2000]
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return response.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_page_has_what_the_scripts_need(page: httpx.Client, kind: str, lang: str) -> None:
    page.post("/api/settings", json={"lang": lang})
    page.post("/api/settings", json={"theme": "dark"})
    elements = Elements(get(page, KINDS[kind]))
    html = elements.one("html")
    assert (html["lang"], html["data-theme"]) == (lang, "dark")
    assert elements.one("body")["data-page"] == kind
    assert len(elements.all("h1")) == 1
    assert len(elements.all("main", id="main")) == 1
    if kind != "welcome":
        other = "zh" if lang == "en" else "en"
        links = [a["href"] for tag, a in elements.found if tag == "a" and "data-language-switch" in a]
        assert len(links) == 1
        assert f"lang={other}" in str(links[0])
        # The chat fills the screen and has no foot, where the shortcuts are.
        hooks = ["data-theme-switch", "data-search-open", *["data-shortcuts-open"] * (kind != "chat")]
        for hook in hooks:
            assert any(hook in attributes for _, attributes in elements.found), hook


@pytest.mark.parametrize("kind", KINDS)
def test_no_inline_script_style_or_handler(page: httpx.Client, kind: str) -> None:
    """The content security policy would refuse them."""
    elements = Elements(get(page, KINDS[kind]))
    for tag, attributes in elements.found:
        assert "style" not in attributes, (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert tag not in ("style", "base", "iframe", "object", "embed")
        if tag == "script" and "src" not in attributes:
            assert attributes.get("type") == "application/json"


@pytest.mark.parametrize("kind", KINDS)
def test_english_pages_are_english(page: httpx.Client, kind: str) -> None:
    """Chinese stands only where it is marked as Chinese, or in the JSON of the scripts."""
    html = get(page, KINDS[kind])
    html = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    html = re.sub(r'<(\w+)[^>]*\blang="zh"[^>]*>.*?</\1>', "", html, flags=re.S)
    html = html.replace("中文 / English", "").replace('placeholder="KV 缓存"', "")
    html = re.sub(r'data-title="[^"]*"', "", html)  # a term names itself in both languages
    assert re.findall(r"[^<>]*[\u4e00-\u9fff][^<>]*", html) == []


def test_templates_speak_both_languages() -> None:
    """In the templates Chinese stands only inside say("…", "…")."""
    for template in (Path(frame.__file__).parents[1] / "templates").glob("*.html"):
        text = re.sub(r"{#.*?#}", "", template.read_text("utf-8"), flags=re.S)
        rest = re.sub(r"say\((\"[^\"]*\"|'[^']*'), ?(\"[^\"]*\"|'[^']*')", "", text)
        rest = rest.replace("中文 / English", "").replace('("zh", "中文")', "")
        assert re.findall(r".*[\u4e00-\u9fff].*", rest) == [], template.name


def test_lesson_page_carries_what_the_learner_left(page: httpx.Client, studio: Any) -> None:
    store = studio.studio.store
    store.mark_read("1.1", "idea")
    store.set_bookmark("1.1", "code", True)
    store.save_position("1.1", "code")
    note = page.post(
        "/api/notes", json={"lesson": "1.1", "anchor": "idea", "quote": "Three", "text": "mine"}
    ).json()
    try:
        elements = Elements(get(page, "/lesson/1.1"))
        state = _state(get(page, "/lesson/1.1"))
        assert state["read"] == ["idea"]
        assert state["bookmarks"] == ["code"]
        assert [(one["anchor"], one["quote"], one["text"]) for one in state["notes"]] == [
            ("idea", "Three", "mine")
        ]
        assert set(state["six"]) == {"read", "moved", "ran", "wrote", "recalled", "asked"}
        assert 0 < state["six"]["read"] < 1
        things = [a["data-thing"] for tag, a in elements.found if tag == "li" and "data-thing" in a]
        assert things == ["read", "moved", "ran", "wrote", "recalled", "asked"]
        assert elements.one("li", data_thing="read")["class"] == "begun now"
        assert elements.one("body")["data-lesson"] == "1.1"
        assert elements.one("link", rel="next")["href"] == "/lesson/1.2"
    finally:
        page.delete(f"/api/notes/{note['id']}")


def test_contents_and_things_lead_to_places_that_exist(page: httpx.Client) -> None:
    elements = Elements(get(page, "/lesson/1.1"))
    ids = {attributes["id"] for _, attributes in elements.found if "id" in attributes}
    inside = [a["href"] for tag, a in elements.found if tag == "a" and str(a.get("href", "")).startswith("#")]
    assert len(inside) > 10
    assert {str(href)[1:] for href in inside} <= ids
    kinds = [a["data-island"] for _, a in elements.found if "data-island" in a]
    assert kinds == ["figure", "lab", "exercise", "cards"]


def test_all_labs_count_in_the_time_that_is_announced(studio: Any) -> None:
    lesson = render("1.1", "en")
    (lab,) = (island for island in lesson.islands if island.kind == "lab")
    lab = dataclasses.replace(lab, data={**lab.data, "seconds": 40.0})

    def announced(*islands: Any) -> Both | None:
        things = things_of(dataclasses.replace(lesson, islands=islands, template=""), cards=0)
        return next(thing.detail for thing in things if thing.name == "ran")

    assert announced() is None
    assert announced(lab) == Both("约 40 秒", "about 40 s")
    assert announced(lab, lab, lab) == Both("3 个，约 2 分钟", "3 labs, about 2 min")


def test_prediction_is_shown_again(page: httpx.Client) -> None:
    page.post("/api/figure/1.1/sharpness/predict", json={"answer": 0.5}).raise_for_status()
    html = get(page, "/lesson/1.1")
    figure = re.search(r'data-island="figure".*?<script type="application/json">(.*?)</script>', html, re.S)
    assert figure is not None
    predicted = json.loads(figure[1])["predicted"]
    assert predicted["given"] == 0.5
    assert predicted["right"] is False
    assert predicted["explain"].startswith("It is 0.87")


def test_prediction_is_judged_once_while_the_figure_is_unchanged(
    page: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judging may run a model: a page must not wait for it each time."""
    judged = []
    judge = FigureSpec.judge
    monkeypatch.setattr(FigureSpec, "judge", lambda *given: judged.append(given) or judge(*given))
    page.post("/api/figure/1.1/sharpness/predict", json={"answer": 0.375}).raise_for_status()
    for _ in range(3):
        assert '"given": 0.375' in get(page, "/lesson/1.1")
    assert len(judged) == 2  # for the answer, and for the page


def test_hostile_note_is_text(page: httpx.Client) -> None:
    made = page.post(
        "/api/notes", json={"lesson": "1.1", "anchor": "idea", "quote": HOSTILE, "text": HOSTILE}
    ).json()
    try:
        for path in ("/notes", "/lesson/1.1"):
            html = get(page, path)
            elements = Elements(html)
            assert "<img" not in html
            assert not any("onerror" in attributes for _, attributes in elements.found)
            assert not [text for text in elements.scripts if text.startswith("alert")]
            assert "81922" not in html
        assert _state(get(page, "/lesson/1.1"))["notes"][-1]["text"] == HOSTILE
    finally:
        page.delete(f"/api/notes/{made['id']}")


@pytest.mark.parametrize("path", ["/search?q=", "/lesson/", "/chat?context="])
def test_hostile_addresses_are_text(page: httpx.Client, path: str) -> None:
    answer = page.get(path + httpx.QueryParams({"q": HOSTILE}).get("q"), follow_redirects=True)
    assert "<script>alert" not in answer.text
    assert "<img" not in answer.text


def test_choosing_a_language_is_remembered_and_leaves_the_address(page: httpx.Client) -> None:
    answer = page.get("/search?q=softmax&lang=zh")
    assert (answer.status_code, answer.headers["location"]) == (303, "/search?q=softmax")
    assert Elements(get(page, "/notes")).one("html")["lang"] == "zh"
    assert page.get("/lesson/1.1?theme=dark").headers["location"] == "/lesson/1.1"
    assert Elements(get(page, "/notes")).one("html")["data-theme"] == "dark"
    page.get("/notes?theme=red", follow_redirects=True)
    assert Elements(get(page, "/notes")).one("html")["data-theme"] == "dark"


def test_choice_never_redirects_to_another_host(page: httpx.Client) -> None:
    for path in ("//evil.example/?lang=zh", "/%2F/evil.example/?lang=zh"):
        location = page.get(httpx.URL(str(page.base_url).rstrip("/") + path)).headers.get("location", "/")
        assert not location.startswith("//")
        assert "://" not in location


def test_first_visit_is_welcomed_once(page: httpx.Client, studio: Any) -> None:
    studio.studio.store.set_setting("welcomed", False)
    assert page.get("/").headers["location"] == "/welcome"
    assert page.get("/?welcomed=1").headers["location"] == "/"
    assert page.get("/").status_code == 200


def test_map_has_every_lesson_and_says_what_is_planned(page: httpx.Client) -> None:
    html = get(page, "/")
    assert html.count('href="/lesson/1.1"') >= 2
    assert html.count('href="/lesson/1.2"') == 2
    assert "1.2 Sampling, planned" in html


def test_planned_lesson_says_what_it_will_cover(page: httpx.Client) -> None:
    html = get(page, "/lesson/1.2")
    assert "Picking a token from probabilities." in html
    assert "0002 采样" in html
    assert 'href="/lesson/1.1"' in html


@pytest.mark.parametrize(
    ("path", "title"), [("/lesson/9.9", "There is nothing here"), ("/nowhere", "There is nothing")]
)
def test_what_is_not_there_gets_a_page(page: httpx.Client, path: str, title: str) -> None:
    html = get(page, path, status=404)
    assert Elements(html).one("body")["data-page"] == "error"
    assert title in html
    assert 'href="/"' in html


def test_broken_lesson_says_why_and_the_rest_works(
    page: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = tmp_path / "course"
    shutil.copytree(Path(__file__).resolve().parents[2] / "fixtures" / "course", course)
    text = course / "01-basics" / "01-temperature" / "lesson.en.md"
    text.write_text(text.read_text("utf-8").replace("figure sharpness", "figure <b>blunt</b>"), "utf-8")
    monkeypatch.setenv("TEACHLLM_COURSE", str(course))
    html = get(page, "/lesson/1.1", status=500)
    assert "figures.py has no figure &lt;b&gt;blunt&lt;/b&gt;" in html
    assert re.search(r"<code>01-basics/01-temperature/lesson.en.md:\d+</code>", html)
    assert str(tmp_path) not in html
    get(page, "/")
    page.post("/api/settings", json={"lang": "zh"})
    get(page, "/lesson/1.1")


def test_lesson_page_is_quick(page: httpx.Client, studio: Any) -> None:
    """The bar is a median of 30 ms on the server when warm; it takes about 7."""
    get(page, "/lesson/1.1")
    scope = {"type": "http", "method": "GET", "path": "/lesson/1.1", "query_string": b"", "headers": []}
    times = []
    for _ in range(15):
        request = Request({**scope, "app": studio.app, "state": {}})
        began = time.perf_counter()
        response = lesson_page(request, "1.1")
        times.append(time.perf_counter() - began)
        assert b"One by hand" in response.body
    assert statistics.median(times) < 0.03, sorted(times)


def test_pages_do_not_import_torch(tmp_path: Path) -> None:
    """Loading PyTorch takes seconds: home must not wait for it."""
    script = (
        "import sys\n"
        "import teachllm.school.web.pages\n"
        "heavy = {'torch', 'transformers', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert ran.returncode == 0, ran.stderr


def _state(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="lesson-state">(.*?)</script>', html, re.S)
    assert found is not None
    return json.loads(found[1])


def test_home_begins_the_lesson_and_nothing_waits_for_it(
    page: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    where: list[threading.Thread] = []

    def slow_render(lesson_id: str, *_: Any) -> None:
        where.append(threading.current_thread())
        begun.set()
        go_on.wait(30)

    monkeypatch.setattr(home, "render", slow_render)
    try:
        get(page, "/")
        assert begun.wait(10)
        get(page, "/settings")  # on the same connection
        assert where[0].daemon  # or the studio would not end before it
    finally:
        go_on.set()
