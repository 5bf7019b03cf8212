"""Beam search beside `transformers`, contrastive search beside the paper's formula without a cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from teachllm.stack.inference import beam_search, contrastive_search
from teachllm.stack.models.loading import load_model

pytestmark = pytest.mark.parity

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "num_hidden_layers": 2,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[transformers.LlamaForCausalLM, Any]:
    """One tiny Llama with decided opinions, in theirs and in ours."""
    torch.manual_seed(5)
    reference = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).eval()
    for parameter in reference.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.25)
    folder: Path = tmp_path_factory.mktemp("tiny")
    reference.save_pretrained(folder)
    return reference, load_model(folder, "cpu", torch.float32)


def prompts() -> Iterator[list[int]]:
    for seed in range(3):
        yield torch.randint(60, (1 + 4 * seed,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize(("num_beams", "length_penalty"), [(2, 1.0), (4, 0.0), (5, 2.0), (3, -1.0)])
def test_beams_find_the_same_texts_with_the_same_scores(
    both: tuple[transformers.LlamaForCausalLM, Any], num_beams: int, length_penalty: float
) -> None:
    """All that are returned, with one end token and two. "never" stops by the exact rule, as ours does."""
    reference, model = both
    for ends in ([7], [7, 31]):
        for prompt in prompts():
            reference.generation_config = transformers.GenerationConfig(
                do_sample=False,
                num_beams=num_beams,
                num_return_sequences=num_beams,
                early_stopping="never",
                length_penalty=length_penalty,
                max_new_tokens=24,
                eos_token_id=ends,
                pad_token_id=59,
                output_scores=True,
                return_dict_in_generate=True,
            )
            tokens = torch.tensor([prompt])
            theirs: Any = reference.generate(tokens, attention_mask=torch.ones_like(tokens))  # pyright: ignore
            ours = beam_search(
                model,
                prompt,
                num_beams=num_beams,
                max_tokens=24,
                end_tokens=ends,
                length_penalty=length_penalty,
            )
            torch.testing.assert_close(
                torch.tensor([one.score for one in ours]), theirs.sequences_scores, atol=1e-4, rtol=1e-5
            )
            written = theirs.sequences[:, len(prompt) :].tolist()
            for one, row in zip(ours, written, strict=True):
                assert list(one.tokens) == row[: len(one.tokens)]
                assert set(row[len(one.tokens) :]) <= {59}


@torch.inference_mode()
def contrastive_by_the_formula(
    reference: transformers.LlamaForCausalLM, prompt: list[int], count: int, k: int, alpha: float
) -> list[int]:
    """Every candidate is read with everything before it, in one piece, once for each step."""
    ids = list(prompt)
    for _ in range(count):
        probabilities = reference(torch.tensor([ids])).logits[0, -1].softmax(-1)
        scores = {}
        for candidate in probabilities.topk(k).indices.tolist():
            read = reference(torch.tensor([[*ids, candidate]]), output_hidden_states=True)
            features = read.hidden_states[-1][0]
            similarity = max(
                torch.cosine_similarity(features[-1], before, dim=0).item() for before in features[:-1]
            )
            scores[candidate] = (1 - alpha) * probabilities[candidate].item() - alpha * similarity
        ids.append(max(scores, key=lambda token: scores[token]))
    return ids[len(prompt) :]


@pytest.mark.parametrize(("k", "alpha"), [(2, 0.3), (4, 0.6), (8, 0.9)])
def test_contrastive_search_follows_its_formula(
    both: tuple[transformers.LlamaForCausalLM, Any], k: int, alpha: float
) -> None:
    """`transformers` 5 no longer contains it."""
    reference, model = both
    for prompt in prompts():
        *ours, _ = contrastive_search(model, prompt, top_k=k, alpha=alpha, max_tokens=16)
        assert ours == contrastive_by_the_formula(reference, prompt, 16, k, alpha)
