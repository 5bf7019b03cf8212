"""Preparing data, from text files to packed rows of ids, beside `datasets` + `tokenizers` + `datasketch`.
`make bench NAME=data`.

Both read the same JSON Lines and do the same: clean by the same Python functions, drop exact duplicates,
drop near-duplicates by MinHash (128 permutations, threshold 0.8, the same shingles), encode with the same
vocabulary, and pack into rows of 1,024. The text is `corpus`, with every tenth document once more, half of
those with a few changes. What is kept and how many ids it makes is compared before anything is timed.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = "2"
os.environ["TOKENIZERS_PARALLELISM"] = "true"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import argparse
import gc
import hashlib
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import datasets
import tokenizers
from datasketch import MinHash, MinHashLSH

from benchmarks.corpus import mixed_documents
from benchmarks.harness import Row, compare, report
from teachllm.stack.data.deduplication import ExactDuplicates, NearDuplicates
from teachllm.stack.data.documents import read_documents
from teachllm.stack.data.filters import length_problem, symbol_problem
from teachllm.stack.data.loader import BatchLoader
from teachllm.stack.data.minhash import shingles
from teachllm.stack.data.normalization import normalize
from teachllm.stack.data.pipeline import Filter, Rewrite, clean, utf8_length
from teachllm.stack.data.shards import END_OF_TEXT, ShardWriter, TokenShards
from teachllm.stack.tokenizer import Tokenizer

LENGTH = 1024
PROCESSES = 2
VOCAB_SIZE = 16_000
PACKAGES = ("datasets", "tokenizers", "datasketch", "numba", "numpy", "pyarrow")
STAGES = ("read and clean", "exact duplicates", "near-duplicates", "encode", "pack")

Seconds = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    texts = with_duplicates(mixed_documents(int(arguments.megabytes * 1e6)))
    megabytes = sum(map(utf8_length, texts)) / 1e6
    tokenizer = Tokenizer.train(texts, VOCAB_SIZE, special_tokens=[END_OF_TEXT])
    with tempfile.TemporaryDirectory() as folder:
        source, vocabulary = Path(folder) / "text.jsonl", Path(folder) / "tokenizer.json"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
        tokenizer.save(vocabulary)
        taken: list[tuple[Seconds, Seconds]] = []
        for round_number in range(arguments.runs + 1):
            both = (
                prepare_ours(source, tokenizer, Path(folder)),
                prepare_theirs(source, vocabulary, Path(folder)),
            )
            compare_results(*both)
            if round_number > 0:
                taken.append((both[0].seconds, both[1].seconds))
    rows = [row(stage, megabytes, taken) for stage in ("all", *STAGES)]
    notes = [
        f"{megabytes:.1f} MB of UTF-8 in {len(texts):,} documents; MB/s of the text that comes in",
        f"datasets works with num_proc={PROCESSES}, tokenizers with {PROCESSES} threads in one process; ours "
        "is one process and one thread",
        "ours stands in lists between the stages, datasets in Arrow files; both write the ids to disk",
        "pack: ours reads an epoch of shuffled batches off the shards; rows are never written",
        f"{arguments.runs} runs in turns after one to warm up, medians; datasets without its cache",
    ]
    report("data", rows, notes=notes)


def with_duplicates(texts: list[str], seed: int = 0) -> list[str]:
    """Every tenth document once more: half as they are, half with one or two words changed."""
    generator = random.Random(seed)
    copies = texts[::10]
    for i in range(0, len(copies), 2):
        for _ in range(2):
            at = generator.randrange(len(copies[i]))
            copies[i] = copies[i][:at] + " 改 " + copies[i][at:]
    mixed = texts + copies
    generator.shuffle(mixed)
    return mixed


def row(stage: str, megabytes: float, taken: list[tuple[Seconds, Seconds]]) -> Row:
    ours, theirs = (
        median(sum(run[side].values()) if stage == "all" else run[side][stage] for run in taken)
        for side in (0, 1)
    )
    peer = "datasets + datasketch + tokenizers"
    return compare(
        stage, megabytes / ours, megabytes / theirs, peer, "MB/s", threads=PROCESSES, packages=PACKAGES
    )


class Result:
    """What a preparation made, and how long its stages took."""

    def __init__(self) -> None:
        self.seconds: Seconds = dict.fromkeys(STAGES, 0.0)
        self.kept: dict[str, int] = {}
        self.n_tokens = self.n_rows = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


def compare_results(ours: Result, theirs: Result) -> None:
    """SystemExit unless both did the same work. Near-duplicates that meet in no band are missed by chance."""
    close = {"near-duplicates"}
    for stage, n in ours.kept.items():
        if n != theirs.kept[stage] and not (stage in close and abs(n / theirs.kept[stage] - 1) < 0.01):
            raise SystemExit(f"after {stage} ours keeps {n:,} documents and the peer {theirs.kept[stage]:,}")
    if abs(ours.n_tokens / theirs.n_tokens - 1) > 0.01:
        raise SystemExit(f"ours makes {ours.n_tokens:,} ids, the peer {theirs.n_tokens:,}")


# Ours ----------------------------------------------------------------------------------------------------


def prepare_ours(source: Path, tokenizer: Tokenizer, folder: Path) -> Result:
    """Stage by stage, with lists between them, so that each can be timed as it is for the peer."""
    gc.collect()
    result = Result()
    shutil.rmtree(folder / "ours", ignore_errors=True)
    tokenizer = Tokenizer(tokenizer.vocabulary)  # one that remembers no pieces
    cleaning = [
        Rewrite("normalize", normalize),
        Filter("length", length_problem),
        Filter("symbols", symbol_problem),
    ]
    stages: list[tuple[str, list]] = [
        ("read and clean", cleaning),
        ("exact duplicates", [ExactDuplicates()]),
        ("near-duplicates", [NearDuplicates()]),
    ]
    documents = read_documents(source)
    for stage, steps in stages:
        with result.timed(stage):
            documents = list(clean(documents, steps)[0])
        result.kept[stage] = len(documents)
    with result.timed("encode"), ShardWriter(folder / "ours", tokenizer) as writer:
        encoded = tokenizer.encode_documents(document.text for document in documents)
        for document, ids in zip(documents, encoded, strict=True):
            writer.add(ids, utf8_length(document.text))
    with result.timed("pack"):
        shards = TokenShards(folder / "ours")
        loader = BatchLoader(shards, rows=8, length=LENGTH, seed=0)
        while loader.epochs["data"] < 1:
            next(loader)
    result.n_tokens, result.n_rows = shards.n_tokens, shards.n_tokens // LENGTH
    return result


# The peer ------------------------------------------------------------------------------------------------


def prepare_theirs(source: Path, vocabulary: Path, folder: Path) -> Result:
    """As the documentation of `datasets` does it: map and filter, Arrow files between the stages."""
    gc.collect()
    result = Result()
    cache = folder / "theirs"
    shutil.rmtree(cache, ignore_errors=True)
    datasets.disable_caching()
    datasets.logging.set_verbosity_error()
    encoder = tokenizers.Tokenizer.from_file(str(vocabulary))
    end_of_text = encoder.token_to_id(END_OF_TEXT)
    with result.timed("read and clean"):
        data = datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=str(cache))
        data = data.map(clean_row, num_proc=PROCESSES).filter(is_wanted, num_proc=PROCESSES)
    result.kept["read and clean"] = len(data)
    with result.timed("exact duplicates"):
        data = data.filter(unseen())
    result.kept["exact duplicates"] = len(data)
    with result.timed("near-duplicates"):
        signed = data.map(sign_row, num_proc=PROCESSES)
        data = data.select(first_of_similar(signed["signature"]))
    result.kept["near-duplicates"] = len(data)
    with result.timed("encode"):

        def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
            return {"ids": [[end_of_text, *e.ids] for e in encoder.encode_batch_fast(batch["text"])]}

        data = data.map(encode, batched=True, remove_columns=data.column_names)
    with result.timed("pack"):
        result.n_tokens = sum(len(ids) for ids in data["ids"])
        data = data.map(group_texts, batched=True, num_proc=PROCESSES, remove_columns=data.column_names)
    result.n_rows = len(data)
    return result


def clean_row(row: dict[str, str]) -> dict[str, str]:
    return {"text": normalize(row["text"])[0]}


def is_wanted(row: dict[str, str]) -> bool:
    return length_problem(row["text"]) is None and symbol_problem(row["text"]) is None


def unseen() -> Callable[[dict[str, str]], bool]:
    seen: set[bytes] = set()

    def is_new(row: dict[str, str]) -> bool:
        normalized = " ".join(row["text"].lower().split())
        digest = hashlib.blake2b(normalized.encode(), digest_size=16).digest()
        is_first = digest not in seen
        seen.add(digest)
        return is_first

    return is_new


def sign_row(row: dict[str, str]) -> dict[str, object]:
    sketch = MinHash(num_perm=128)
    sketch.update_batch([shingle.encode() for shingle in shingles(row["text"])])
    return {"signature": sketch.hashvalues}


def first_of_similar(signatures: list[list[int]]) -> list[int]:
    index = MinHashLSH(threshold=0.8, num_perm=128)
    kept: dict[int, MinHash] = {}
    for number, values in enumerate(signatures):
        sketch = MinHash(hashvalues=values, scheme="affine32")
        if not any(sketch.jaccard(kept[candidate]) >= 0.8 for candidate in index.query(sketch)):
            index.insert(number, sketch)
            kept[number] = sketch
    return list(kept)


def group_texts(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
    """All documents of the batch joined and cut; the rest of each batch is dropped."""
    joined = [token for ids in batch["ids"] for token in ids]
    return {"row": [joined[i : i + LENGTH] for i in range(0, len(joined) - LENGTH + 1, LENGTH)]}


if __name__ == "__main__":
    main()
