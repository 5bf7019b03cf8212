"""Recipes: what is read, what is refused and how, and that nothing is lost on the way through a file."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from teachllm.stack.data.documents import Document
from teachllm.stack.data.pipeline import StepReport
from teachllm.stack.evaluation.tasks import ChoiceTask, load_task
from teachllm.stack.pretraining.cleaning import STEPS, cleaning_steps
from teachllm.stack.pretraining.overrides import Overrides, changes, overridable
from teachllm.stack.pretraining.recipe import (
    CleaningStep,
    ModelRecipe,
    RecipeError,
    read_recipe,
    recipe_from_table,
    recipe_text,
)

RECIPES = sorted((Path(__file__).resolve().parents[3] / "recipes").glob("*.toml"))


def test_everything_wrong_is_said_at_once(recipe_file: Path) -> None:
    text = recipe_file.read_text(encoding="utf-8")
    text = text.replace("steps = 12", "stepz = 12").replace("n_heads = 2", "n_heads = 3")
    text = text.replace("vocab_size = 300", 'vocab_size = "many"').replace("rows = 4", "rows = 0")
    text = text.replace('precision = "float32"', 'precision = "float23"\nclip = -1')
    recipe_file.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as refused:
        read_recipe(recipe_file)
    message = str(refused.value)
    for part in (
        "[training] has no 'stepz'; did you mean 'steps'?",
        "training.steps is missing",
        'training.precision is "float23"; it must be one of auto, float32, bfloat16',
        "did you mean 'float32'?",
        "d_model = 32 is no multiple of n_heads = 3",
        'data.vocab_size is "many"; it must be a whole number',
        "rows is 0",
    ):
        assert part in message, message
    assert str(recipe_file) in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"corpora": []}}, "corpora is empty"),
        ({"data": {"corpora": [{"name": "a", "weight": 1}, {"name": "b"}]}}, "give one to all or to none"),
        ({"data": {"corpora": [{"name": "a"}, {"name": "a"}]}}, "a more than once"),
        ({"data": {"corpora": [{"name": "a", "max_mb": -1}]}}, "max_mb is -1.0; it must be above 0"),
        ({"data": {"vocab_size": 256}}, "at least 257"),
        ({"data": {"vocab_size": True}}, "data.vocab_size is true; it must be a whole number"),
        ({"data": {"held_out": 0}}, "between 0 and 1"),
        ({"batch": {"rows": 1}}, "training.micro_rows = 2 is above batch.rows = 1"),
        ({"samples": {"prompts": "the"}}, "samples.prompts is \"the\"; it must be a list"),
        ({"samples": {"prompts": [3]}}, "samples.prompts[0] is 3; it must be a text"),
        ({"model": {"head_dim": 3}}, "rotation needs an even number"),
        ({"": {"name": "../up"}}, "it names a folder"),
        ({"": {"datum": 1}}, "a recipe has no 'datum'; did you mean 'data'?"),
        ({"training": {"steps": 2.5}}, "training.steps is 2.5; it must be a whole number"),
    ],
)  # fmt: skip
def test_refusals(recipe_file: Path, change: dict, said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        read_recipe(recipe_file, change)
    assert said in str(refused.value)


def test_no_recipe_and_no_toml(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match=r"tiny\.toml"):
        read_recipe(recipe_file.with_name("tinny.toml"))
    recipe_file.write_text("name = ", encoding="utf-8")
    with pytest.raises(RecipeError, match="is not a TOML file"):
        read_recipe(recipe_file)


def test_written_and_read_back(recipe_file: Path) -> None:
    odd = 'a "quoted" \\ line\nand 中文 \x7f'
    recipe = read_recipe(recipe_file, {"": {"about": odd}, "samples": {"prompts": [odd, ""], "top_p": 1}})
    assert recipe_from_table(tomllib.loads(recipe_text(recipe)), "again") == recipe
    assert recipe.samples.prompts == (odd, "")


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_shipped_recipes_are_whole(file: Path) -> None:
    recipe = read_recipe(file)
    assert recipe.name == file.stem
    assert recipe_from_table(tomllib.loads(recipe_text(recipe)), "again") == recipe
    cleaning_steps(recipe.data.cleaning)
    config = recipe.model.config(recipe.data.vocab_size, recipe.batch.length)
    least, most = {"nano": (1, 3), "laptop": (10, 30), "gpu": (100, 400), "arithmetic": (0.3, 10)}[file.stem]
    assert least <= config.n_parameters / 1e6 <= most


def test_usual_widths() -> None:
    config = ModelRecipe(d_model=160, n_layers=2, n_heads=5).config(vocab_size=300, context_length=8)
    assert (config.head_dim, config.n_kv_heads) == (32, 5)
    assert config.hidden == 448  # 8/3 · 160 = 426.7, up to a multiple of 32


def test_flags_have_one_meaning_each_and_reach_their_place(recipe_file: Path) -> None:
    names = Counter(key for _, key, _ in overridable())
    assert max(names.values()) == 1
    assert {"steps", "rows", "vocab_size", "d_model", "eval_every", "prompts", "seed"} <= set(names)
    given = changes(Overrides(steps=3, d_model=64, prompts=("x",), seed=5, tied_head=False))
    recipe = read_recipe(recipe_file, given)
    assert (recipe.training.steps, recipe.model.d_model, recipe.seed) == (3, 64, 5)
    assert recipe.samples.prompts == ("x",)
    assert recipe.model.tied_head is False
    assert changes(None) == {}


def test_cleaning_steps_by_name() -> None:
    needed = {"decontaminate": {"tasks": ["grammar"]}}
    chosen = [CleaningStep(name, needed.get(name, {})) for name in STEPS]
    assert [step.name for step in cleaning_steps(chosen)] == list(STEPS)
    with pytest.raises(RecipeError) as refused:
        cleaning_steps([CleaningStep("lenght"), CleaningStep("length", {"short": 1})])
    assert "no cleaning step 'lenght'" in str(refused.value)
    assert "length has no option short; it has shortest, longest" in str(refused.value)
    with pytest.raises(RecipeError, match="decontaminate"):
        cleaning_steps([CleaningStep("decontaminate")])


def test_items_of_a_task_are_kept_out_of_the_text() -> None:
    (step,) = cleaning_steps([CleaningStep("decontaminate", {"tasks": ["grammar"], "shortest": 4})])
    task = load_task("grammar")
    assert isinstance(task, ChoiceTask)
    item = max(task.items, key=lambda item: len(item.context + item.choices[item.answer]))
    leaked = Document("so: " + item.context + item.choices[item.answer] + " and more", "a")
    report = StepReport("decontaminate")
    kept = list(step([leaked, Document("the weather is fine today in all of the land", "b")], report))
    assert [document.source for document in kept] == ["b"]
    assert report.dropped == {"in the test set": 1}
