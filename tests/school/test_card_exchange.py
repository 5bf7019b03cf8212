"""Cards to Anki and back, into tables and back, each opened by the real Anki or read as a stranger's."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teachllm.school.cards import OwnCard
from teachllm.school.cards.exchange import (
    UnreadablePackage,
    UnreadableTable,
    anki_package,
    bring_in,
    cards_of_package,
    cards_of_table,
    media_folder,
    package,
    read_package,
    table_of,
)
from teachllm.school.cards.exchange.markup import markdown_of
from teachllm.school.cards.own_text import own_html
from teachllm.school.progress import Store, open_store

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[Store]:
    store = open_store()
    yield store
    store.close()


def _bring(store: Store, data: bytes, *, look: bool = False) -> tuple[int, int, int, int]:
    cards, unsuitable = cards_of_package(read_package(data), keep_pictures=not look)
    brought = bring_in(store, cards, unsuitable, look=look)
    return brought.added, brought.changed, brought.same, brought.of_course


def test_anki_opens_our_package_with_its_schedule_and_gives_it_back(store: Store, tmp_path: Path) -> None:
    from anki.collection import Collection, ExportAnkiPackageOptions, ImportAnkiPackageRequest

    learned = store.cards.learn("1.1", NOW)
    number = store.own_cards.add(OwnCard("What is $a<b$?", "`x` *and* **y**\n\n- one\n- two"), NOW)
    for step in range(4):
        due = next(one.due for one in store.cards.all_cards(NOW) if one.card.id == number)
        assert due is not None
        memory = store.cards.answer(number, 3, max(due, NOW + timedelta(minutes=step)))
    ours = tmp_path / "ours.apkg"
    ours.write_bytes(anki_package(store, "en", NOW + timedelta(days=30)))

    anki = Collection(str(tmp_path / "collection.anki2"))
    anki.set_config("fsrs", True)
    request = ImportAnkiPackageRequest(package_path=str(ours))
    request.options.with_scheduling = True
    anki.import_anki_package(request)
    found = anki.find_cards("deck:TeachLLM")
    assert len(found) == learned + 1
    card = next(anki.get_card(one) for one in found if anki.get_card(one).reps)
    assert card.memory_state is not None
    assert card.memory_state.stability == pytest.approx(memory.stability, abs=0.01)
    assert r"\(a&lt;b\)" in card.question()

    back = tmp_path / "back.apkg"
    for legacy in (True, False):
        options = ExportAnkiPackageOptions(with_scheduling=True, with_media=True, legacy=legacy)
        anki.export_anki_package(out_path=str(back), options=options, limit=None)
        names = zipfile.ZipFile(back).namelist()
        assert ("collection.anki21b" in names) is not legacy
        assert _bring(store, back.read_bytes()) == (0, 0, 1, learned), "nothing comes twice"
    again = open_store(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert _bring(again, back.read_bytes()) == (1, 0, 0, learned)
    (kept,) = again.cards.memories().values()
    assert kept.stability == pytest.approx(memory.stability, abs=0.01)
    assert abs(kept.due - memory.due) <= timedelta(days=1)
    ((_, text),) = again.own_cards.all()
    assert own_html(text.answer).split() == own_html("`x` *and* **y**\n\n- one\n- two").split()
    anki.close()
    again.close()


def test_a_strangers_package_brings_text_pictures_and_gaps_but_nothing_that_runs(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anki.collection import Collection, ExportAnkiPackageOptions

    monkeypatch.setenv("TEACHLLM_HOME", str(tmp_path / "home"))
    anki = Collection(str(tmp_path / "collection.anki2"))
    (tmp_path / "dot.png").write_bytes(PNG)
    anki.media.add_file(str(tmp_path / "dot.png"))
    basic = anki.new_note(anki.models.by_name("Basic (and reversed card)"))
    basic["Front"] = '<script>alert(1)</script><b onclick="x()">hi</b> <img src="dot.png">'
    basic["Back"] = '<a href="javascript:x()">there</a><img src="https://spy.example/p.png">[sound:a.mp3]'
    anki.add_note(basic, anki.decks.id("A"))
    gaps = anki.new_note(anki.models.by_name("Cloze"))
    gaps["Text"] = "KV {{c1::cache}} and {{c2::block::what}}"
    anki.add_note(gaps, anki.decks.id("A"))
    out = tmp_path / "a.apkg"
    options = ExportAnkiPackageOptions(with_scheduling=False, with_media=True, legacy=False)
    anki.export_anki_package(out_path=str(out), options=options, limit=None)
    anki.close()

    data = out.read_bytes()
    assert _bring(store, data, look=True) == (4, 0, 0, 0)
    assert not store.own_cards.all()
    assert _bring(store, data) == (4, 0, 0, 0)
    front, back, first, second = (card for _, card in store.own_cards.all())
    (picture,) = media_folder().iterdir()
    assert front.question == f"**hi** ![](media/{picture.name})"
    assert (front.answer, back.question) == ("there", "there")
    assert first.question == r"KV \[…\] and block"
    assert second.question == r"KV cache and \[what\]"
    assert second.answer == "KV cache and **block**"


def test_damaged_and_hostile_packages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def packed(name: str, data: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
        return out.getvalue()

    monkeypatch.setattr(package, "MOST_BYTES", 100_000)
    bomb = packed("collection.anki2", bytes(200_000))
    for data in (b"", b"PK", packed("x", b""), packed("collection.anki21b", b"no"), bomb):
        with pytest.raises(UnreadablePackage):
            read_package(data)


def test_html_becomes_markdown_that_says_the_same() -> None:
    for html, markdown in (
        ("a &lt;b&gt; *c*", r"a \<b\> \*c\*"),
        (r"x \(a_1 < b\) y", "x $a_1 < b$ y"),
        ("<div># no</div><div>1. no</div>", "\\# no\n\n1\\. no"),
        ("<pre>a_b\n  c</pre>", "```\na_b\n  c\n```"),
        ("<ol><li>a<li>b</ol>", "1. a\n2. b"),
        ("<style>p{}</style>x<br>y", "x\\\ny"),
    ):
        assert markdown_of(html)[0] == markdown, html


def test_a_table_goes_out_and_comes_back_and_runs_nothing_in_a_spreadsheet(store: Store) -> None:
    card = OwnCard('=HYPERLINK("x")', "a, “b”\n'c", lesson="1.1", topic="注意力", level=3)
    store.own_cards.add(card)
    text = table_of([one for _, one in store.own_cards.all()])
    assert text.startswith("\ufeffquestion,answer")
    assert "'=HYPERLINK" in text
    assert "\n=" not in text
    for data in (text.encode(), text[1:].encode("gb18030"), text[1:].encode("utf-16")):
        cards, unsuitable = cards_of_table(data)
        assert ([one.card for one in cards], unsuitable) == ([card], 0)
        brought = bring_in(store, cards)
        assert (brought.added, brought.changed, brought.same) == (0, 0, 1)
    cards, unsuitable = cards_of_table("问;答\n再问;\n三;四".encode())
    assert ([one.card.question for one in cards], unsuitable) == (["问", "三"], 1)
    assert bring_in(store, cards).added == 2
    corrected = bring_in(store, cards_of_table("question\tanswer\n问\t改".encode())[0])
    assert (corrected.added, corrected.changed) == (0, 1)
    for wrong in (b"\x00\x01\x02", b"", b"question,answer\n"):
        with pytest.raises(UnreadableTable):
            cards_of_table(wrong)
