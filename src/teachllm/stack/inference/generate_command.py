"""``teachllm generate``: a text continued in the terminal, in any of the ways of decoding."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from teachllm.stack.data.assets import AssetError
from teachllm.stack.inference.command import (
    DEFAULT_MODEL,
    Lang,
    Weights,
    Words,
    about_model,
    terminal_language,
)

if TYPE_CHECKING:
    from teachllm.stack.inference.generation import EndReason
    from teachllm.stack.inference.language_model import LanguageModel
    from teachllm.stack.inference.sampling import Sampling
    from teachllm.stack.inference.speculation import Drafter, Step, Tally

# Of a model that was not trained to be read early, an exit before the last layers guesses next to nothing.
EXIT_AFTER = 0.9


def generate(
    text: str | None = None,
    *,
    model: str = DEFAULT_MODEL,
    weights: Weights = "auto",
    max_tokens: int = 100,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    repetition_penalty: float | None = None,
    num_beams: int | None = None,
    length_penalty: float | None = None,
    contrastive_alpha: float | None = None,
    speculate: str | None = None,
    draft_tokens: int | None = None,
    heads: Path | None = None,
    stop: tuple[str, ...] = (),
    seed: int | None = None,
    lang: Lang | None = None,
) -> None:
    """Continue a text, as a language model does: no chat template, no turns.

    Parameters
    ----------
    text
        The beginning. Without it, the input is read.
    model
        An asset, a GGUF file, or a folder of safetensors.
    weights
        In which numbers decoding reads the weights: auto, bf16, int8 or int4. Fewer bits are faster and less
        exact; auto takes them as the file has them.
    max_tokens
        The most tokens that are written.
    temperature
        0 always takes the most probable token; 1 draws from the model's own distribution.
    top_k
        Draw only from the k most probable tokens. In contrastive search: how many are tried (4 if not given).
    top_p
        Draw only from the most probable tokens whose probabilities reach this.
    min_p
        Draw only from tokens at least this many times as probable as the most probable one.
    typical_p
        Draw only from the tokens of most usual surprise, whose probabilities reach this.
    repetition_penalty
        Above 1, tokens that were there before become less likely.
    num_beams
        Beam search: keep this many beginnings, and show the best text in the end.
    length_penalty
        In beam search: 0 favours short texts, 1 (if not given) compares means over tokens, more favours long.
    contrastive_alpha
        Contrastive search: from 0 (greedy) to 1, how much a token that resembles what was said is avoided.
    speculate
        Guess tokens and verify several in one pass; the text is as likely as without. Who guesses: "ngram"
        (copies from the text itself), "early-exit" (the model's own first layers), "medusa" (heads that
        `teachllm medusa` trained), or a smaller model, named as the model is. With heads and a temperature,
        what the model finds typical stays (typical acceptance), and the text is not as likely as without.
    draft_tokens
        How many tokens are guessed for each pass; 4 if not given. Of heads: the nodes of the tree.
    heads
        The file of the Medusa heads.
    stop
        End before this text; may be given several times.
    seed
        The same seed gives the same text.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    from teachllm.stack.inference.generation import as_text, generate_tokens
    from teachllm.stack.inference.language_model import load_language_model
    from teachllm.stack.inference.sampling import Sampling
    from teachllm.stack.inference.speculation import Tally, speculative_tokens, tokens_of

    words = Words(lang or terminal_language())
    beginning = _piped_text(words) if text is None else text
    stopping, tally = threading.Event(), Tally()
    try:
        sampling = Sampling(temperature, top_k, top_p, min_p, typical_p, repetition_penalty, seed)
        _refuse_mixtures(sampling, num_beams, length_penalty, contrastive_alpha, speculate, draft_tokens)
        _refuse_heads(sampling, speculate, heads)
        with words.loading():
            loaded = load_language_model(model, weights=weights)
        words.note(escape(about_model(loaded, loaded.attention, words)))
        ids = loaded.encode_text(beginning)
        if num_beams is not None:
            tokens = _by_beams(loaded, ids, num_beams, max_tokens, length_penalty, words, stopping)
        elif contrastive_alpha is not None:
            tokens = _by_contrast(loaded, ids, top_k or 4, contrastive_alpha, max_tokens, stopping)
        elif heads is not None:
            steps = _by_heads(loaded, ids, heads, draft_tokens, temperature, max_tokens, stopping)
            tokens = tokens_of(steps, tally)
        elif speculate is not None:
            tokens = speculative_tokens(
                loaded.model,
                _drafter(loaded, speculate),
                ids,
                k=4 if draft_tokens is None else draft_tokens,
                sampling=sampling,
                max_tokens=max_tokens,
                end_tokens=loaded.end_tokens,
                stop=stopping,
                tally=tally,
            )
        else:
            tokens = generate_tokens(
                loaded.model,
                ids,
                sampling=sampling,
                max_tokens=max_tokens,
                end_tokens=loaded.end_tokens,
                stop=stopping,
            )
        words.show(beginning)
        for event in as_text(tokens, loaded.tokenizer, len(ids), stop):
            words.show(event.text)
    except (ValueError, OSError, AssetError) as problem:
        words.fail(problem)
    except KeyboardInterrupt:
        words.show("\n")
        raise SystemExit(130) from None
    words.show("\n")
    if speculate is not None:
        _tell_tally(tally, words)


