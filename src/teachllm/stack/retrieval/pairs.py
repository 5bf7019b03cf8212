"""Queries and the passages that answer them, for training: from files, and from texts with titles.

A title says what stands under it, so it does for a query where nobody asked any. Such pairs cost nothing;
real questions are worded differently, so a file of those is better.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from teachllm.stack.data.catalogue import corpus
from teachllm.stack.retrieval.embedding.training import Pair

LONGEST_TITLE = 150
SHORTEST_PASSAGE = 100  # characters; below that, little is said that the title does not say
HEADING = re.compile(r"^##[ \t]+(.+?)(?:[ \t]*\{#[\w-]+\})?[ \t]*$", re.MULTILINE)
MARKS = re.compile(r"^(?::{3,}.*|[*=~^\"-]{4,})$\n?", re.MULTILINE)  # fences of blocks, lines under titles


def pairs_of(name: str | Path) -> list[Pair]:
    """The pairs of a JSON Lines file (see `read_pairs`), else of the documents of `data.corpus(name)`.

    Raises ValueError, or what `data.corpus` raises, for what is neither.
    """
    if str(name).endswith((".jsonl", ".ndjson")):
        return read_pairs(Path(name))
    return [pair for document in corpus(name) for pair in titled(document.text)]


def read_pairs(path: Path) -> list[Pair]:
    """A line each: an object with the texts `query` and `positive`; `negatives`, a list of texts, if it has
    any. Other keys are left alone. ValueError naming the line that is otherwise.
    """
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            texts = [row["query"], row["positive"], *row.get("negatives", ())]
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ValueError(
                f"{path}:{number}: not an object with query and positive ({problem!r})"
            ) from None
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(
                f"{path}:{number}: query, positive and negatives must be texts that are not empty"
            )
        pairs.append(Pair(texts[0], texts[1], tuple(texts[2:])))
    return pairs


def titled(text: str) -> Iterator[Pair]:
    """The sections of a Markdown document, asked for by its title and theirs; of any other text, what stands
    behind the first line, asked for by that line.
    """
    first, _, rest = text.strip().partition("\n")
    title = first.lstrip("# ").strip().rstrip(".")
    if len(parts := HEADING.split(text)) > 1:
        found: Iterable[tuple[str, str]] = (
            (f"{title}: {heading}", body) for heading, body in zip(parts[1::2], parts[2::2], strict=True)
        )
    else:
        found = [(title, rest)]
    for query, body in found:
        passage = MARKS.sub("", body).strip()
        if len(query) <= LONGEST_TITLE and len(passage) >= SHORTEST_PASSAGE and is_wording(query):
            yield Pair(query, passage)


def is_wording(title: str) -> bool:
    """Whether it is said in words: three or more, or four Chinese characters; a signature is not."""
    words, chinese = re.findall(r"[^\W\d_]{2,}", title), re.findall(r"[一-鿿]", title)
    return (len(words) >= 3 or len(chinese) >= 4) and not re.search(r"\w\(|>>>|->", title)


def unambiguous(pairs: Iterable[Pair]) -> list[Pair]:
    """Without the queries that come with different passages, and without copies."""
    distinct = {(pair.query, pair.passage): pair for pair in pairs}
    times = Counter(query for query, _ in distinct)
    return [pair for pair in distinct.values() if times[pair.query] == 1]


def split_by_passage(pairs: Sequence[Pair], held_out: float) -> tuple[list[Pair], list[Pair]]:
    """(to train on, held out). A passage decides by its hash, so that all its queries are on one side, and
    stay there when others are added.
    """
    training: list[Pair] = []
    measured: list[Pair] = []
    for pair in pairs:
        digest = blake2b(pair.passage.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        (measured if int.from_bytes(digest, "big") < held_out * 2**64 else training).append(pair)
    return training, measured
