"""BPE training and encoding beside `tokenizers`, `rustbpe` and `tiktoken`, on one thread. `make bench
NAME=bpe`.

All use the GPT-2 pattern on the same text (see `corpus`). The encoders share one vocabulary, ours of 32k,
so that the work is the same; ids are compared before anything is timed.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import gc
import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import tiktoken
import tokenizers
from tiktoken_ext.openai_public import r50k_pat_str

from benchmarks.corpus import mixed_documents
from benchmarks.harness import Row, alternate, compare, report, without_peer
from teachllm.stack.tokenizer import GPT2, Tokenizer, Vocabulary
from teachllm.stack.tokenizer.tokenizer import FAST_FROM

VOCAB_SIZE = 32_000
PACKAGES = ("numba", "numpy", "regex", "tokenizers", "tiktoken", "rustbpe")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    documents = mixed_documents(int(arguments.megabytes * 1e6))
    tokenizer = Tokenizer.train(documents, VOCAB_SIZE)
    rows = [*training_rows(documents, arguments.runs), *encoding_rows(tokenizer, documents, arguments.runs)]
    notes = [
        f"{arguments.megabytes:g} MB in {len(documents)} documents: a third each of Python sources, English "
        "docstrings and Chinese of drawn words",
        "training: from the list of documents to a usable tokenizer",
        "encoding, fresh: a new tokenizer in every run, so that each distinct piece is merged once in it; "
        "warm: our memory of pieces is kept from the run before, on the same text. Both are compiled",
        "tokenizers keeps a cache of its own from run to run; tiktoken has none",
        "like is compared with like: list[int] with list[int], an array with tiktoken's encode_to_numpy",
    ]
    report("bpe", rows, notes=notes)


def training_rows(documents: list[str], runs: int) -> list[Row]:
    what = f"train {VOCAB_SIZE // 1000}k vocabulary"
    rows = []
    for name, train_peer in {"tokenizers": train_tokenizers, "rustbpe": train_rustbpe}.items():
        try:
            train_peer(["a b c"], 300)
        except ImportError as problem:
            [ours] = alternate(lambda: Tokenizer.train(documents, VOCAB_SIZE), times=runs, before=gc.collect)
            rows.append(without_peer(what, ours, name, "s", f"{name} is not installed: {problem}"))
            continue
        ours, theirs = alternate(
            lambda: Tokenizer.train(documents, VOCAB_SIZE),
            lambda train_peer=train_peer: train_peer(documents, VOCAB_SIZE),
            times=runs,
            before=gc.collect,
        )
        rows.append(compare(what, ours, theirs, name, "s", lower_is_better=True, packages=PACKAGES))
    return rows


def train_tokenizers(documents: list[str], vocab_size: int) -> None:
    reference = tokenizers.Tokenizer(tokenizers.models.BPE())
    reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    reference.train_from_iterator(documents, trainer)


def train_rustbpe(documents: list[str], vocab_size: int) -> None:
    rustbpe = importlib.import_module("rustbpe")
    rustbpe.Tokenizer().train_from_iterator(iter(documents), vocab_size, pattern=GPT2.regexes[0])


class Ours:
    """Our encoder, warm, or made anew by `renew` with the compiled code loaded but no piece known."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.tokenizer = Tokenizer(vocabulary)

    def renew(self) -> None:
        self.tokenizer = Tokenizer(self._vocabulary)
        self.tokenizer.encode("a" * FAST_FROM)
        gc.collect()

    def text_to_list(self, text: str) -> object:
        return self.tokenizer.encode(text)

    def text_to_array(self, text: str) -> object:
        return self.tokenizer.encode_to_array(text)

    def documents_to_lists(self, documents: list[str]) -> object:
        return [self.tokenizer.encode(document) for document in documents]


def encoding_rows(tokenizer: Tokenizer, documents: list[str], runs: int) -> list[Row]:
    ours = Ours(tokenizer.vocabulary)
    text = "\n".join(documents)
    megabytes = len(text.encode()) / 1e6
    encoding = tiktoken_encoding(tokenizer)
    reference = tokenizers_reference(tokenizer)
    ids = [tokenizer.encode(document) for document in documents]
    if ids != [encoding.encode_ordinary(document) for document in documents]:
        raise SystemExit("tiktoken gives other ids: there is nothing to compare")
    if ids != [encoded.ids for encoded in reference.encode_batch(documents)]:
        raise SystemExit("tokenizers gives other ids: there is nothing to compare")
    contests: list[tuple[str, str, Callable[[], object], Callable[[], object]]] = [
        (
            "encode one text to a list",
            "tiktoken",
            lambda: ours.text_to_list(text),
            lambda: encoding.encode_ordinary(text),
        ),
        (
            "encode one text to an array",
            "tiktoken",
            lambda: ours.text_to_array(text),
            lambda: encoding.encode_to_numpy(text, disallowed_special=()),
        ),
        (
            "encode documents to lists",
            "tiktoken",
            lambda: ours.documents_to_lists(documents),
            lambda: [encoding.encode_ordinary(document) for document in documents],
        ),
        (
            "encode documents to lists",
            "tokenizers",
            lambda: ours.documents_to_lists(documents),
            lambda: [encoded.ids for encoded in reference.encode_batch_fast(documents)],
        ),
    ]
    rows = []
    for what, peer_name, our_run, peer_run in contests:
        for state, before in (("fresh", ours.renew), ("warm", gc.collect)):
            our_seconds, peer_seconds = alternate(our_run, peer_run, times=runs, before=before)
            our_speed, peer_speed = megabytes / our_seconds, megabytes / peer_seconds
            rows.append(
                compare(f"{what}, {state}", our_speed, peer_speed, peer_name, "MB/s", packages=PACKAGES)
            )
    return rows


def tiktoken_encoding(tokenizer: Tokenizer) -> tiktoken.Encoding:
    """Our vocabulary in tiktoken, with GPT-2's pattern as its authors rewrote it to run faster."""
    ranks = {token: token_id for token_id, token in tokenizer.vocabulary.tokens.items()}
    return tiktoken.Encoding("bench", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})


def tokenizers_reference(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(path)
        return tokenizers.Tokenizer.from_file(str(path))


if __name__ == "__main__":
    main()
