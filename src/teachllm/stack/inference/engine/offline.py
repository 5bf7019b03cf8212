"""Many prompts whose answers nobody waits for one by one: the engine without a server.

All are given to the engine at once, which decides at every step whom to compute. So there is no batch size to
choose, and nothing is padded: whoever is done makes room for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Failed, Finished, RequestOptions, TokenOut
from teachllm.stack.inference.generation import EndReason
from teachllm.stack.inference.language_model import LanguageModel

SHOWN_REFUSALS = 5


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """One text, token by token, and its end."""

    outs: tuple[TokenOut, ...]
    end: Finished

    @property
    def tokens(self) -> list[int]:
        """Without an end token."""
        return [out.token for out in self.outs]

    @property
    def text(self) -> str:
        return "".join(out.text for out in self.outs) + self.end.text

    @property
    def reason(self) -> EndReason:
        return self.end.reason


@dataclass(frozen=True, slots=True)
class Generated:
    """The n texts behind one prompt, by their index; none where it failed, and then why."""

    prompt: tuple[int, ...]
    texts: tuple[GeneratedText, ...]
    failed: Failed | None = None


# region: generate_all
def generate_all(
    language_model: LanguageModel,
    prompts: Sequence[str | Sequence[int]],
    options: RequestOptions | Sequence[RequestOptions] | None = None,
    config: EngineConfig | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> list[Generated]:
    """What the model writes behind each of `prompts`, in their order. See `generate_each`.

    progress: is called with (prompts done, prompts in all) whenever one is done.
    """
    done: dict[int, Generated] = {}
    for i, generated in generate_each(language_model, prompts, options, config):
        done[i] = generated
        if progress is not None:
            progress(len(done), len(prompts))
    return [done[i] for i in range(len(prompts))]


# endregion: generate_all


def generate_each(
    language_model: LanguageModel,
    prompts: Sequence[str | Sequence[int]],
    options: RequestOptions | Sequence[RequestOptions] | None = None,
    config: EngineConfig | None = None,
) -> Iterator[tuple[int, Generated]]:
    """The number of a prompt and what was written behind it, as soon as it is complete.

    prompts: texts to be continued (special tokens in them are text), or ids, such as of `encode_chat`.
    options: for all, or for each. With a seed, what a text draws does not depend on what else is asked.
    One that fails on the way is `Generated.failed` and spoils no other. ValueError, before anything is
    computed, names the prompts that cannot be answered: empty, too long, with a constraint that is no
    grammar.
    """
    if options is None or isinstance(options, RequestOptions):
        options = [options or RequestOptions()] * len(prompts)
    if len(options) != len(prompts):
        raise ValueError(
            f"{len(prompts)} prompts and {len(options)} options: give one for all, or one for each"
        )
    engine = Engine(language_model, config)
    asked: list[tuple[tuple[int, ...], int]] = []
    refused: list[str] = []
    for i, (prompt, wanted) in enumerate(zip(prompts, options, strict=True)):
        ids = language_model.encode_text(prompt) if isinstance(prompt, str) else prompt
        asked.append((tuple(ids), wanted.n))
        try:
            engine.add(ids, wanted, request_id=str(i))
        except ValueError as problem:
            refused.append(f"prompt {i}: {problem}")
    if refused:
        shown = "; ".join(refused[:SHOWN_REFUSALS])
        more = len(refused) - SHOWN_REFUSALS
        raise ValueError(shown + (f"; and {more} more" if more > 0 else ""))
    return _as_they_end(engine, asked)


# region: as_they_end
def _as_they_end(
    engine: Engine, asked: Sequence[tuple[tuple[int, ...], int]]
) -> Iterator[tuple[int, Generated]]:
    outs: list[list[list[TokenOut]]] = [[[] for _ in range(n)] for _, n in asked]
    ends: list[dict[int, Finished]] = [{} for _ in asked]
    while engine.has_work:
        for output in engine.step():
            i = int(output.request)
            prompt, n = asked[i]
            match output:
                case TokenOut():
                    outs[i][output.index].append(output)
                case Failed():
                    yield i, Generated(prompt, (), output)
                case Finished():
                    ends[i][output.index] = output
                    if len(ends[i]) == n:
                        texts = (GeneratedText(tuple(outs[i][k]), ends[i][k]) for k in range(n))
                        yield i, Generated(prompt, tuple(texts))


# endregion: as_they_end
