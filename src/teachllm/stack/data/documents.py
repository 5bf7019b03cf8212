"""Text from files, a document at a time: plain text, JSON Lines, Parquet, and folders of these.

Memory stays the same however large the files are: a file is read in blocks, and what does not fit is cut.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow
import pyarrow.parquet

BLOCK = 1 << 20  # bytes read at a time
LONGEST_DOCUMENT = 4 << 20  # characters; a longer text file is cut at blank lines
LONGEST_LINE = 256 << 20  # bytes of one JSON Lines record
ROWS = 256  # of a Parquet file at a time


@dataclass(frozen=True, slots=True)
class Document:
    """A text, and where it comes from in words for people: ``notes.txt``, ``crawl.jsonl.gz:17``."""

    text: str
    source: str


class DocumentError(Exception):
    """A file cannot be read as documents; the message names the file, the line, and what to do."""


def read_documents(*paths: Path | str, text_field: str = "text") -> Iterator[Document]:
    """The documents of files and folders, in the order given; those of a folder in the order of their paths.

    ``.txt`` and ``.md``: a document a file. Beyond 4 million characters a file is cut, at a blank line where
    there is one. ``.jsonl``: a document a line, in the string `text_field` of an object. ``.parquet``: a
    document a row, in the string column `text_field`; null is an empty document. Text and JSON Lines may be
    gzipped (``.gz``). Text is UTF-8. Raises `DocumentError` at the first thing that is wrong.
    """
    files = [file for path in paths for file in document_files(Path(path))]  # wrong paths are found at once
    return (document for file in files for document in READERS[kind_of(file)](file, text_field))


def document_files(path: Path) -> list[Path]:
    """The file itself, or the readable files in the folder `path` and below; hidden ones are left out.

    Raises `DocumentError` if there are none.
    """
    if path.is_dir():
        below = sorted(file for file in path.rglob("*") if file.is_file())
        visible = [file for file in below if not _is_hidden(file.relative_to(path))]
        files = [file for file in visible if kind_of(file) in READERS]
        if not files:
            kinds = ", ".join(sorted({file.suffix for file in visible if file.suffix})) or "nothing"
            raise DocumentError(f"the folder {path} holds {kinds}, but no file of {_kinds_in_words()}.")
        return files
    if not path.exists():
        raise DocumentError(f"{path} is not there. Give a file or a folder of {_kinds_in_words()}.")
    if kind_of(path) not in READERS:
        raise DocumentError(f"{path} is of a kind that cannot be read. Give {_kinds_in_words()}.")
    return [path]


def kind_of(file: Path) -> str:
    """The ending that says how to read a file: ``.jsonl.gz`` for ``Crawl.2024.JSONL.gz``."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])


def read_text_file(file: Path, text_field: str = "text") -> Iterator[Document]:
    """One document, or several where the file is too long for one. `text_field` has no meaning here."""
    held, number = "", 0
    for characters in _decoded_blocks(file):
        held += characters
        while len(held) > LONGEST_DOCUMENT:
            cut = cut_place(held, LONGEST_DOCUMENT)
            number += 1
            yield Document(held[:cut], f"{file}, part {number}")
            held = held[cut:]
    if number == 0:
        yield Document(held, str(file))
    elif held:
        yield Document(held, f"{file}, part {number + 1}")


def cut_place(text: str, most: int) -> int:
    """Where to cut so that the first part has at most `most` characters: behind the last blank line, else
    behind the last line, else exactly there.
    """
    for separator in ("\n\n", "\n"):
        if (found := text.rfind(separator, 0, most)) > 0:
            return found + len(separator)
    return most


def read_json_lines(file: Path, text_field: str = "text") -> Iterator[Document]:
    """A document a line; empty lines are skipped."""
    with _opened(file) as stream:
        number = 0
        while line := _read_line(stream, file, number + 1):
            number += 1
            if line.isspace():
                continue
            place = f"{file}:{number}"
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                record = json.loads(line)
            except UnicodeDecodeError as problem:
                raise DocumentError(f"{place} is not UTF-8: {_bad_byte(problem)}. {CONVERT}") from None
            except ValueError as problem:
                cut_off = "" if line.endswith(b"\n") else " The file ends here: it may have been cut off."
                raise DocumentError(
                    f"{place} is not JSON: {problem}.{cut_off} Each line must be one JSON object."
                ) from None
            if not isinstance(record, dict):
                raise DocumentError(
                    f"{place} is {_json_kind(record)}, not an object. Each line must be one JSON object with "
                    f"the text in {text_field!r}."
                )
            text = record.get(text_field)
            if not isinstance(text, str):
                has = f"has {_json_kind(text)}" if text_field in record else "has nothing"
                raise DocumentError(
                    f"{place} {has} in the field {text_field!r}, where the text should be. Its strings: "
                    f"{_in_words(key for key, value in record.items() if isinstance(value, str))}. "
                    "Name the field with the text (text_field)."
                )
            yield Document(_without_lone_surrogates(text), place)


