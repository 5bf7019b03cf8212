"""The engine answers each request as if it were alone, whatever else it does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from teachllm.stack.inference import Sampling, beam_search, generate, generate_tokens
from teachllm.stack.inference.engine import engine as engine_module
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import (
    BeamSearch,
    Constraint,
    NeverFits,
    RequestOptions,
)
from teachllm.stack.inference.engine.sampler import Chooser
from teachllm.stack.inference.engine.scheduler import Job
from teachllm.stack.inference.generation import ContextFull
from teachllm.stack.inference.language_model import LanguageModel

SAMPLINGS = (
    Sampling(),
    Sampling(repetition_penalty=1.3),
    Sampling(temperature=1.0),
    Sampling(temperature=0.9, top_k=20),
    Sampling(temperature=1.2, top_p=0.8),
    Sampling(temperature=1.0, min_p=0.05, repetition_penalty=1.1),
    Sampling(temperature=1.0, typical_p=0.7),
)

MakeEngine = Callable[..., Engine]


# Alone and together --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"n_blocks": 24, "max_batch_tokens": 9, "max_running": 8},  # texts lose their memory, prompts are cut
        {"n_blocks": 24, "prefix_caching": False, "block_size": 3},
    ],
)
def test_each_text_is_what_generate_tokens_writes(make_engine: MakeEngine, run, tiny, config) -> None:
    engine = make_engine(**config)
    rng = random.Random(1)
    wanted = {}
    for i in range(28):
        prompt = [5, 6, 7, 8, 9, 10] * (i % 2) + [rng.randrange(256) for _ in range(rng.randint(1, 24))]
        sampling, max_tokens = replace(SAMPLINGS[i % len(SAMPLINGS)], seed=i), rng.randint(1, 25)
        name = engine.add(prompt, RequestOptions(sampling, max_tokens, priority=i % 3))
        wanted[name] = list(
            generate_tokens(
                tiny.model, prompt, sampling=sampling, max_tokens=max_tokens, end_tokens=tiny.end_tokens
            )
        )
    told = run(engine)
    assert {name: [*one.tokens[0], *one.reasons] for name, one in told.items()} == wanted
    if config:
        assert engine.snapshot().preemptions > 0


def test_text_is_that_of_generate_with_stop_strings(
    make_engine: MakeEngine, run, tiny: LanguageModel
) -> None:
    sampling = Sampling(temperature=1.0, seed=5)
    *pieces, end = generate(tiny.model, tiny.tokenizer, [65, 66], sampling=sampling, max_tokens=40)
    whole = "".join(piece.text for piece in pieces) + end.text
    stops = (whole[7:9], "never")
    engine = make_engine()
    free = engine.add([65, 66], RequestOptions(sampling, 40))
    stopped = engine.add([65, 66], RequestOptions(sampling, 40, stop=stops))
    told = run(engine)
    assert told[free].texts[0] == whole
    assert told[stopped].texts[0] == whole[: whole.index(stops[0])]
    assert told[stopped].reasons == ["stop"]
    assert told[stopped].ends[0].usage.completion_tokens == len(told[stopped].tokens[0]) < 40


def test_log_probabilities_are_the_models_own(make_engine: MakeEngine, run, tiny: LanguageModel) -> None:
    engine = make_engine()
    options = RequestOptions(Sampling(temperature=2.0, top_k=3, seed=1), 8, logprobs=4)
    name = engine.add([3, 1, 4, 1, 5], options)
    told = run(engine)[name]
    text = [3, 1, 4, 1, 5, *told.tokens[0]]
    alone = tiny.model(torch.tensor([text]))[0, 4:-1].log_softmax(-1)
    for row, out in zip(alone, told.outs, strict=True):
        assert out.logprob == pytest.approx(row[out.token].item(), abs=1e-5)
        best = row.topk(4)
        assert [token for token, _ in out.top_logprobs] == best.indices.tolist()
        assert [value for _, value in out.top_logprobs] == pytest.approx(best.values.tolist(), abs=1e-5)


# Several texts of one prompt -----------------------------------------------------------------------------


def test_n_texts_share_the_blocks_of_their_prompt(make_engine: MakeEngine, run, tiny: LanguageModel) -> None:
    engine = make_engine()
    prompt = list(range(20, 38))  # four blocks and a half of four
    name = engine.add(prompt, RequestOptions(Sampling(temperature=1.0, seed=7), 9, n=3))
    engine.step()
    engine.step()
    blocks = [set(text.blocks) for text in engine.snapshot().texts]
    assert len(blocks) == 3
    assert len(set.intersection(*blocks)) == 4
    assert len(set.union(*blocks)) == 7  # and each its own copy of the half
    told = run(engine)[name]
    for i in range(3):
        alone = generate_tokens(
            tiny.model,
            prompt,
            sampling=Sampling(temperature=1.0, seed=7 + i),
            max_tokens=9,
            end_tokens=tiny.end_tokens,
        )
        assert [*told.tokens[i], told.reasons[i]][-8:] == list(alone)[-8:]
    assert engine.snapshot().prompt_tokens == len(prompt)


def test_best_of_gives_the_texts_with_the_highest_mean_log_probability(make_engine: MakeEngine, run) -> None:
    sampling = Sampling(temperature=1.5, seed=3)
    engine = make_engine()
    all_of_them = engine.add([9, 9, 9], RequestOptions(sampling, 12, n=5, logprobs=0))
    best = engine.add([9, 9, 9], RequestOptions(sampling, 12, n=2, best_of=5))
    told = run(engine)
    means = {}
    for i, tokens in told[all_of_them].tokens.items():
        assert told[all_of_them].reasons[i] == "length"
        logprobs = [out.logprob for out in told[all_of_them].outs if out.index == i]
        means[i] = sum(logprobs) / len(tokens)
    first, second = sorted(means, key=lambda i: -means[i])[:2]
    assert told[best].tokens == {
        0: told[all_of_them].tokens[first],
        1: told[all_of_them].tokens[second],
    }
    assert told[best].ends[0].score == pytest.approx(means[first], abs=1e-5)
    assert len(told[best].ends) == 2


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_beams_are_those_of_beam_search(
    make_engine: MakeEngine, run, tiny, monkeypatch, length_penalty
) -> None:
    engine = make_engine(n_blocks=34)
    prompts = [[4, 5, 6, 7, 8, 9], [200], [31, 32, 33]]
    beam = BeamSearch(4, length_penalty)
    ends = frozenset({257, 12, 83, 122})
    options = RequestOptions(max_tokens=14, n=3, beam=beam, end_tokens=ends)
    engine.add(
        [1] * 30, RequestOptions(max_tokens=40)
    )  # it goes first, so that blocks run out for the others
    names = [engine.add(prompt, options) for prompt in prompts]
    restarted = False
    lose_memory = Job.lose_memory

    def watched(job: Job) -> None:
        nonlocal restarted
        restarted |= len(job.branches) > 1
        lose_memory(job)

    monkeypatch.setattr(Job, "lose_memory", watched)
    told = run(engine)
    assert restarted
    for prompt, name in zip(prompts, names, strict=True):
        found = beam_search(
            tiny.model,
            prompt,
            num_beams=4,
            max_tokens=14,
            end_tokens=ends,
            length_penalty=length_penalty,
        )
        for i, hypothesis in enumerate(found[:3]):
            assert told[name].tokens[i] == [token for token in hypothesis.tokens if token not in ends]
            assert told[name].ends[i].score == pytest.approx(hypothesis.score, abs=1e-4)


# Cached prefixes -----------------------------------------------------------------------------------------


def test_a_cached_prompt_is_not_computed_again_but_for_one_token(make_engine: MakeEngine, run) -> None:
    engine = make_engine()
    prompt = list(range(16))
    first = run_one(engine, run, prompt)
    again = run_one(engine, run, prompt)
    assert (first.ends[0].usage.cached_tokens, again.ends[0].usage.cached_tokens) == (0, 12)
    assert again.tokens == first.tokens
    assert engine.snapshot().cached_tokens == 12
    longer = run_one(engine, run, [*prompt, *first.tokens[0], 1])
    assert longer.ends[0].usage.cached_tokens == 20  # what was written is found too, but for the last token


def run_one(engine: Engine, run, prompt: list[int]):
    name = engine.add(prompt, RequestOptions(max_tokens=6, end_tokens=frozenset()))
    return run(engine)[name]


# Refused, cancelled, failed ------------------------------------------------------------------------------


def test_what_never_fits_is_refused_at_once(make_engine: MakeEngine) -> None:
    engine = make_engine(n_blocks=5, max_running=3)
    engine.add([1] * 10, RequestOptions(max_tokens=11))  # 20 tokens computed, the last is not
    with pytest.raises(NeverFits, match=r"10 tokens of prompt and 12 of text .* 5 blocks of 4"):
        engine.add([1] * 10, RequestOptions(max_tokens=12))
    with pytest.raises(NeverFits, match="4 texts side by side"):
        engine.add([1], RequestOptions(max_tokens=1, n=4))
    with pytest.raises(NeverFits, match="in 3 beams"):
        engine.add([1] * 3, RequestOptions(max_tokens=4, beam=BeamSearch(3)))
    with pytest.raises(ContextFull):
        engine.add([1] * 96)
    with pytest.raises(ValueError, match="empty"):
        engine.add([])
    with pytest.raises(ValueError, match="ids from 3 to 258; this tokenizer's run from 0 to 257"):
        engine.add([3, 258])
    with pytest.raises(ValueError, match="another id"):
        engine.add([1], request_id="request-1")


def test_without_max_tokens_a_text_ends_where_context_or_memory_does(make_engine: MakeEngine, run) -> None:
    options = RequestOptions(end_tokens=frozenset())
    roomy, narrow = make_engine(), make_engine(n_blocks=5)
    roomy.add([1] * 90, options)
    narrow.add([1] * 10, options)
    in_context, in_memory = run(roomy)["request-1"], run(narrow)["request-1"]
    assert (len(in_context.tokens[0]), in_context.reasons) == (6, ["context"])
    assert (len(in_memory.tokens[0]), in_memory.reasons) == (11, ["context"])


def test_cancelling_frees_the_blocks_at_once(make_engine: MakeEngine, run) -> None:
    engine = make_engine(prefix_caching=False)
    gone = engine.add([1] * 20, RequestOptions(max_tokens=20, n=2, end_tokens=frozenset()))
    stays = engine.add([2] * 3, RequestOptions(max_tokens=5, end_tokens=frozenset()))
    waits = engine.add([1] * 20, RequestOptions(max_tokens=20, beam=BeamSearch(2)))
    for _ in range(3):
        engine.step()
    assert engine.cancel(gone)
    assert engine.cancel(waits)
    assert not engine.cancel(gone)
    engine.check_integrity()
    owned = [state for state in engine.snapshot().blocks if state in ("owned", "shared")]
    assert len(owned) == 2  # five tokens of the one that stays
    told = run(engine)
    assert told[gone].reasons == ["cancelled", "cancelled"]
    assert told[waits].reasons == ["cancelled"]
    assert told[stays].reasons == ["length"]


def test_what_fails_alone_fails_alone(make_engine: MakeEngine, run, mean_model: LanguageModel) -> None:
    engine = make_engine(mean_model, n_blocks=40)
    alone = make_engine(mean_model)
    good = RequestOptions(Sampling(temperature=1.0, seed=2), 8, n=2)
    memory = engine.add([1, 2, 60], good)
    fine = engine.add([1, 2, 3], good)
    numbers = engine.add([1, 61, 4, 5, 6, 7], good)
    beams = engine.add([7, 61], RequestOptions(max_tokens=5, beam=BeamSearch(2)))
    told = run(engine)
    assert told[memory].failed is not None
    assert told[memory].failed.kind == "memory"
    assert told[numbers].failed is not None
    assert told[numbers].failed.kind == told[beams].failed.kind == "numerics"  # type: ignore[union-attr]
    alone.add([1, 2, 3], good)
    assert told[fine].tokens == run(alone)["request-1"].tokens
    assert set(engine.snapshot().blocks) <= {"unused", "cached"}
    assert engine.snapshot().requests_failed == 3
    # Blocks that held a NaN hold other texts now.
    many = [engine.add([i, 2, 3], good) for i in range(20)]
    assert all(one.failed is None for name, one in run(engine).items() if name in many)


@pytest.mark.parametrize("where", ["model", "sampler"])
def test_what_fails_only_together_fails_nobody(
    make_engine: MakeEngine, run, monkeypatch, tiny, where
) -> None:
    engine, alone = make_engine(n_blocks=30, max_running=8), make_engine()
    features, choose = tiny.model.features, engine_module.choose_tokens

    def no_room_for_many(tokens: torch.Tensor, cache: object) -> torch.Tensor:
        computed = features(tokens, cache)  # it fails after keys and values are written
        if tokens.shape[1] > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return computed

    def no_choice_for_many(logits: torch.Tensor, choosers: list[Chooser]):
        chosen = choose(logits, choosers)
        if len(choosers) > 1:
            raise MemoryError
        return chosen

    requests = [
        ([3, 1, 4, 1, 5, 9, 2, 6], RequestOptions(Sampling(temperature=1.0, seed=1), 9, n=3)),
        ([2, 7, 1], RequestOptions(Sampling(temperature=1.0, top_p=0.9, seed=2), 12)),
        ([1, 6, 1, 8, 0, 3], RequestOptions(max_tokens=7, beam=BeamSearch(2))),
        ([1, 4], RequestOptions(Sampling(repetition_penalty=1.2), 9)),
    ]
    wanted = [run_alone(alone, run, *request) for request in requests]
    if where == "model":
        monkeypatch.setattr(tiny.model, "features", no_room_for_many)
    else:
        monkeypatch.setattr(engine_module, "choose_tokens", no_choice_for_many)
    names = [engine.add(*request) for request in requests]
    told = run(engine)
    assert [told[name].tokens for name in names] == wanted


def run_alone(engine: Engine, run, prompt: list[int], options: RequestOptions) -> dict[int, list[int]]:
    name = engine.add(prompt, options)
    return run(engine)[name].tokens


# Structured output ---------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "boolean"},
        "b": {"type": "array", "items": {"enum": [1, 22]}, "maxItems": 3},
    },
    "required": ["a", "b"],
    "additionalProperties": False,
}


def test_structured_output_fits_its_grammar_beside_free_text(make_engine: MakeEngine, run, tiny) -> None:
    engine = make_engine(n_blocks=40)
    names = {}
    for i, constraint in enumerate(
        [
            Constraint.json_schema(SCHEMA),
            Constraint.regex("[ab]{3,9}c"),
            Constraint.choice(["yes", "no", '"你"']),
        ]
    ):
        for sampling in (Sampling(), Sampling(temperature=1.5, seed=i)):
            names[engine.add([7, 8], RequestOptions(sampling, 80, constraint=constraint))] = i
    free = engine.add([7, 8], RequestOptions(max_tokens=10))
    told = run(engine)
    for name, i in names.items():
        (text,) = told[name].texts.values()
        assert told[name].reasons == ["stop"]
        if i == 0:
            value = json.loads(text)
            assert set(value) == {"a", "b"}
            assert set(value["b"]) <= {1, 22}
        elif i == 1:
            assert set(text[:-1]) <= {"a", "b"}
            assert (text[-1], 4 <= len(text) <= 10) == ("c", True)
        else:
            assert text in ("yes", "no", '"你"')
    assert [*told[free].tokens[0], "length"] == list(generate_tokens(tiny.model, [7, 8], max_tokens=10))


def test_a_grammar_that_cannot_be_compiled_is_refused(make_engine: MakeEngine) -> None:
    engine = make_engine()
    with pytest.raises(ValueError, match=r"regular expression cannot be compiled(.|\n)*unclosed"):
        engine.add([1], RequestOptions(constraint=Constraint.regex("(a")))
    with pytest.raises(ValueError, match=r"JSON Schema cannot be compiled.*numbers"):
        engine.add([1], RequestOptions(constraint=Constraint.json_schema({"type": "numbers"})))
    assert not engine.has_work


# What can be seen ----------------------------------------------------------------------------------------


def test_snapshot_shows_texts_blocks_and_steps(make_engine: MakeEngine) -> None:
    engine = make_engine(max_batch_tokens=8, max_running=2, n_blocks=30)
    engine.add([1] * 10, RequestOptions(max_tokens=5, end_tokens=frozenset()), "long")
    engine.add([2] * 3, RequestOptions(max_tokens=5, end_tokens=frozenset()), "short")
    engine.add([3] * 3, RequestOptions(max_tokens=5, end_tokens=frozenset()), "late")
    engine.step()
    engine.step()
    shown = engine.snapshot()
    states = {text.request: (text.state, text.computed, text.wanted, text.written) for text in shown.texts}
    assert states == {
        "long": ("running", 10, 11, 1),
        "short": ("running", 3, 4, 1),
        "late": ("waiting", 0, 3, 0),
    }
    assert [(step.prefill, step.decode) for step in shown.steps] == [(8, 0), (5, 0)]
    assert len(shown.blocks) == 30
    assert sum(state in ("owned", "shared") for state in shown.blocks) == 4
    assert shown.tokens_written == 2
    assert shown.latencies.ttft_p50 is not None
    assert 0 < shown.steps[-1].bookkeeping < shown.steps[-1].seconds
