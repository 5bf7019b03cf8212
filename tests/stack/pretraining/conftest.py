"""A recipe that runs in two seconds, on text that the tests write themselves."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

WORDS = ["the", "a", "small", "cat", "dog", "house", "tree", "sees", "finds", "loves", "under", "then"]

RECIPE = """
name = "tiny"
about = "a test"
about_zh = "测试"

[data]
corpora = [{{ name = "{corpus}" }}]
vocab_size = 300
held_out = 0.2
cleaning = [{{ step = "length", options = {{ shortest = 120 }} }}, {{ step = "exact-duplicates" }}]

[model]
d_model = 32
n_layers = 2
n_heads = 2

[batch]
rows = 4
length = 32

[training]
steps = 12
micro_rows = 2
learning_rate = 0.01
checkpoint_every = 4
precision = "float32"

[evaluation]
eval_every = 6
eval_tokens = 300

[samples]
prompts = ["the cat"]
sample_every = 6
max_tokens = 8

[expected]
bits_per_byte = 9.0
minutes = 5.0
machine = "any"
"""


def sentences(seed: int, n: int) -> str:
    random = Random(seed)
    return " ".join(" ".join(random.choices(WORDS, k=7)) + "." for _ in range(n))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(sentences(number, 12), encoding="utf-8")
    (folder / "short.txt").write_text("too short", encoding="utf-8")
    (folder / "twice.txt").write_text(sentences(7, 12), encoding="utf-8")
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path, corpus: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(RECIPE.format(corpus=corpus), encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def prepared_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEACHLLM_PREPARED", str(tmp_path / "prepared"))
    return tmp_path / "prepared"
