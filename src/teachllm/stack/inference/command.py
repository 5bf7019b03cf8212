"""``teachllm chat``: a conversation with the local model in the terminal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NoReturn

from rich.console import Console
from rich.markup import escape

from teachllm.stack.chat import (
    ChatModel,
    ChatOptions,
    Failure,
    Finish,
    Message,
    OpenAIChatModel,
    TextDelta,
    Usage,
)
from teachllm.stack.data.assets import AssetError

if TYPE_CHECKING:
    from teachllm.stack.inference.language_model import LanguageModel
    from teachllm.stack.nn.attention_choice import AttentionChoice

DEFAULT_MODEL = "smollm2-135m-instruct"
Lang = Literal["zh", "en"]
Weights = Literal["auto", "bf16", "int8", "int4"]  # see `fast_decoding`, which is slow to import


def chat(
    *,
    model: str = DEFAULT_MODEL,
    weights: Weights = "auto",
    system: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    endpoint: str | None = None,
    lang: Lang | None = None,
) -> None:
    """Talk to a model. Without a terminal, every line of the input is a question.

    Parameters
    ----------
    model
        An asset, a GGUF file, a folder of safetensors; with --endpoint, a name that the endpoint knows.
    weights
        In which numbers decoding reads the weights: auto, bf16, int8 or int4. Fewer bits are faster and less
        exact; auto takes them as the file has them.
    system
        What the model is told before the conversation.
    temperature
        0 always takes the most probable token; 1 draws from the model's own distribution.
    top_p
        Draw only from the most probable tokens whose probabilities reach this.
    max_tokens
        The longest answer.
    seed
        The same seed gives the same answers.
    endpoint
        Address of an OpenAI-compatible server, such as http://localhost:8000/v1. Its key is read from the
        environment variable OPENAI_API_KEY.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    words = Words(lang or terminal_language())
    try:
        options = ChatOptions(temperature, top_p, max_tokens, seed=seed)
        if endpoint is not None:
            chat_model: ChatModel = OpenAIChatModel(
                endpoint, model, api_key=os.environ.get("OPENAI_API_KEY") or None
            )
            about = f"{model} · {endpoint}"
        else:
            chat_model, about = _local_model(model, weights, words)
    except (ValueError, OSError, AssetError) as problem:
        words.fail(problem)
    Conversation(chat_model, options, system, words).run(about)


class Conversation:
    """Questions and answers, until the input ends or somebody quits."""

    def __init__(self, model: ChatModel, options: ChatOptions, system: str | None, words: Words) -> None:
        self._model = model
        self._options = options
        self._start = [Message("system", system)] if system else []
        self._messages = list(self._start)
        self._words = words

    def run(self, about: str) -> None:
        """Exits with 1 if an answer failed and nobody sits at the terminal to see it."""
        interactive = sys.stdin.isatty()
        if interactive:
            self._words.note(escape(about))
            self._words.tell("/help 看命令，/quit 退出。", "/help shows the commands, /quit ends.")
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  editing and history of the input line
        for line in _lines(interactive, self._words):
            question = line.strip()
            if question in ("/quit", "/exit"):
                return
            if question == "/reset":
                self._messages = list(self._start)
                self._words.tell("对话已清空。", "The conversation is empty again.")
            elif question.startswith("/"):
                self._words.tell(
                    "/reset 清空对话 · /quit 退出 · Ctrl-C 停下正在写的回答",
                    "/reset forgets the conversation · /quit ends · Ctrl-C stops an answer",
                )
            elif question and not self._ask(question) and not interactive:
                raise SystemExit(1)

    def _ask(self, question: str) -> bool:
        """Whether an answer came; if not, the question is forgotten."""
        conversation = [*self._messages, Message("user", question)]
        stop = threading.Event()
        text = ""
        usage: Usage | None = None
        began = time.perf_counter()
        with interrupt_sets(stop):
            for event in self._model.stream(conversation, options=self._options, stop=stop):
                match event:
                    case TextDelta():
                        began = began if text else time.perf_counter()
                        text += event.text
                        self._words.show(event.text)
                    case Usage():
                        usage = event
                    case Failure():
                        self._words.show("\n" if text else "")
                        self._words.problem(event.message)
                        return False
                    case Finish():
                        self._words.show("\n")
                        self._after(event, usage, time.perf_counter() - began)
        self._messages = [*conversation, Message("assistant", text)] if text else self._messages
        return True

    def _after(self, finish: Finish, usage: Usage | None, seconds: float) -> None:
        if finish.reason == "cancelled":
            self._words.tell("（已停下）", "(stopped)")
        elif finish.reason == "length":
            self._words.tell("（到了长度上限）", "(reached the longest answer)")
        if sys.stdin.isatty() and usage is not None and usage.completion_tokens > 1:
            speed = (usage.completion_tokens - 1) / max(seconds, 1e-3)
            self._words.tell(
                f"{usage.completion_tokens} 个 token，每秒 {speed:.0f} 个",
                f"{usage.completion_tokens} tokens, {speed:.0f} a second",
            )


