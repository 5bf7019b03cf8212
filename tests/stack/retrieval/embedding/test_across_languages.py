"""A second language: characters begin where their translations are, and training pulls them nearer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.retrieval.embedding.across_languages import LanguageTraining, learn_language
from teachllm.stack.retrieval.embedding.command import train_embedding_command
from teachllm.stack.retrieval.embedding.loading import load_embedding_model
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.retrieval.embedding.recipe import read_recipe, read_translations, split_by_group
from teachllm.stack.retrieval.embedding.saving import save_embedding_model
from teachllm.stack.retrieval.embedding.vocabulary import partners, with_characters
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer

HAN = range(0x4E00, 0xA000)
WORDS = {"猫": "cat", "狗": "dog", "鱼": "fish", "鸟": "bird", "马": "horse", "牛": "cow"}
PAIRS = [
    (f"{a}{b}", f"{WORDS[a]} {WORDS[b]}") for a in WORDS for b in WORDS if a != b
]  # no word stands alone, so nothing says which is which but counting


def small_model() -> EmbeddingModel:
    torch.manual_seed(0)
    tokenizer = BertTokenizer([*SPECIAL_TOKENS, *WORDS.values(), "猫"])
    config = BertConfig(tokenizer.vocab_size, d_model=32, n_layers=1, n_heads=2, hidden=64, context_length=16)
    return EmbeddingModel(
        "small",
        Bert(config).eval(),
        tokenizer,
        (tokenizer.cls,),
        (tokenizer.sep,),
        16,
        tokenizer.vocab_size,
        32,
    )


def test_partners_are_the_translations_and_the_known_language_stays() -> None:
    weights = partners([[0], [0, 1], [1]], [[2, 0], [2, 3], [3, 0]], 2, 4, n=1)
    assert weights.tolist() == [[0, 0, 1, 0], [0, 0, 0, 1]]
    model = small_model()
    read = with_characters(model, PAIRS, HAN)
    assert read.vocab_size == model.vocab_size + 5  # the cat was there
    torch.testing.assert_close(
        torch.from_numpy(read.embed(["dog fish"])), torch.from_numpy(model.embed(["dog fish"]))
    )
    found = torch.from_numpy(read.embed([zh for zh, _ in PAIRS]) @ model.embed([en for _, en in PAIRS]).T)
    before = torch.from_numpy(model.embed([zh for zh, _ in PAIRS]) @ model.embed([en for _, en in PAIRS]).T)
    right = torch.arange(len(PAIRS))
    assert (found.argmax(1) == right).float().mean() > 0.6 > (before.argmax(1) == right).float().mean()
    with pytest.raises(ValueError, match="no character from 0x4e00 to 0x9fff"):
        with_characters(model, [("a", "b")], HAN)


def test_training_pulls_translations_together_and_keeps_the_teacher(tmp_path: Path) -> None:
    teacher = small_model()
    student = with_characters(teacher, PAIRS, HAN)
    with torch.no_grad():  # as if nothing were known of the new characters
        assert isinstance(student.encoder, Bert)
        student.encoder.embedding.weight[-6:] = torch.randn(6, 32)
    targets = torch.from_numpy(teacher.embed([en for _, en in PAIRS]))

    def cosine(language: int) -> float:
        found = torch.from_numpy(student.embed([pair[language] for pair in PAIRS]))
        return float((found * targets).sum(1).mean())

    before = cosine(0)
    steps = list(learn_language(student, PAIRS, targets, LanguageTraining(40, batch=16, peak_lr=1e-3)))
    assert steps[-1].loss < steps[0].loss
    assert cosine(0) > before + 0.3 * (1 - before)
    assert cosine(1) > 0.9
    save_embedding_model(student, tmp_path / "model")
    opened = load_embedding_model(tmp_path / "model")
    torch.testing.assert_close(
        torch.from_numpy(opened.embed(["猫狗"])), torch.from_numpy(student.embed(["猫狗"]))
    )
    with pytest.raises(ValueError, match="do not fill a batch of 16"):
        next(learn_language(student, PAIRS[:3], targets[:3], LanguageTraining(1, batch=16)))


def test_the_recipe_and_its_file_of_translations(tmp_path: Path) -> None:
    recipe = read_recipe(Path(__file__).parents[4] / "recipes" / "retrieval" / "embedding.toml")
    assert replace(recipe.training, steps=1).batch == recipe.training.batch
    file = tmp_path / "translations.jsonl"
    rows = [{"query": f"猫{i}", "positive": f"cat {i}", "group": f"g{i % 50}"} for i in range(200)]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    training, held_out = split_by_group(read_translations(file), 0.2)
    assert len(training) + len(held_out) == 200
    assert 0 < len(held_out) < 100
    assert not {one.group for one in training} & {one.group for one in held_out}
    file.write_text('{"query": "", "positive": "x"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"translations.jsonl:1: not an object with the texts"):
        read_translations(file)
    with pytest.raises(ValueError, match="run first: teachllm corpus"):
        read_translations(tmp_path / "none.jsonl")


RECIPE = """
about = "small"
about_zh = "小"
teacher = "{teacher}"
[translations]
files = ["{translations}"]
held_out = 0.3
[training]
steps = 3
batch = 8
"""


def test_the_command_trains_measures_and_replaces_only_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_embedding_model(small_model(), tmp_path / "teacher")
    rows = [{"query": zh, "positive": en} for zh, en in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        RECIPE.format(teacher=tmp_path / "teacher", translations=tmp_path / "pairs.jsonl"), "utf-8"
    )
    out = tmp_path / "model"
    train_embedding_command(recipe, out=out, lang="en")
    gain = json.loads((out / "gain.json").read_text("utf-8"))
    assert gain["texts"] > 0
    assert "the translation is nearest for" in capsys.readouterr().err
    assert load_embedding_model(out).vocab_size == small_model().vocab_size + 5
    train_embedding_command(recipe, out=out, lang="en")  # its own: replaced
    with pytest.raises(SystemExit):
        train_embedding_command(recipe, out=tmp_path / "teacher", lang="en")
    assert "this command did not write it" in capsys.readouterr().err
    assert load_embedding_model(tmp_path / "teacher").vocab_size == small_model().vocab_size
