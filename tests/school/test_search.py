"""Search: what a learner types leads to the place, in both languages, quickly, whatever is typed."""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from teachllm.school import search as school_search
from teachllm.school.course import load_course
from teachllm.school.glossary import Glossary, Term
from teachllm.school.language import Both, Lang
from teachllm.school.progress import Note
from teachllm.school.search import Hit, engine, search, search_whole
from teachllm.school.search.segment import words_at, words_in
from teachllm.school.search.snippet import snippet
from teachllm.school.search.terms import Vocabulary, runs
from teachllm.school.search.words import atoms, stem

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"


@pytest.fixture(autouse=True)
def own_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of the test's own; the one of the real course is made once for all of them."""
    monkeypatch.setattr(engine, "_engine", _real_course())


_made: list[engine._Engine] = []


def _real_course() -> engine._Engine:
    if not _made:
        _made.append(engine._Engine())
        _made[0].search("x", "en", 1, (), patience=120)
        _wait_for_threads()
    return _made[0]


def _wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name in ("search-index", "search-meaning"):
            thread.join(timeout=120)


def _place(hit: Hit) -> str:
    return f"{hit.kind} {hit.lesson_id or ''}#{hit.anchor or ''}"


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("query", ["KV 缓存", "KV缓存", "kv cache", "KV Cache", "kv-cache", "ＫＶ　缓存"])
def test_however_it_is_written_the_section_on_it_comes_first(query: str, lang: Lang) -> None:
    first = search(query, lang)[0]
    assert _place(first) == "lesson 1.2#cache"
    assert first.lang == lang
    assert first.address == "/lesson/1.2#cache"


@pytest.mark.parametrize(
    ("query", "lang", "places", "among"),
    [
        ("键值缓存", "zh", ["lesson 1.2#cache"], 3),
        ("除以 √d", "zh", ["lesson 1.2#scale"], 2),
        ("为什么要除以根号 d", "zh", ["card 1.2#card-1.2:why-scale", "lesson 1.2#scale"], 2),
        ("divide by sqrt d", "en", ["lesson 1.2#scale", "card 1.2#card-1.2:why-scale"], 6),
        ("scaled_dot_product_attention", "en", ["code 1.2#code-scaled_dot_product_attention"], 1),
        ("scaled dot prod", "zh", ["code 1.2#code-scaled_dot_product_attention"], 1),
        ("causal mask", "en", ["lesson 1.2#mask", "glossary 1.2#"], 6),
        ("因果掩码", "zh", ["lesson 1.2#mask", "glossary 1.2#"], 6),
        ("rope", "en", ["lesson 1.3#rope"], 1),
        ("旋转位置编码", "zh", ["lesson 1.3#rope"], 2),
        ("rotary position", "en", ["lesson 1.3#rope"], 6),
        ("DPO", "zh", ["lesson 3.4#", "lesson 3.8#"], 2),
        ("RLHF", "en", ["lesson 3.7#"], 2),
        ("caching", "en", ["lesson 1.2#cache"], 1),
        ("强化学习", "zh", ["lesson 3.14#"], 3),
        ("分词器", "zh", ["lesson 1.1#"], 4),
        ("tokenizer", "zh", ["lesson 1.1#"], 6),
        ("bpe merges", "en", ["code 1.1#code-train_bpe", "lesson 1.1#train"], 5),
        ("PagedAttention", "zh", ["lesson 8.3#"], 3),
        ("flash attention", "en", ["lesson 8.1#"], 3),
    ],
)
def test_what_is_asked_is_among_the_first(query: str, lang: Lang, places: list[str], among: int) -> None:
    found = [_place(hit) for hit in search(query, lang)[:among]]
    assert set(places) <= set(found), found


def test_every_beginning_of_a_word_finds_it() -> None:
    for end in range(4, len("attention") + 1):
        hits = search("self-attention"[:5] + "attention"[:end], "en", limit=8)
        assert any(hit.lesson_id == "1.2" for hit in hits), end
    assert search("缓", "zh"), "one character is a beginning too"


def test_a_place_comes_once_in_the_readers_language() -> None:
    hits = search("attention", "zh", limit=50)
    places = [(hit.kind, hit.lesson_id, hit.anchor, hit.title) for hit in hits]
    assert len(set(places)) == len(places)
    assert sum(hit.lang == "zh" for hit in hits) > len(hits) / 2


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_hit_leads_to_a_place_that_is_there(lang: Lang) -> None:
    from teachllm.school.lesson import read_document

    course = load_course()
    hits = [hit for query in ("attention", "位置", "merge", "kv") for hit in search(query, lang, limit=60)]
    assert {hit.kind for hit in hits} >= {"lesson", "card", "code", "glossary"}
    for hit in hits:
        assert hit.title
        assert hit.lesson_id is None or hit.lesson_id in course.lessons
        if hit.kind == "lesson" and hit.anchor:
            document = read_document(course.lesson(str(hit.lesson_id)).file(f"lesson.{lang}.md"), lang)
            assert hit.anchor in {section.anchor for section in document.sections}