def _local_model(model: str, weights: Weights, words: Words) -> tuple[ChatModel, str]:
    """The model, loaded, and one line about it."""
    with words.loading():
        from teachllm.stack.inference.local_chat import LocalChatModel

        local = LocalChatModel(model, weights=weights)
        loaded = local.load()
    return local, about_model(loaded, loaded.attention, words)


def about_model(loaded: LanguageModel, attention: AttentionChoice | None, words: Words) -> str:
    """One line: which model, where it runs, in which numbers, by which kernels, and why."""
    from teachllm.stack.nn.device import choose_device

    numbers = str(loaded.dtype).removeprefix("torch.")
    why = words.choose(choose_device().reason_zh, choose_device().reason)
    parts = [
        loaded.name,
        f"{loaded.n_parameters / 1e6:.0f} M",
        loaded.device_name,
        f"{numbers} ({why})",
        words.choose(loaded.decoding_zh, loaded.decoding),
    ]
    if attention is not None:
        parts.append(words.choose(f"注意力：{attention.reason_zh}", f"attention: {attention.reason}"))
    return " · ".join(filter(None, parts))


def _lines(interactive: bool, words: Words) -> Iterator[str]:
    """The lines of the input. Ctrl-C clears the line that is being written."""
    if not interactive:
        yield from sys.stdin
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            words.show("\n")
            return
        except KeyboardInterrupt:
            words.show("\n")
            words.tell("/quit 或 Ctrl-D 退出。", "/quit or Ctrl-D ends.")


@contextlib.contextmanager
def interrupt_sets(
    stop: threading.Event,
    signals: tuple[signal.Signals, ...] = (signal.SIGINT,),
    second_interrupts: bool = True,
) -> Iterator[None]:
    """Ctrl-C sets `stop`, so that what is being done ends in order; a second one interrupts as usual.

    signals: those that count as Ctrl-C. second_interrupts: False where a program passes each on once more.
    """

    def interrupted(signal_number: int, frame: object) -> None:
        if stop.is_set() and second_interrupts:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, interrupted) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Words:
    """What the commands print: texts of a model as they are, messages in the reader's language to stderr."""

    def __init__(self, lang: Lang) -> None:
        self._lang = lang
        self._messages = Console(stderr=True, soft_wrap=True, highlight=False)

    def show(self, text: str) -> None:
        """A model's text, without the control characters that could command the terminal."""
        sys.stdout.write(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text))
        sys.stdout.flush()

    def tell(self, zh: str, en: str) -> None:
        self.note(escape(self.choose(zh, en)))

    def note(self, text: str) -> None:
        self._messages.print(f"[dim]{text}[/dim]")

    def problem(self, text: str) -> None:
        self._messages.print(f"[red]{escape(text)}[/red]")

    def fail(self, problem: Exception | str) -> NoReturn:
        """Say what is wrong and end with 1."""
        self.problem(str(problem))
        raise SystemExit(1) from None

    def choose(self, zh: str, en: str) -> str:
        return zh if self._lang == "zh" else en

    def loading(self) -> contextlib.AbstractContextManager[object]:
        return self.waiting(
            "正在载入模型…（第一次要编译解码的内核，需要几秒）",
            "Loading the model… (the first time, kernels for decoding are compiled: some seconds)",
        )

    def waiting(self, zh: str, en: str) -> contextlib.AbstractContextManager[object]:
        return self._messages.status(self.choose(zh, en))


def terminal_language() -> Lang:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(name):
            return "zh" if os.environ[name].lower().startswith("zh") else "en"
    return "en"
