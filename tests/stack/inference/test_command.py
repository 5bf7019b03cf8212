"""`teachllm chat` and `teachllm generate`, piped, in a terminal, and with nothing to load."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from teachllm.stack.chat import ChatOptions, Failure, ScriptedChatModel, TextDelta
from teachllm.stack.inference import beam_search, contrastive_search, load_language_model
from teachllm.stack.inference.command import Conversation, Words, chat
from teachllm.stack.inference.generate_command import generate


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedChatModel]:
    """Pipe lines into a conversation with a scripted model."""

    def run(lines: str, answers: list[object], system: str | None = None) -> ScriptedChatModel:
        model = ScriptedChatModel(answers)  # pyright: ignore[reportArgumentType]
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        Conversation(model, ChatOptions(), system, Words("en")).run("scripted")
        return model

    return run


def test_every_line_is_a_question_and_the_conversation_is_remembered(
    ask: Callable[..., ScriptedChatModel], capsys: pytest.CaptureFixture[str]
) -> None:
    model = ask("one\n\n  two \n/reset\nthree\n/quit\nfour\n", ["A", "B", "C"], system="be brief")
    assert capsys.readouterr().out == "A\nB\nC\n"
    assert [[message.content for message in request.messages] for request in model.requests] == [
        ["be brief", "one"],
        ["be brief", "one", "A", "two"],
        ["be brief", "three"],
    ]


def test_a_failure_ends_a_pipe_with_1(
    ask: Callable[..., ScriptedChatModel], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ask("one\ntwo\n", [[TextDelta("half"), Failure("server", "it [broke]")], "never"])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == "half\n"
    assert shown.err == "it [broke]\n"


def test_a_model_cannot_command_the_terminal(
    ask: Callable[..., ScriptedChatModel], capsys: pytest.CaptureFixture[str]
) -> None:
    ask("x\n", ["a\x1b[2Jb\x07\x9bc\td👩‍💻　[bold]"])
    assert capsys.readouterr().out == "a[2Jbc\td👩‍💻　[bold]\n"


def test_without_the_model_it_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHLLM_ASSETS", str(tmp_path / "none"))
    for command in (lambda: chat(lang="en"), lambda: generate("x", lang="zh")):
        with pytest.raises(SystemExit) as ended:
            command()
        assert ended.value.code == 1
        assert "teachllm assets fetch smollm2-135m-instruct" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (lambda: generate("x", temperature=-1), "temperature is -1"),
        (lambda: chat(temperature=9), "temperature is 9"),
        (lambda: chat(endpoint="nonsense"), "base_url is 'nonsense'"),
        (lambda: chat(model="/no/such/file.gguf"), "/no/such/file.gguf is neither"),
    ],
)
def test_wrong_options_are_explained(
    command: Callable[[], None], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_beams": 2, "temperature": 0.7, "top_p": 0.9}, "no use for --temperature, --top-p"),
        ({"num_beams": 2, "contrastive_alpha": 0.6}, "two ways of searching"),
        ({"length_penalty": 1.0}, "give --num-beams too"),
        ({"contrastive_alpha": 0.6, "top_k": 4, "seed": 1}, "no use for --seed"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"contrastive_alpha": 2.0}, "alpha is 2.0"),
        ({"speculate": "ngram", "num_beams": 2}, "give no search with it"),
        ({"draft_tokens": 3}, "give --speculate too"),
        ({"speculate": "ngram", "draft_tokens": -1}, "k is -1"),
        ({"speculate": "/no/such/model.gguf"}, "/no/such/model.gguf is neither"),
        ({"typical_p": 3.0}, "typical_p is 3.0"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    model_folder: Path, options: dict[str, float], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        generate("x", model=str(model_folder), **options)  # pyright: ignore[reportArgumentType]
    assert words in capsys.readouterr().err


def test_generate_searches(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tiny model's weights are random: what is written is compared with what the search itself finds."""
    loaded = load_language_model(str(model_folder))
    ids = loaded.encode_text("Once")
    options = {"max_tokens": 8, "end_tokens": loaded.end_tokens}
    best = beam_search(loaded.model, ids, num_beams=3, length_penalty=0.5, **options)[0]
    generate("Once", model=str(model_folder), max_tokens=8, num_beams=3, length_penalty=0.5)
    expected = io.StringIO()
    with contextlib.redirect_stdout(expected):
        Words("en").show("Once" + loaded.tokenizer.decode(best.tokens) + "\n")
    assert capsys.readouterr().out == expected.getvalue()
    *tokens, _ = contrastive_search(loaded.model, ids, top_k=4, alpha=0.6, **options)
    generate("Once", model=str(model_folder), max_tokens=8, contrastive_alpha=0.6)
    expected = io.StringIO()
    with contextlib.redirect_stdout(expected):
        Words("en").show("Once" + loaded.tokenizer.decode(tokens) + "\n")
    assert capsys.readouterr().out == expected.getvalue()


@pytest.mark.parametrize("who", ["ngram", "early-exit", "the model itself"])
def test_generate_speculates_and_says_what_it_gained(
    model_folder: Path, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("Once", model=str(model_folder), max_tokens=12, lang="en")
    plain = capsys.readouterr()
    who = str(model_folder) if who == "the model itself" else who
    generate("Once", model=str(model_folder), max_tokens=12, speculate=who, draft_tokens=2, lang="en")
    speculated = capsys.readouterr()
    assert speculated.out == plain.out
    assert "tokens guessed" in speculated.err
    assert "tokens guessed" not in plain.err
    if who == str(model_folder):
        assert "8 tokens guessed, 100% accepted; 4 passes of the model, 3.00 tokens each" in speculated.err


def test_generate_writes_the_beginning_and_its_continuation(
    model_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate("Once", model=str(model_folder), max_tokens=8)
    first = capsys.readouterr().out
    assert first.startswith("Once")
    assert first.endswith("\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("Once\n"))
    generate(model=str(model_folder), max_tokens=8)
    assert capsys.readouterr().out == first


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal")
def test_in_a_terminal_ctrl_c_stops_the_answer_and_not_the_program(tmp_path: Path) -> None:
    import pty

    program = """
from teachllm.stack.chat import ChatOptions, ScriptedChatModel
from teachllm.stack.inference.command import Conversation, Words
model = ScriptedChatModel([" ".join(map(str, range(2000))), "the second answer"], delay=0.05)
Conversation(model, ChatOptions(), None, Words("en")).run("scripted model")
"""
    terminal, child_side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=child_side,
        stdout=child_side,
        stderr=child_side,
        start_new_session=True,
        env=os.environ | {"TERM": "dumb"},
    )
    os.close(child_side)
    shown = bytearray()

    def listen() -> None:
        try:
            while data := os.read(terminal, 4096):
                shown.extend(data)
        except OSError:
            return  # the child closed its side

    listener = threading.Thread(target=listen)
    listener.start()

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 30
        while text.encode() not in shown:
            assert time.monotonic() < deadline, shown.decode()
            time.sleep(0.02)

    try:
        wait_for("> ")
        assert b"scripted model" in shown
        os.write(terminal, b"count\n")
        wait_for("0 1 2")
        child.send_signal(signal.SIGINT)
        wait_for("(stopped)")
        os.write(terminal, b"again\n")
        wait_for("the second answer")
        os.write(terminal, b"/help\n")
        wait_for("/reset forgets")
        os.write(terminal, b"/quit\n")
        assert child.wait(timeout=30) == 0
    finally:
        child.kill()
        child.wait()
        listener.join()
        os.close(terminal)
    assert b"1999" not in shown
