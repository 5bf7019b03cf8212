"""Scores against a computation by hand on a tiny model, whatever the batches."""

from __future__ import annotations

import math

import pytest
import torch

from teachllm.stack.evaluation import likelihood
from teachllm.stack.evaluation.harness import evaluate, share, write
from teachllm.stack.evaluation.likelihood import (
    Pair,
    begin_token,
    encode_pair,
    likelihoods,
    scoring,
    windows,
)
from teachllm.stack.evaluation.tasks import (
    Choice,
    ChoiceTask,
    GenerationTask,
    PerplexityTask,
    Question,
)
from teachllm.stack.inference.generation import ContextFull
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer

CONTEXT = 24


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(
        ["the cat sat on the mat and the dog sat on the log"], 280, special_tokens=["<|endoftext|>"]
    )
    model = Llama(LlamaConfig(tokenizer.vocab_size, 16, 2, 2, 1, 8, 24, CONTEXT, tied_head=True)).eval()
    for weight in model.parameters():
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=0.5)
    end = tokenizer.special_tokens["<|endoftext|>"]
    return LanguageModel("tiny", model, tokenizer, None, (), frozenset([end]))


@torch.inference_mode()
def by_hand(tiny: LanguageModel, pair: Pair) -> tuple[float, bool]:
    """One token after another, each from a forward pass of its own."""
    total, greedy = 0.0, True
    for i, token in enumerate(pair.continuation):
        seen = (*pair.context, *pair.continuation[:i])
        logits = tiny.model(torch.tensor([seen]))[0, -1].double()
        total += float(logits.log_softmax(-1)[token])
        greedy &= int(logits.argmax()) == token
    return total, greedy


@pytest.mark.parametrize("batch_tokens", [1, 40, 4096])
def test_likelihoods_are_those_of_single_steps(
    tiny: LanguageModel, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "BATCH_TOKENS", batch_tokens)
    monkeypatch.setattr(likelihood, "HEAD_ROWS", 3)
    draw = torch.Generator().manual_seed(1)
    pairs = []
    for n_context, n_continuation in [(1, 1), (5, 3), (2, 9), (12, 1), (3, 3), (20, 5)]:
        ids = torch.randint(0, 260, (n_context + n_continuation,), generator=draw).tolist()
        pairs.append(Pair(tuple(ids[:n_context]), tuple(ids[n_context:])))
    best = int(tiny.model(torch.tensor([[7]]))[0, -1].argmax())
    pairs.append(Pair((7,), (best,)))  # what greedy decoding would write
    done = []
    found = likelihoods(scoring(tiny), pairs, lambda n, total: done.append((n, total)))
    for pair, one in zip(pairs, found, strict=True):
        logprob, greedy = by_hand(tiny, pair)
        assert one.logprob == pytest.approx(logprob, abs=1e-4)
        assert one.is_greedy == greedy
    assert found[-1].is_greedy
    assert done[-1] == (len(pairs), len(pairs))


def test_a_long_context_loses_its_beginning(tiny: LanguageModel) -> None:
    ids = tuple(range(30, 30 + 2 * CONTEXT))
    long, short = Pair(ids, (5, 6)), Pair(ids[-(CONTEXT - 1) :], (5, 6))
    found = likelihoods(scoring(tiny), [long, short])
    assert found[0].logprob == pytest.approx(found[1].logprob, abs=1e-5)


def test_a_continuation_that_cannot_fit_is_refused(tiny: LanguageModel) -> None:
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} tokens cannot be scored at once"):
        likelihoods(scoring(tiny), [Pair((1,), (2,) * (CONTEXT + 1))])
    with pytest.raises(ValueError, match="at least one of each"):
        Pair((), (1,))


def test_a_pair_is_cut_where_the_whole_text_is(tiny: LanguageModel) -> None:
    pair = encode_pair(tiny, "the cat ", "sat")
    assert tiny.tokenizer.decode(pair.context) == "the cat"
    assert [*pair.context, *pair.continuation] == tiny.tokenizer.encode("the cat sat")
    empty = encode_pair(tiny, "", "the cat")
    assert empty.context == (begin_token(tiny),)
    assert list(empty.continuation) == tiny.tokenizer.encode("the cat")


def test_windows_score_every_token_once() -> None:
    pieces = list(windows(range(10, 17), 99, 3))
    assert pieces == [Pair((99,), (10, 11, 12)), Pair((12,), (13, 14, 15)), Pair((13, 14, 15), (16,))]


