"""Documents come whole and in order from every kind of file, and what is wrong is said with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from teachllm.stack.data import documents
from teachllm.stack.data.documents import Document, DocumentError, cut_place, read_documents


def texts(*paths: Path, **options: str) -> list[str]:
    return [document.text for document in read_documents(*paths, **options)]


def test_every_kind_of_file_gives_its_documents_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("一\r\n二\rthree".encode("utf-8-sig"))
    (tmp_path / "b.md.gz").write_bytes(gzip.compress("# 标题".encode()))
    (tmp_path / "c.jsonl").write_text('{"text": "x", "id": 1}\n\n{"text": "\\ud83d y"}', "utf-8")
    with gzip.open(tmp_path / "d.JSONL.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps({"text": "z"}) + "\n")
    pq.write_table(pa.table({"n": [1, 2], "text": ["p", None]}), tmp_path / "e.parquet")
    (tmp_path / "f.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "g.txt").write_text("secret")
    assert texts(tmp_path) == ["一\n二\nthree", "# 标题", "x", "? y", "z", "p", ""]
    sources = [document.source.removeprefix(f"{tmp_path}/") for document in read_documents(tmp_path)]
    assert sources[:5] == ["a.txt", "b.md.gz", "c.jsonl:1", "c.jsonl:3", "d.JSONL.gz:1"]
    assert sources[5:] == ["e.parquet:1", "e.parquet:2"]
    assert texts(tmp_path / "c.jsonl", tmp_path / "a.txt")[0] == "x", "in the order given"


def test_the_text_may_have_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"content": "x"}\n')
    pq.write_table(pa.table({"content": pa.array(["y"], pa.large_string())}), tmp_path / "b.parquet")
    assert texts(tmp_path, text_field="content") == ["x", "y"]


def test_an_empty_file_is_an_empty_document_and_an_empty_table_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "b.jsonl").write_bytes(b"")
    assert texts(tmp_path) == [""]


def test_a_long_file_is_cut_at_blank_lines_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "BLOCK", 7)
    monkeypatch.setattr(documents, "LONGEST_DOCUMENT", 20)
    text = "春眠不觉晓\r\n\r\n" * 5 + "x" * 50 + "\n" + "short\nlines\n" * 3 + "end\r"
    (tmp_path / "a.txt").write_bytes(text.encode())
    parts = list(read_documents(tmp_path / "a.txt"))
    assert "".join(part.text for part in parts) == text.replace("\r\n", "\n").replace("\r", "\n")
    assert all(len(part.text) <= 20 for part in parts)
    assert parts[0].text == "春眠不觉晓\n\n" * 2
    assert parts[1].source == f"{tmp_path / 'a.txt'}, part 2"


def test_where_a_text_is_cut() -> None:
    assert cut_place("ab\n\ncd\nef", 9) == 4
    assert cut_place("ab\ncd", 4) == 3
    assert cut_place("abcdef", 4) == 4


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"one\ntw\xff\n", r"a\.txt:2 is not UTF-8: the byte 0xff .*iconv"),
        ("a.txt", "好".encode()[:2], r"a\.txt:1 is not UTF-8: .*unexpected end"),
        ("a.txt", b"one\ntwo\nth\0ree", r"a\.txt:3 holds a NUL"),
        ("a.txt", "x".encode("utf-16"), "is UTF-16"),
        ("a.txt.gz", b"no gzip", "cannot be read beyond line 1.*[Nn]ot a gzipped"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "y', r"a\.jsonl:2 is not JSON.*cut off"),
        ("a.jsonl", b'{"text": "x"}\n{text}\n', r"a\.jsonl:2 is not JSON: [^T]*\. Each line"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a\.jsonl:1 is not UTF-8: the byte 0xff"),
        ("a.jsonl", b'{"content": "x", "n": 3}\n', r"a\.jsonl:1 has nothing .*'text'.* strings: content\."),
        ("a.jsonl", b'{"text": ["x"]}\n', r"a\.jsonl:1 has a list .* strings: none\."),
        ("a.jsonl", b"[1, 2]\n", r"a\.jsonl:1 is a list, not an object"),
        ("a.parquet", b"PAR1 but not really", "not a whole Parquet file.*again"),
        ("a.csv", b"x", "kind that cannot be read"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError, match=says):
        texts(tmp_path / name)


def test_what_came_before_a_fault_is_still_given(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"te')
    stream = read_documents(tmp_path / "a.jsonl")
    assert next(stream) == Document("x", f"{tmp_path / 'a.jsonl'}:1")
    with pytest.raises(DocumentError):
        next(stream)


def test_a_gzip_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": f"{i * i}"}) + "\n" for i in range(20_000))
    whole = gzip.compress(lines.encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.txt.gz").write_bytes(whole[: len(whole) // 2])
    for name in ("a.jsonl.gz", "b.txt.gz"):
        with pytest.raises(DocumentError, match=r"cannot be read beyond line \d+: .*cut off"):
            texts(tmp_path / name)


def test_a_damaged_parquet_page_says_where(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [f"{i} " * 50 for i in range(5_000)]
    pq.write_table(pa.table({"text": rows}), path, use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # a bit
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=r"damaged after row \d+"):
        texts(path)


def test_a_parquet_column_must_be_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1], "story": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(DocumentError, match=r"'text'.* is int64.*Those that are: story"):
        texts(tmp_path / "a.parquet")
    with pytest.raises(DocumentError, match=r"'body'.* is not there"):
        texts(tmp_path / "a.parquet", text_field="body")


def test_a_line_without_end_is_no_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LONGEST_LINE", 100)
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n["' + "y" * 200)
    with pytest.raises(DocumentError, match=r"a\.jsonl:2 is longer than 100 bytes"):
        texts(tmp_path / "a.jsonl")


def test_a_missing_path_is_found_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DocumentError, match=r"b\.txt is not there"):
        read_documents(tmp_path / "a.txt", tmp_path / "b.txt")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    with pytest.raises(DocumentError, match=r"holds \.png, but no file of \.txt"):
        read_documents(tmp_path / "pictures")
