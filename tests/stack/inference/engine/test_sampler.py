"""Many texts choose at once as each would alone."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.inference import Sampling, choose_token
from teachllm.stack.inference.engine.request import Constraint
from teachllm.stack.inference.engine.sampler import NOT_FINITE, Choice, Chooser, NoChoice, choose_tokens
from teachllm.stack.inference.engine.structured import GrammarError, Grammars
from teachllm.stack.tokenizer import Tokenizer

SAMPLINGS = [
    Sampling(),
    Sampling(repetition_penalty=1.5),
    Sampling(temperature=0.7, seed=1),
    Sampling(temperature=0.7, seed=2),
    Sampling(temperature=1.3, top_k=5, seed=3),
    Sampling(temperature=1.0, top_p=0.6, seed=4),
    Sampling(temperature=1.0, top_p=0.6, seed=5),
    Sampling(temperature=1.0, min_p=0.1, repetition_penalty=1.2, seed=6),
    Sampling(temperature=1.0, typical_p=0.5, seed=7),
]


def chooser(sampling: Sampling, seen: torch.Tensor, **more: object) -> Chooser:
    generator = None if sampling.temperature == 0 else sampling.generator()
    has_penalty = sampling.repetition_penalty is not None
    one = Chooser(sampling, generator, **more)  # pyright: ignore[reportArgumentType]
    if has_penalty:
        one.seen = torch.cat([seen, torch.zeros(50, dtype=torch.long)])
        one.n_seen = len(seen)
    return one


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_are_those_of_choose_token(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    n_steps, vocab = 20, 500
    # In bfloat16 many logits are equal, and ties must fall alike.
    logits = (2 * torch.randn(n_steps, len(SAMPLINGS), vocab)).to(dtype)
    seen = [torch.randint(vocab, (6,)) for _ in SAMPLINGS]
    alone = []
    for i, sampling in enumerate(SAMPLINGS):
        generator, text = sampling.generator(), seen[i].tolist()
        for step in logits[:, i]:
            text.append(choose_token(step, torch.tensor(text), sampling, generator))
        alone.append(text[6:])
    choosers = [chooser(sampling, seen[i]) for i, sampling in enumerate(SAMPLINGS)]
    together: list[list[int]] = [[] for _ in SAMPLINGS]
    for step in logits:
        for i, choice in enumerate(choose_tokens(step, choosers)):
            assert isinstance(choice, Choice)
            choosers[i].accept(choice.token)
            together[i].append(choice.token)
    assert together == alone


def test_a_choice_can_be_made_again_until_it_is_accepted() -> None:
    logits = torch.randn(1, 50)
    one = chooser(Sampling(temperature=1.0, seed=1), torch.zeros(0, dtype=torch.long))
    (first,), (again,) = choose_tokens(logits, [one]), choose_tokens(logits, [one])
    assert first == again
    rest = set()
    for _ in range(20):
        (choice,) = choose_tokens(logits, [one])
        assert isinstance(choice, Choice)
        rest.add(choice.token)
        one.accept(choice.token)
    assert len(rest) > 3


def test_rows_without_a_choice_do_not_disturb_the_others() -> None:
    logits = torch.randn(4, 30)
    logits[0, 3] = torch.nan
    logits[2] = -torch.inf
    nothing = torch.zeros(0, dtype=torch.long)
    choosers = [chooser(Sampling(temperature=t, seed=1), nothing) for t in (0.0, 0.0, 1.0, 1.0)]
    broken, greedy, empty, drawn = choose_tokens(logits, choosers)
    assert broken is NOT_FINITE
    assert empty is NOT_FINITE
    assert greedy == Choice(int(logits[1].argmax()))
    assert drawn == choose_tokens(logits[3:], [chooser(Sampling(temperature=1.0, seed=1), nothing)])[0]


def test_log_probabilities_only_for_those_who_ask() -> None:
    logits = torch.randn(3, 30, dtype=torch.float64)
    nothing = torch.zeros(0, dtype=torch.long)
    choosers = [chooser(Sampling(), nothing, logprobs=k) for k in (None, 0, 2)]
    none, own, two = choose_tokens(logits, choosers)
    logprobs = logits.log_softmax(-1)
    assert none == Choice(int(logits[0].argmax()))
    assert isinstance(own, Choice)
    assert own.top_logprobs == ()
    assert own.logprob == pytest.approx(logprobs[1].max().item(), abs=1e-6)
    assert isinstance(two, Choice)
    best = logprobs[2].topk(2)
    assert [token for token, _ in two.top_logprobs] == best.indices.tolist()
    assert [value for _, value in two.top_logprobs] == pytest.approx(best.values.tolist(), abs=1e-6)


def test_a_grammar_masks_its_own_row(tokenizer: Tokenizer) -> None:
    logits = torch.zeros(2, 258)
    logits[:, ord("x")] = 5.0
    nothing = torch.zeros(0, dtype=torch.long)
    parser = Grammars(tokenizer).parser(Constraint.regex("ab"), {257})
    bound, free = chooser(Sampling(), nothing, parser=parser), chooser(Sampling(), nothing)
    assert choose_tokens(logits, [bound, free]) == [Choice(ord("a")), Choice(ord("x"))]
    with pytest.raises(GrammarError, match="token 120 does not fit"):
        bound.accept(ord("x"))
    failed, fine = choose_tokens(logits, [bound, free])
    assert isinstance(failed, NoChoice)
    assert failed.kind == "grammar"
    assert fine == Choice(ord("x"))