def test_what_is_marked_is_data_and_what_was_asked() -> None:
    hit = next(hit for hit in search("softmax", "en") if hit.kind == "lesson")
    told = hit.to_json()
    assert set(told) == {
        "kind", "lang", "title", "section_title", "lesson_id", "url", "snippet"
    }  # fmt: skip
    assert all(isinstance(text, str) and isinstance(match, bool) for text, match in told["snippet"])
    marked = [text for text, match in hit.snippet if match]
    assert marked
    assert all("softmax" in text.casefold() for text in marked)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "   \n\t",
        "?!…，。",
        "\x00\ud800",
        "a" * 10_000,
        "缓存" * 5_000,
        "kv cache " * 2_000,
        "(((((" * 2_000,
        ".*+?^$[a-z]{1,99}\\",
        "<script>alert(1)</script>",
        "'; DROP TABLE notes; --",
        "§kv_cache",
        "\u202e\u2066 reversed",
        "🙂🙃 emoji",
        "zzzzqqqq 不存在的東西",
        "-1 1e999 NaN",
    ],
)
def test_whatever_is_typed_is_answered_quickly(query: str, lang: Lang) -> None:
    began = time.perf_counter()
    hits = search(query, lang)
    assert time.perf_counter() - began < 1.0
    assert len(hits) <= 20
    if not query.strip() or query == "a" * 10_000:
        assert hits == []
    for hit in hits:
        assert "<script" not in str(hit.to_json()) or "script" in query


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_snippets_show_formulas_and_marks_as_a_reader_sees_them(lang: Lang) -> None:
    shown = [
        "".join(text for text, _ in hit.snippet) + hit.title + hit.section_title
        for query in ("sqrt", "theta", "softmax", "缓存", "d_k", "score", "rotate")
        for hit in search(query, lang, limit=60)
        if hit.kind != "code"
    ]
    assert any("√d" in text for text in shown)
    assert any("θ" in text for text in shown)
    for text in shown:
        assert not any(mark in text for mark in ("$", "\\", "**", "`", "{term", "{value", "{lesson")), text


def test_a_greek_letter_is_its_name() -> None:
    places = [_place(hit) for hit in search("theta", "en", limit=5)]
    assert places
    assert [_place(hit) for hit in search("θ", "en", limit=5)] == places


def test_the_beginning_of_a_long_query_counts() -> None:
    assert _place(search("kv cache " * 2_000, "en")[0]) == "lesson 1.2#cache"


def _note(number: int, text: str, quote: str = "") -> Note:
    now = datetime.now(UTC)
    return Note(number, "1.2", "mask", quote, text, now, now)


def test_notes_are_found_along() -> None:
    notes = [_note(1, "把这里的鸭嘴兽记下来"), _note(2, "再看一遍", "platypus in the text"), _note(3, "别的")]
    assert [hit.title for hit in search("鸭嘴兽", "zh", notes=notes)] == ["把这里的鸭嘴兽记下来"]
    found = search("platypus", "zh", notes=notes)
    assert [(hit.kind, hit.title, hit.lesson_id, hit.anchor) for hit in found] == [
        ("note", "再看一遍", "1.2", "mask")
    ]
    assert search("platypus", "zh") == []


@pytest.fixture
def small_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "course"
    shutil.copytree(FIXTURE_COURSE, copy)
    monkeypatch.setenv("TEACHLLM_COURSE", str(copy))
    monkeypatch.setattr(engine, "_engine", engine._Engine())
    return copy


