"""The API of figures.py: declarations, controls, charts as JSON, predictions, labs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pytest
import torch

from teachllm.school.figures import (
    Arrows,
    Bars,
    Both,
    Chart,
    Choice,
    ControlError,
    Event,
    FigureDefinitionError,
    Heatmap,
    Lines,
    Metric,
    Points,
    Predict,
    Progress,
    Sample,
    Say,
    Show,
    Slider,
    Table,
    Text,
    TextInput,
    Toggle,
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.school.figures import spec as specification
from teachllm.school.figures.plain import watching_not_finite

TITLE = Both("标题", "title")


@figure(title=TITLE)
def example(
    temperature: Annotated[float, Slider(0.1, 2.0, step=0.1, label=Both("温度", "temperature"))] = 1,
    heads: Annotated[int, Slider(1, 8)] = 4,
    mode: Annotated[str, Choice([("a", Both("甲", "A")), ("b", "B")])] = "a",
    scaled: Annotated[bool, Toggle()] = True,
    text: Annotated[str, TextInput(max_length=5)] = "你好",
) -> Chart:
    """Draws its own arguments."""
    return Text(f"{temperature} {heads} {mode} {scaled} {text}")


def spec_of(function: Any) -> Any:
    return getattr(function, specification._ATTRIBUTE)


def test_a_figure_stays_a_plain_function() -> None:
    assert example(0.5).to_json("zh")["text"] == "0.5 4 a True 你好"
    assert example.__doc__ == "Draws its own arguments."


def test_controls_as_json() -> None:
    temperature, heads, mode, scaled, text = spec_of(example).controls("zh")
    assert temperature["label"] == "温度"
    assert (temperature["low"], temperature["high"], temperature["step"]) == (0.1, 2.0, 0.1)
    assert heads["integer"]
    assert heads["step"] == 1
    assert heads["label"] == "heads"
    assert mode["options"] == [{"value": "a", "label": "甲"}, {"value": "b", "label": "B"}]
    assert scaled["kind"] == "toggle"
    assert scaled["default"] is True
    assert text["max_length"] == 5
    assert spec_of(example).controls("en")[0]["label"] == "temperature"


def test_draw_fills_in_defaults_and_converts_to_the_parameter_type() -> None:
    assert spec_of(example).draw({"heads": 3.0}, "en")["charts"][0]["text"] == "1 3 a True 你好"
    assert spec_of(example).draw({"temperature": 2}, "en")["charts"][0]["text"] == "2.0 4 a True 你好"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"temperature": 2.1}, "temperature must be between 0.1 and 2, was given 2.1"),
        ({"temperature": "1"}, "temperature needs a number"),
        ({"temperature": math.nan}, "temperature needs a number"),
        ({"temperature": True}, "temperature needs a number"),
        ({"heads": 2.5}, "heads needs a whole number"),
        ({"mode": "c"}, "mode must be one of a, b"),
        ({"mode": ["a"]}, "mode must be one of a, b"),
        ({"scaled": 1}, "scaled needs true or false"),
        ({"text": "六个字太长了吧"}, "text takes at most 5 characters, was given 7"),
        ({"text": None}, "text needs text"),
        ({"hidden": 1}, "there is no control named hidden"),
    ],
)
def test_values_that_the_controls_do_not_allow(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ControlError) as caught:
        spec_of(example).draw(args, "en")
    assert message in caught.value.get("en")
    assert caught.value.get("zh") != caught.value.get("en")


def test_all_violations_are_named_at_once() -> None:
    with pytest.raises(ControlError) as caught:
        spec_of(example).draw({"temperature": 9, "heads": 0, "mode": "x"}, "zh")
    assert len(caught.value.messages) == 3
    assert caught.value.get("zh").startswith("温度：要在 0.1 和 2 之间")


def declare(function: Any) -> None:
    figure(title=TITLE)(function)


def test_wrong_declarations_say_what_to_do() -> None:
    def bare(d: int = 1) -> Chart: ...
    def no_default(d: Annotated[int, Slider(1, 2)]) -> Chart: ...
    def outside(d: Annotated[int, Slider(1, 2)] = 3) -> Chart: ...
    def wrong_type(d: Annotated[str, Slider(1, 2)] = "a", t: Annotated[int, Toggle()] = 0) -> Chart: ...
    def empty_range(d: Annotated[float, Slider(2, 1)] = 1) -> Chart: ...
    def mixed(m: Annotated[str, Choice([1, 2])] = "a") -> Chart: ...

    for function, message in [
        (bare, "needs a control"),
        (no_default, "give it a default"),
        (outside, "its default must be between 1 and 2"),
        (wrong_type, "t: a Toggle is for bool"),
        (empty_range, "must be below high"),
        (mixed, "every option must be str"),
    ]:
        with pytest.raises(FigureDefinitionError, match=message):
            declare(function)


def test_figures_and_labs_are_not_mixed_up() -> None:
    def yields() -> Iterator[Event]:
        yield Progress(1, 2)

    def returns() -> Chart:
        return Text("x")

    with pytest.raises(FigureDefinitionError, match="@lab"):
        declare(yields)
    with pytest.raises(FigureDefinitionError, match="must yield"):
        lab(title=TITLE, seconds=1, summary=TITLE)(returns)  # type: ignore[type-var]


def test_a_figure_must_return_charts() -> None:
    @figure(title=TITLE)
    def wrong() -> Any:
        return {"kind": "bars"}

    with pytest.raises(TypeError, match="returned a dict; return Bars"):
        spec_of(wrong).draw({}, "zh")


CHARTS: list[Chart] = [
    Bars(["猫", Both("狗", "dog")], np.array([1, 2]), highlight=1, unit=Both("个", "pieces")),
    Bars(["a", "b"], series={Both("前", "before"): torch.tensor([1.0, 2.0]), "after": [3, 4]}),
    Lines(
        {"loss": ([1, 2], np.float32([0.5, 0.25]))},
        x_log=True,
        marks=[(1, Both("起", "start"))],
        y_range=(0, 1),
    ),
    Points([(0, torch.tensor(1.5), "a", Both("组", "group")), (1, 2, None, None)]),
    Arrows([(1, 0, "q", None)], radius=1),
    Heatmap(torch.eye(2), x_labels=["a", "b"], y_labels=["c", "d"], domain=(0, 1), show_numbers=True),
    Heatmap([[1.0, None], [0.5, 0.5]], scale="diverging"),
    Tokens([[Token("你", np.int64(3), 0, Both("三个字节", "three bytes")), Token("好")]], labels=["zh"]),
    Table([Both("列", "column"), "n"], [[Both("行", "row"), 3], ["x", None]], highlight_row=0),
    Text(Both("一句", "a sentence")),
]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_charts_become_strict_json_in_both_languages(chart: Chart) -> None:
    zh, en = (json.loads(json.dumps(chart.to_json(lang), allow_nan=False)) for lang in ("zh", "en"))  # type: ignore[arg-type]
    assert zh["kind"] == en["kind"] == type(chart).__name__.lower()
    assert set(zh) == set(en) >= {"kind", "title"}


def test_texts_come_in_the_readers_language() -> None:
    bars = CHARTS[0]
    assert bars.to_json("en")["labels"] == ["猫", "dog"]
    assert bars.to_json("zh")["unit"] == "个"
    assert CHARTS[1].to_json("en")["series"][0] == {"name": "before", "values": [1.0, 2.0]}


def test_what_is_not_finite_becomes_null_and_is_noticed() -> None:
    with watching_not_finite() as found:
        assert Bars(["a", "b"], [math.nan, 1.0]).to_json("zh")["series"][0]["values"] == [None, 1.0]
        assert Heatmap([[None, -math.inf]]).to_json("zh")["values"] == [[None, None]]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bars(["a"], [1, 2]), "1 labels but 2 numbers"),
        (lambda: Bars(["a"]), "exactly one"),
        (lambda: Bars(["a"], [1], highlight=3), "highlight is 3"),
        (lambda: Lines({"l": ([1, 2], [1])}), "as many xs as ys"),
        (lambda: Heatmap([[1, 2], [1]]), "different lengths"),
        (lambda: Heatmap([[1, 2]], x_labels=["a"]), "1 x_labels"),
        (lambda: Tokens([[Token("a")]], labels=["a", "b"]), "2 labels for 1 rows"),
        (lambda: Token("a", tone=9), "0 to 7"),
        (lambda: Table(["a"], [[1, 2]]), "2 cells for 1 columns"),
        (lambda: Points([(1, 2)]), "label and group"),  # type: ignore[list-item]
        (lambda: Both("只有一种", None), "two strings"),  # type: ignore[arg-type]
    ],
)
def test_charts_refuse_what_cannot_be_drawn(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


CHOICE = Predict(
    TITLE, choices=["0.5", Both("更大", "more")], answer=lambda: 1, explain=lambda: Both("算", "computed")
)
NUMBER = Predict(TITLE, low=0, high=10, unit="ms", answer=lambda: np.float32(4), explain=TITLE)


def test_a_prediction_does_not_tell_its_answer() -> None:
    assert CHOICE.to_json("zh") == {"kind": "choice", "question": "标题", "choices": ["0.5", "更大"]}
    assert set(NUMBER.to_json("en")) == {"kind", "question", "low", "high", "step", "unit"}


def test_judging_choices_and_numbers() -> None:
    assert CHOICE.judge(1, "en") == {
        "right": True,
        "answer": 1,
        "answer_text": "more",
        "off_by": None,
        "explain": "computed",
    }
    assert CHOICE.judge(0, "zh")["right"] is False
    near, far = NUMBER.judge(4.5, "zh"), NUMBER.judge(9, "zh")
    assert (near["right"], near["off_by"], near["answer_text"]) == (True, 0.5, "4 ms")
    assert (far["right"], far["off_by"]) == (False, 5.0)


@pytest.mark.parametrize("answer", [2, -1, "1", None, True, 0.5])
def test_answers_that_are_no_choice(answer: Any) -> None:
    with pytest.raises(ControlError):
        CHOICE.judge(answer, "zh")


@pytest.mark.parametrize("answer", [11, "4", None, True, math.inf])
def test_answers_that_are_no_number_in_range(answer: Any) -> None:
    with pytest.raises(ControlError):
        NUMBER.judge(answer, "zh")


def test_a_prediction_whose_answer_nobody_could_give() -> None:
    with pytest.raises(ValueError, match="outside 0"):
        Predict(TITLE, low=0, high=1, answer=lambda: 2, explain=TITLE).truth()
    with pytest.raises(ValueError, match="not an index"):
        Predict(TITLE, choices=["a", "b"], answer=lambda: 2, explain=TITLE).truth()
    with pytest.raises(TypeError, match="function that computes"):
        Predict(TITLE, choices=["a", "b"], answer=1, explain=TITLE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="either choices"):
        Predict(TITLE, answer=lambda: 1, explain=TITLE)


@lab(title=TITLE, seconds=1, summary=TITLE)
def counts(
    upto: Annotated[int, Slider(1, 5)] = 2, fail: Annotated[bool, Toggle()] = False
) -> Iterator[Event]:
    for step in range(1, upto + 1):
        yield Progress(step, upto, Both("数", "counting"))
        yield Sample("n", step, step**2, y_label=Both("平方", "square"))
    yield Metric("last", float(upto), unit="n")
    yield Show("table", Table(["n"], [[upto]]))
    yield Say(Both("完了", "done"))
    if fail:
        raise RuntimeError("out of luck")


def test_a_lab_streams_events_and_says_that_it_is_done() -> None:
    events = list(spec_of(counts).run({"upto": 1}, "zh"))
    assert [event["event"] for event in events] == ["progress", "sample", "metric", "show", "say", "done"]
    assert events[0] == {"event": "progress", "done": 1, "total": 1, "note": "数"}
    assert events[1]["y_label"] == "平方"
    assert events[3]["chart"]["kind"] == "table"
    json.dumps(events, allow_nan=False)


def test_a_chart_is_shown_under_a_plain_name() -> None:
    with pytest.raises(TypeError, match="the name is Both"):
        Show(TITLE, Table(["n"], [[1]]))  # pyright: ignore[reportArgumentType]


def test_a_failing_lab_ends_with_its_error_and_bad_arguments_are_refused_first() -> None:
    events = list(spec_of(counts).run({"fail": True}, "en"))
    assert events[-1]["event"] == "error"
    assert events[-1]["message"] == "RuntimeError: out of luck"
    with pytest.raises(ControlError, match="between 1 and 5"):
        spec_of(counts).run({"upto": 9}, "en")


def test_values_are_computed_once_and_their_signature_is_in_the_error() -> None:
    calls = []

    @value
    def squared(n: int = 2) -> int:
        calls.append(n)
        return n * n

    assert [spec_of(squared).evaluate({"n": 3}) for _ in range(3)] == [9, 9, 9]
    assert calls == [3]
    with pytest.raises(TypeError, match=r"the function is squared\(n: "):
        spec_of(squared).evaluate({"m": 3})