def test_choice_accuracy_as_a_whole_and_by_character(tiny: LanguageModel) -> None:
    items = tuple(
        Choice(context, choices, answer)
        for context, choices, answer in [
            ("the cat", (" sat", " sat on the mat and the dog sat"), 0),
            ("the dog", (" sat on the log and the cat", " log"), 0),
            ("on the", (" mat", " cat", " log on the log"), 1),
        ]
    )
    whole, by_character, given = [], [], []
    for item in items:
        sums = [by_hand(tiny, encode_pair(tiny, item.context, choice))[0] for choice in item.choices]
        means = [total / len(choice.strip()) for total, choice in zip(sums, item.choices, strict=True)]
        given.append(item.choices[sums.index(max(sums))])
        whole.append(sums.index(max(sums)) == item.answer)
        by_character.append(means.index(max(means)) == item.answer)
    assert whole != by_character, "the items must tell the two measures apart"
    result = evaluate(tiny, ChoiceTask("t", "d", items))
    assert [outcome.given for outcome in result.outcomes] == given
    assert [outcome.correct for outcome in result.outcomes] == whole
    assert result.scores["accuracy"] == share(whole)
    assert result.scores["accuracy_by_character"] == share(by_character)


def test_perplexity_weighs_texts_by_their_length(tiny: LanguageModel) -> None:
    texts = ("the cat sat on the mat " * 4, "狗")
    nats = n_tokens = 0.0
    for text in texts:
        ids = tiny.tokenizer.encode(text)
        for pair in windows(ids, begin_token(tiny), CONTEXT):
            nats -= by_hand(tiny, pair)[0]
        n_tokens += len(ids)
    scores = evaluate(tiny, PerplexityTask("t", "d", texts)).scores
    n_bytes = sum(len(text.encode()) for text in texts)
    assert scores["perplexity"].value == pytest.approx(math.exp(nats / n_tokens), rel=1e-5)
    assert scores["bits_per_byte"].value == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-5)
    assert scores["bits_per_token"].value == pytest.approx(nats / math.log(2) / n_tokens, rel=1e-5)


def test_generation_is_judged_by_its_verifier(tiny: LanguageModel) -> None:
    written = write(tiny, "the cat", max_tokens=6, stop=())
    task = GenerationTask(
        "t", "d", (Question("the cat", written), Question("the cat", "no")), "same_text", 6, ()
    )
    result = evaluate(tiny, task)
    assert [outcome.correct for outcome in result.outcomes] == [True, False]
    assert result.scores["accuracy"].value == 0.5


def test_what_is_written_ends_before_a_stop_text(tiny: LanguageModel) -> None:
    # An untrained model writes half characters too; this needs a prompt after which it does not.
    prompts = [tiny.tokenizer.decode([token]) for token in range(256, tiny.tokenizer.vocab_size - 1)]
    for prompt in prompts:
        written = write(tiny, prompt, max_tokens=4, stop=())
        if written.isascii() and len(written) > 2:
            break
    else:
        pytest.fail("the model writes no plain text")
    cut = len(written) - 2
    assert write(tiny, prompt, max_tokens=4, stop=[written[cut:]]) == written[: written.index(written[cut:])]


def test_a_prompt_that_is_too_long_loses_its_beginning(tiny: LanguageModel) -> None:
    ids = tiny.tokenizer.encode("the dog sat on the log " * 6)
    kept = tiny.tokenizer.decode(ids[-(CONTEXT - 4) :])
    assert write(tiny, "the dog sat on the log " * 6, max_tokens=4, stop=()) == write(
        tiny, kept, max_tokens=4, stop=()
    )
    with pytest.raises(ContextFull, match=f"{CONTEXT} tokens are to be written"):
        write(tiny, "the", max_tokens=CONTEXT, stop=())


def test_limit_and_progress(tiny: LanguageModel) -> None:
    task = PerplexityTask("t", "d", ("the cat", "the dog", "the log"))
    seen: list[tuple[int, int]] = []
    assert evaluate(tiny, task, limit=2, on_progress=lambda *n: seen.append(n)).scores["perplexity"].n == 2
    assert seen[-1] == (2, 2)
    with pytest.raises(ValueError, match="limit is 0"):
        evaluate(tiny, task, limit=0)


def test_standard_error() -> None:
    assert share([True]).standard_error is None
    score = share([True, False, True, True])
    assert (score.value, score.n) == (0.75, 4)
    assert score.standard_error == pytest.approx(torch.tensor([1.0, 0, 1, 1]).std().item() / 2)


def test_a_tokenizer_without_a_token_that_begins_a_text(tiny: LanguageModel) -> None:
    bare = Tokenizer.train(["the cat"], 258)
    nameless = LanguageModel("bare", tiny.model, bare, None, (), frozenset())
    with pytest.raises(ValueError, match="bare has no token that begins or ends a text"):
        begin_token(nameless)