def test_the_first_search_does_not_wait_for_a_slow_index(
    small_course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the lessons takes ten seconds here: titles are found at once, texts when they are there."""
    go_on = threading.Event()
    texts = engine.texts

    def slow(course):  # type: ignore[no-untyped-def]
        go_on.wait(10)
        return texts(course)

    monkeypatch.setattr(engine, "texts", slow)
    began = time.perf_counter()
    hits = search("温度", "zh")
    assert time.perf_counter() - began < 1.0
    assert [hit.lesson_id for hit in hits if hit.kind == "lesson"] == ["1.1"]
    assert all(hit.anchor is None for hit in hits)
    go_on.set()
    assert any(hit.anchor for hit in search_whole("温度", "zh"))
    _wait_for_threads()


def test_a_changed_lesson_is_found_without_a_restart(
    small_course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOOK_AGAIN", 0.0)
    assert search_whole("platypus", "en") == []
    path = small_course / "01-basics" / "01-temperature" / "lesson.en.md"
    path.write_text(path.read_text("utf-8") + "\n\nA platypus appears.\n", encoding="utf-8")
    end = time.monotonic() + 30
    while not (hits := search("platypus", "en")) and time.monotonic() < end:
        time.sleep(0.02)
    assert [hit.lesson_id for hit in hits] == ["1.1"]
    _wait_for_threads()


def test_a_lesson_that_cannot_be_read_is_left_out(small_course: Path) -> None:
    path = small_course / "01-basics" / "01-temperature" / "lesson.en.md"
    path.write_bytes(b"\xff\xfe not text")
    hits = search_whole("temperature", "en")
    assert hits
    assert all(hit.lang == "zh" or hit.kind != "lesson" or hit.anchor is None for hit in hits)
    _wait_for_threads()


def test_many_searches_at_once(small_course: Path) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(search("温度", "zh")))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 12
    assert min(found) > 0
    _wait_for_threads()


def test_the_public_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_meaning", lambda entries, course, is_wanted: None)
    school_search.warm_up()
    _wait_for_threads()
    assert set(school_search.__all__) == {"KIND_NAMES", "Hit", "search", "search_whole", "stop", "warm_up"}


def test_jieba_itself_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would print, write to the shared temporary folder and warn; only its dictionary is read."""
    monkeypatch.delitem(sys.modules, "jieba", raising=False)  # other tests compare with it
    search("注意力机制", "zh")
    assert "jieba" not in sys.modules


# The parts


def test_atoms() -> None:
    def texts(text: str) -> list[str]:
        return [atom.text for atom in atoms(text)]

    assert texts("KVCache.update(k_new)") == ["kv", "cach", "updat", "k", "new"]
    assert texts("注意力 attention") == ["注", "意", "力", "attention"]
    assert texts("Ｆｕｌｌ Café 2.5") == ["full", "caf" if stem("cafe") == "caf" else "cafe", "2", "5"]
    assert texts("RoPE Llama3 GPT2 bf16") == ["ro", "pe", "llama3", "gpt2", "bf16"]
    assert atoms("getHTTPResponse")[0].whole == "gethttpresponse"
    assert texts("🙂 — \x00 \ud800") == []


@pytest.mark.parametrize("text", ["Ａｂｃ ﬁne İstanbul ß ½ ㍿", "普通 text", "e\u0301tude", "𝔘𝔫𝔦code"])
def test_every_atom_stands_where_it_says(text: str) -> None:
    for atom in atoms(text):
        assert 0 <= atom.start < atom.end <= len(text)
    for before, after in itertools.pairwise(atoms(text)):
        assert before.end <= after.start


@pytest.mark.parametrize(
    "words",
    [
        ("cache", "caches", "caching", "cached"),
        ("query", "queries"),
        ("merge", "merges", "merged", "merging"),
        ("token", "tokens"),
        ("mask", "masks", "masked", "masking"),
        ("loss", "losses"),
        ("box", "boxes"),
        ("batch", "batches", "batching"),
    ],
)
def test_forms_of_a_word_are_one(words: tuple[str, ...]) -> None:
    assert len({stem(word) for word in words}) == 1, [stem(word) for word in words]


@pytest.mark.parametrize(
    "pair", [("bias", "bia"), ("ring", "r"), ("need", "ne"), ("loss", "los"), ("axis", "axi")]
)
def test_words_that_only_look_like_forms_stay(pair: tuple[str, str]) -> None:
    assert stem(pair[0]) != pair[1]


def test_chinese_words_of_the_dictionary() -> None:
    known = words_in(["自注意力机制", "没有这样的词组嘛"])
    assert "注意力" in known
    assert words_at("自注意力", known) == [(1, 4)]
    assert list(runs(atoms("自注意力 and 缓存"))) == [(0, "自注意力"), (5, "缓存")]


def test_the_longest_name_of_a_concept_is_taken() -> None:
    def term(name: str, zh: str, en: str, *aliases: str) -> Term:
        return Term(name, Both(zh, en), Both("…", "…"), aliases)

    words = Vocabulary.of(
        Glossary(
            {
                "attention": term("attention", "注意力", "attention"),
                "self_attention": term("self_attention", "自注意力", "self-attention"),
                "kv_cache": term("kv_cache", "KV 缓存", "KV cache", "KVCache"),
            }
        )
    )

    def concepts(text: str) -> list[str]:
        return [one.text for one in words.terms(atoms(text)) if one.text.startswith("§")]

    assert concepts("自注意力") == ["§self_attention"]
    assert concepts("Self Attention, attention") == ["§self_attention", "§attention"]
    assert concepts("KVCache kvcache kv-cache KV缓存") == ["§kv_cache"] * 4
    assert concepts("KV, and then a cache") == []


def test_a_snippet_shows_the_place_with_the_most_matches() -> None:
    text = "alpha " + "filler " * 100 + "alpha beta gamma " + "filler " * 100
    parts = snippet(text, {"alpha", "beta", "gamma"}, Vocabulary(), "en")
    assert [part for part, match in parts if match] == ["alpha", "beta", "gamma"]
    assert parts[0] == ("…", False)
    assert parts[-1] == ("…", False)
    whole = "".join(part for part, _ in parts).strip("…")
    assert whole in text
    assert len(whole) <= 160
    assert snippet("short text", {"nothing"}, Vocabulary(), "en") == [("short text", False)]
    assert snippet("", {"x"}, Vocabulary(), "en") == []
