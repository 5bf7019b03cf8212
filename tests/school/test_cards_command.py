"""``teachllm cards``: what goes out comes back once; files of a wrong kind and damaged ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from teachllm.school.cards import OwnCard
from teachllm.school.cards_command import export_cards, import_cards
from teachllm.school.progress import open_store


@pytest.mark.parametrize("name", ["mine.apkg", "mine.csv"])
def test_cards_go_to_a_file_and_come_back_once(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store()
    card = store.own_cards.add(OwnCard("Why divide by $\\sqrt{d}$?", "The variance stays at **one**."))
    file = tmp_path / name
    export_cards(file, lang="en")
    with pytest.raises(SystemExit):
        export_cards(file, lang="en")
    assert "--replace" in capsys.readouterr().out
    import_cards(file, lang="en")
    assert "1 here already" in capsys.readouterr().out
    store.own_cards.delete(card)
    import_cards(file, dry_run=True, lang="en")
    assert store.own_cards.all() == []
    import_cards(file, lang="zh")
    assert "1 张" in capsys.readouterr().out
    assert [kept.question for _, kept in store.own_cards.all()] == ["Why divide by $\\sqrt{d}$?"]
    store.close()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cards.exe", b"MZ"),
        ("cards.apkg", b"PK\x03\x04 broken"),
        ("cards.csv", b"PK\x03\x04\x00\xff\xfe"),
        ("none.csv", None),
    ],
)
def test_what_is_no_file_of_cards_is_refused(
    name: str, content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit):
        import_cards(file, lang="en")
    assert capsys.readouterr().out
    assert open_store().own_cards.all() == []