def _refuse_mixtures(
    sampling: Sampling,
    num_beams: int | None,
    length_penalty: float | None,
    contrastive_alpha: float | None,
    speculate: str | None,
    draft_tokens: int | None,
) -> None:
    """ValueError for options of which one would be ignored."""
    if num_beams is not None and contrastive_alpha is not None:
        raise ValueError("--num-beams and --contrastive-alpha are two ways of searching; give one of them")
    if speculate is not None and not (num_beams is None and contrastive_alpha is None):
        raise ValueError(
            "--speculate verifies what is drawn, not what is searched for; give no search with it"
        )
    if draft_tokens is not None and speculate is None:
        raise ValueError("--draft-tokens belongs to speculation; give --speculate too")
    if length_penalty is not None and num_beams is None:
        raise ValueError("--length-penalty belongs to beam search; give --num-beams too")
    if num_beams is None and contrastive_alpha is None:
        return
    used = set() if num_beams is not None else {"top_k"}
    given = {one.name for one in fields(sampling) if getattr(sampling, one.name) != one.default}
    if unused := sorted(given - used):
        options = ", ".join("--" + name.replace("_", "-") for name in unused)
        raise ValueError(f"a search draws nothing and has no use for {options}; leave that out")


def _refuse_heads(sampling: Sampling, speculate: str | None, heads: Path | None) -> None:
    """ValueError for heads without Medusa, Medusa without heads, or what draws tokens."""
    if (speculate == "medusa") != (heads is not None):
        raise ValueError(
            "--speculate medusa and --heads FILE belong together; teachllm medusa writes such a file"
        )
    drawing = ("top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "seed")
    if heads is not None and (given := [name for name in drawing if getattr(sampling, name) is not None]):
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"heads draw nothing and have no use for {options}; leave that out")


def _by_beams(
    loaded: LanguageModel,
    ids: list[int],
    num_beams: int,
    max_tokens: int,
    length_penalty: float | None,
    words: Words,
    stop: threading.Event,
) -> Iterator[int | EndReason]:
    from teachllm.stack.inference.beam_search import beam_search

    with words.waiting("正在搜索…", "Searching…"):
        best = beam_search(
            loaded.model,
            ids,
            num_beams=num_beams,
            max_tokens=max_tokens,
            end_tokens=loaded.end_tokens,
            length_penalty=1.0 if length_penalty is None else length_penalty,
            stop=stop,
        )[0]
    yield from best.tokens
    yield "stop" if best.tokens[-1] in loaded.end_tokens else "length"


def _by_contrast(
    loaded: LanguageModel, ids: list[int], top_k: int, alpha: float, max_tokens: int, stop: threading.Event
) -> Iterator[int | EndReason]:
    from teachllm.stack.inference.contrastive_search import contrastive_search

    return contrastive_search(
        loaded.model,
        ids,
        top_k=top_k,
        alpha=alpha,
        max_tokens=max_tokens,
        end_tokens=loaded.end_tokens,
        stop=stop,
    )


def _by_heads(
    loaded: LanguageModel,
    ids: list[int],
    file: Path,
    n_nodes: int | None,
    temperature: float,
    max_tokens: int,
    stop: threading.Event,
) -> Iterator[Step]:
    from teachllm.stack.inference.speculation import MedusaHeads, TypicalAcceptance, medusa_steps
    from teachllm.stack.inference.speculation.tree_choice import tree_of_size

    heads = MedusaHeads.load(file, loaded.model)
    return medusa_steps(
        loaded.model,
        heads,
        ids,
        tree_of_size(heads.accuracies, 4 if n_nodes is None else n_nodes),
        acceptance=TypicalAcceptance(temperature=temperature) if temperature else None,
        max_tokens=max_tokens,
        end_tokens=loaded.end_tokens,
        stop=stop,
    )


def _drafter(loaded: LanguageModel, speculate: str) -> Drafter:
    """Who guesses for `loaded`. Raises ValueError if it cannot, and what loading a model raises."""
    from teachllm.stack.inference.language_model import load_language_model
    from teachllm.stack.inference.speculation import (
        ModelDrafter,
        NgramDrafter,
        check_vocabulary,
        first_layers,
    )
    from teachllm.stack.models.llama import Llama

    if speculate == "ngram":
        return NgramDrafter()
    if speculate == "early-exit":
        if not isinstance(loaded.model, Llama):
            raise ValueError(f"{loaded.name} is no Llama; an early exit is made for that family. Try ngram.")
        return ModelDrafter(first_layers(loaded.model, int(EXIT_AFTER * loaded.model.config.n_layers)))
    draft = load_language_model(speculate, loaded.device, loaded.dtype)
    check_vocabulary(loaded.tokenizer.vocabulary, draft.tokenizer.vocabulary)
    return ModelDrafter(draft.model)


def _tell_tally(tally: Tally, words: Words) -> None:
    words.tell(
        f"猜了 {tally.drafted} 个 token，接受 {tally.acceptance:.0%}；"
        f"模型走了 {tally.steps} 步，每步写 {tally.tokens_per_step:.2f} 个 token",
        f"{tally.drafted} tokens guessed, {tally.acceptance:.0%} accepted; "
        f"{tally.steps} passes of the model, {tally.tokens_per_step:.2f} tokens each",
    )


def _piped_text(words: Words) -> str:
    if sys.stdin.isatty():
        words.fail(
            words.choose(
                '给出开头，例如：teachllm generate "从前有座山"',
                'Give a beginning, such as: teachllm generate "Once upon a time"',
            )
        )
    return sys.stdin.read().removesuffix("\n")