def read_parquet(file: Path, text_field: str = "text") -> Iterator[Document]:
    """A document a row, a few hundred rows at a time."""
    try:
        table = pyarrow.parquet.ParquetFile(file, page_checksum_verification=True)
    except (OSError, pyarrow.ArrowException) as problem:
        raise DocumentError(
            f"{file} is not a whole Parquet file: {_first_line(problem)}. Download or write it again."
        ) from None
    with table:
        _check_column(file, table.schema_arrow, text_field)
        row = 0
        try:
            for batch in table.iter_batches(ROWS, columns=[text_field], use_threads=False):
                for text in batch.column(0).to_pylist():
                    row += 1
                    yield Document(text or "", f"{file}:{row}")
        except (OSError, pyarrow.ArrowException) as problem:
            raise DocumentError(
                f"{file} is damaged after row {row}: {_first_line(problem)}. Download or write it again."
            ) from None
        except UnicodeDecodeError as problem:
            raise DocumentError(
                f"{file} is not UTF-8 a little after row {row}: {_bad_byte(problem)}. {CONVERT}"
            ) from None


READERS: dict[str, Callable[[Path, str], Iterator[Document]]] = {
    ".txt": read_text_file,
    ".txt.gz": read_text_file,
    ".md": read_text_file,
    ".md.gz": read_text_file,
    ".jsonl": read_json_lines,
    ".jsonl.gz": read_json_lines,
    ".parquet": read_parquet,
}

CONVERT = "Convert it to UTF-8, for instance with: iconv -f GB18030 -t UTF-8"


def _opened(file: Path) -> BinaryIO:
    """The bytes of a file, unzipped if it is named so. Raises `DocumentError`."""
    is_gzipped = file.name.lower().endswith(".gz")
    try:
        return cast(BinaryIO, gzip.open(file, "rb")) if is_gzipped else open(file, "rb")
    except OSError as problem:
        raise DocumentError(f"{file} cannot be opened: {problem.strerror or problem}.") from None


def _read_line(stream: BinaryIO, file: Path, number: int) -> bytes:
    try:
        line = stream.readline(LONGEST_LINE)
    except (OSError, EOFError, zlib.error) as problem:
        raise _unreadable(file, f"line {number}", problem) from None
    if len(line) == LONGEST_LINE:
        raise DocumentError(
            f"{file}:{number} is longer than {LONGEST_LINE:,} bytes. JSON Lines has one object a line; if "
            "this file is one large JSON value, write its items a line each."
        )
    return line


def _decoded_blocks(file: Path) -> Iterator[str]:
    """The characters of a text file, block by block, with every line end as a newline."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    line, is_first = 1, True
    with _opened(file) as stream:
        while True:
            try:
                block = stream.read(BLOCK)
            except (OSError, EOFError, zlib.error) as problem:
                raise _unreadable(file, f"line {line}", problem) from None
            if is_first:
                if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DocumentError(f"{file} is UTF-16, not UTF-8. Convert it: iconv -f UTF-16 -t UTF-8")
                block, is_first = block.removeprefix(codecs.BOM_UTF8), False
            if (nul := block.find(b"\0")) >= 0:
                line += block.count(b"\n", 0, nul)
                raise DocumentError(
                    f"{file}:{line} holds a NUL byte, so it is no text: a binary file, UTF-16, or a file "
                    "that was cut off and filled up. Remove it, or convert it to UTF-8."
                )
            try:
                characters = decoder.decode(block, final=not block)
            except UnicodeDecodeError as problem:
                line += problem.object.count(b"\n", 0, problem.start)
                raise DocumentError(f"{file}:{line} is not UTF-8: {_bad_byte(problem)}. {CONVERT}") from None
            line += characters.count("\n")
            yield characters
            if not block:
                return


def _check_column(file: Path, schema: pyarrow.Schema, text_field: str) -> None:
    is_text = {field.name: _is_string(field.type) for field in schema}
    if not is_text.get(text_field, False):
        what = f"is {schema.field(text_field).type}" if text_field in is_text else "is not there"
        raise DocumentError(
            f"the column {text_field!r} of {file} {what}; it must be a column of strings. Those that are: "
            f"{_in_words(name for name, yes in is_text.items() if yes)}. Name the column with the text "
            "(text_field)."
        )


def _is_string(kind: pyarrow.DataType) -> bool:
    types: Any = pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type  # pyright: ignore[reportAttributeAccessIssue]
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _unreadable(file: Path, where: str, problem: Exception) -> DocumentError:
    return DocumentError(
        f"{file} cannot be read beyond {where}: {_first_line(problem)}. It is damaged or cut off. "
        "Download or write it again."
    )


def _without_lone_surrogates(text: str) -> str:
    r"""JSON can say half of a surrogate pair (``\ud83d``), which is no character and has no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _bad_byte(problem: UnicodeDecodeError) -> str:
    return f"the byte 0x{problem.object[problem.start]:02x} ({problem.reason})"


def _json_kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _in_words(names: Iterator[str]) -> str:
    return ", ".join(names) or "none"


def _kinds_in_words() -> str:
    return ", ".join(READERS)


def _first_line(problem: Exception) -> str:
    return str(problem).strip().split("\n")[0].rstrip(".") or type(problem).__name__


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
