"""`teachllm medusa` trains heads from nothing but prompts; `teachllm generate` writes the same with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from teachllm.stack.inference import load_language_model
from teachllm.stack.inference.generate_command import generate
from teachllm.stack.inference.medusa_command import medusa
from teachllm.stack.inference.speculation import MedusaHeads


def test_heads_are_trained_and_used(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts, file = tmp_path / "prompts.txt", tmp_path / "heads.safetensors"
    prompts.write_text("\n".join(f"question {i}" for i in range(20)) + "\n\n")
    options = {"model": str(model_folder), "heads": 2, "tokens": 400, "answer_tokens": 24, "steps": 30}
    medusa(prompts, **options, positions=64, out=file, lang="en")
    told = capsys.readouterr()
    assert "How often guesses are right" in told.out
    assert "How large a tree is best" in told.out
    assert "tokens a pass" in told.err
    heads = MedusaHeads.load(file, load_language_model(str(model_folder)).model)
    assert [len(of_head) for of_head in heads.accuracies] == [10, 10]
    assert heads.weight.abs().max() > 0

    generate("Once", model=str(model_folder), max_tokens=12, lang="en")
    plain = capsys.readouterr()
    generate(
        "Once",
        model=str(model_folder),
        max_tokens=12,
        speculate="medusa",
        heads=file,
        draft_tokens=5,
        lang="en",
    )
    guessed = capsys.readouterr()
    assert guessed.out == plain.out
    assert "tokens guessed" in guessed.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speculate": "medusa"}, "belong together"),
        ({"speculate": "ngram", "heads": "x"}, "belong together"),
        ({"speculate": "medusa", "heads": "x", "top_k": 3}, "no use for --top-k"),
    ],
)
def test_heads_without_medusa_are_refused(
    model_folder: Path, options: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        generate("x", model=str(model_folder), **options)
    assert words in capsys.readouterr().err


def test_what_cannot_be_trained_is_explained(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prompts := tmp_path / "prompts.txt").write_text("\n")
    for options, words in (
        ({"heads": 0}, "--heads is 0"),
        ({"out": tmp_path / "none" / "file"}, "no folder"),
        ({"prompts": prompts}, "has no prompts"),
    ):
        with pytest.raises(SystemExit):
            medusa(model=str(model_folder), lang="en", **options)
        assert words in capsys.readouterr().err
