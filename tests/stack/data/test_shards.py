"""Corpora on disk: what is written is read, and what is not whole says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from teachllm.stack.data.shards import ShardError, ShardWriter, TokenShards, dtype_for, tokenizer_fingerprint
from teachllm.stack.tokenizer import LLAMA3, Tokenizer

from .conftest import drawn_documents, write_corpus


@pytest.mark.parametrize("shard_tokens", [1, 100, 1 << 28])
def test_documents_come_back_whatever_the_files(
    tokenizer: Tokenizer, tmp_path: Path, shard_tokens: int
) -> None:
    documents = drawn_documents(50)
    shards = write_corpus(tmp_path / "corpus", tokenizer, documents, shard_tokens)
    stream = np.concatenate([np.append(shards.end_of_text, document) for document in documents])
    assert len(shards) == shards.n_tokens == len(stream)
    assert shards.n_bytes == shards.document_bytes.sum() == 2 * sum(map(len, documents))
    assert [shards.document(i)[1:].tolist() for i in range(50)] == [d.tolist() for d in documents]
    assert (stream[shards.document_starts] == shards.end_of_text).all()
    generator = np.random.default_rng(1)
    for start, stop in np.sort(generator.integers(0, len(stream) + 1, (50, 2))):
        assert shards.read(start, stop).tolist() == stream[start:stop].tolist()
    assert shards.read(3, 3).dtype == shards.dtype == np.uint16
    shards.verify()


def test_a_document_stays_in_one_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shards = write_corpus(tmp_path, tokenizer, [[1] * 9] * 5, shard_tokens=12)
    sizes = [file.stat().st_size // 2 for file in sorted(tmp_path.glob("tokens-*.bin"))]
    assert sizes == [20, 20, 10]
    assert shards.n_documents == 5


def test_the_same_documents_make_the_same_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    one, other = (write_corpus(tmp_path / name, tokenizer, drawn_documents(20)) for name in "ab")
    another = write_corpus(tmp_path / "c", tokenizer, drawn_documents(20, seed=1))
    files = [{file.name: file.read_bytes() for file in corpus.folder.iterdir()} for corpus in (one, other)]
    assert files[0] == files[1]
    assert one.sha256 == other.sha256 != another.sha256


def test_ids_take_two_bytes_where_they_fit() -> None:
    assert dtype_for(65_536) == np.uint16
    assert dtype_for(65_537) == np.uint32


def test_an_empty_corpus_is_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shards = write_corpus(tmp_path, tokenizer, [])
    assert (len(shards), shards.n_documents, len(shards.document_starts)) == (0, 0, 0)
    assert shards.read(0, 0).tolist() == []
    shards.verify()


def test_reading_beyond_the_ends_is_an_error(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shards = write_corpus(tmp_path, tokenizer, [[1, 2]])
    for start, stop in ((-1, 2), (0, 4), (2, 1)):
        with pytest.raises(IndexError, match="a corpus that has 3"):
            shards.read(start, stop)
    for number in (-1, 1):
        with pytest.raises(IndexError, match=f"document {number} of a corpus that has 1"):
            shards.document(number)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([1, 260], "run from 0 to 259"),
        ([-1], "run from 0 to 259"),
        ([1, 259], "holds the end-of-text token 259"),
        ([[1]], "one row of ids"),
        ([0.5], "one row of ids"),
    ],
)
def test_what_is_no_document_is_refused(
    tokenizer: Tokenizer, tmp_path: Path, tokens: list[int], message: str
) -> None:
    writer = ShardWriter(tmp_path, tokenizer)
    writer.add([3], 1)
    with pytest.raises(ValueError, match=message):
        writer.add(tokens, 1)
    assert writer.finish().n_documents == 1


def test_a_tokenizer_without_the_end_of_text_cannot_write(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_merges([], special_tokens=["<eos>"])
    with pytest.raises(ValueError, match=r"'<\|endoftext\|>' is not a special token.*<eos>"):
        ShardWriter(tmp_path, tokenizer)
    with ShardWriter(tmp_path, tokenizer, end_of_text="<eos>") as writer:
        writer.add([1], 1)
    assert TokenShards(tmp_path).end_of_text == 256


def test_a_corpus_is_not_written_over(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_corpus(tmp_path, tokenizer, [[1]])
    with pytest.raises(ShardError, match="holds a corpus already"):
        ShardWriter(tmp_path, tokenizer)


def test_another_tokenizer_is_recognised(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shards = write_corpus(tmp_path, tokenizer, [[1]])
    tokenizer.save(tmp_path / "tokenizer.json")
    shards.require(Tokenizer.from_tokenizer_json(tmp_path / "tokenizer.json"))
    merges, specials = tokenizer.vocabulary.merges, ["<|endoftext|>"]
    shards.require(Tokenizer.from_merges(merges, special_tokens=specials))
    for other in (
        Tokenizer.from_merges(merges[:-1], special_tokens=specials),
        Tokenizer.from_merges(merges, special_tokens=["<|end|>"]),
        Tokenizer.from_merges(merges, special_tokens=specials, pattern=LLAMA3),
    ):
        with pytest.raises(ShardError, match="written with another tokenizer"):
            shards.require(other)
        assert tokenizer_fingerprint(other) != shards.tokenizer


def test_a_block_that_raises_leaves_no_corpus(tokenizer: Tokenizer, tmp_path: Path) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path, tokenizer, shard_tokens=10) as writer:
            for document in drawn_documents(10):
                writer.add(document, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ShardError, match="writing it was not finished"):
        TokenShards(tmp_path)
    assert write_corpus(tmp_path, tokenizer, [[1]]).n_tokens == 2  # the remains do not disturb


@pytest.mark.parametrize("name", ["tokens-00000.bin", "documents.bin"])
def test_files_that_were_cut_off_are_noticed(tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    write_corpus(tmp_path, tokenizer, drawn_documents(5))
    with open(tmp_path / name, "r+b") as file:
        file.truncate(10)
    with pytest.raises(ShardError, match=rf"{name} has 10 bytes instead of .* Prepare the data again"):
        TokenShards(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ShardError, match=f"{name} cannot be read"):
        TokenShards(tmp_path)


def test_a_changed_byte_is_found_by_verifying(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_corpus(tmp_path, tokenizer, drawn_documents(5))
    with open(tmp_path / "tokens-00000.bin", "r+b") as file:
        file.seek(6)
        file.write(b"\x07")
    with pytest.raises(ShardError, match="damaged"):
        TokenShards(tmp_path).verify()


@pytest.mark.parametrize(
    ("index", "message"),
    [(b"{", "cannot be read"), (b"[]", "has format None"), (b'{"format": 99}', "has format 99")],
)
def test_an_index_of_another_kind(tmp_path: Path, index: bytes, message: str) -> None:
    (tmp_path / "index.json").write_bytes(index)
    with pytest.raises(ShardError, match=message):
        TokenShards(tmp_path)
    with pytest.raises(ShardError, match="is not there"):
        TokenShards(tmp_path / "nowhere")
