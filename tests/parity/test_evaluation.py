"""Our harness beside lm-eval: the same items through our adapter and through its own model class."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.parity

# In a process of its own: lm-eval and its packages warn when they are imported, and change global state.
SCRIPT = """
import json, sys, warnings
from pathlib import Path

import torch
import transformers
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from teachllm.stack.evaluation.harness import evaluate
from teachllm.stack.evaluation.lm_eval_adapter import TeachLLM
from teachllm.stack.evaluation.tasks import Choice, ChoiceTask, GenerationTask, PerplexityTask, Question
from teachllm.stack.inference.language_model import load_language_model
from teachllm.stack.tokenizer import Tokenizer

folder = Path(sys.argv[1])
torch.set_num_threads(1)
torch.manual_seed(0)

# A model that transformers made, with real tokens and weights large enough to have opinions.
texts = json.loads((folder / "texts.json").read_text())
tokenizer = Tokenizer.train(texts, 400, special_tokens=["<|endoftext|>"])
config = transformers.LlamaConfig(
    vocab_size=tokenizer.vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    bos_token_id=tokenizer.vocab_size - 1, eos_token_id=tokenizer.vocab_size - 1, initializer_range=0.3,
)
reference = transformers.LlamaForCausalLM(config).eval()
reference.save_pretrained(folder / "model")
tokenizer.save(folder / "model" / "tokenizer.json")
(folder / "model" / "tokenizer_config.json").write_text(json.dumps({
    "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"
}))
ours = load_language_model(folder / "model", "cpu", torch.float32)

choices = [
    {"question": a, "choices": [b, c, d], "answer": i % 3}
    for i, (a, b, c, d) in enumerate(zip(texts, texts[1:], texts[2:], texts[3:]))
]
(folder / "choice.jsonl").write_text("".join(json.dumps(item) + chr(10) for item in choices))
(folder / "text.jsonl").write_text("".join(json.dumps({"text": text * 9}) + chr(10) for text in texts))
(folder / "free.jsonl").write_text(
    "".join(json.dumps({"prompt": text, "answer": "the"}) + chr(10) for text in texts)
)

def config_of(name, output_type, metrics, **more):
    return {
        "task": name, "dataset_path": "json", "output_type": output_type,
        "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}}, "test_split": "test",
        "metric_list": [{"metric": m, "aggregation": a, "higher_is_better": True} for m, a in metrics],
        **more,
    }

tasks = [
    config_of("choice", "multiple_choice", [("acc", "mean"), ("acc_norm", "mean")],
              doc_to_text="{{question}}", doc_to_choice="{{choices}}", doc_to_target="answer"),
    config_of("text", "loglikelihood_rolling", [("bits_per_byte", "bits_per_byte")],
              doc_to_text="", doc_to_target="{{text}}"),
    config_of("free", "generate_until", [("exact_match", "mean")], doc_to_text="{{prompt}}",
              doc_to_target="{{answer}}",
              generation_kwargs={"until": [" "], "max_gen_toks": 6, "do_sample": False}),
]

def through_lm_eval(model):
    found = simple_evaluate(model=model, tasks=tasks, bootstrap_iters=0, log_samples=True)
    return {
        "acc": found["results"]["choice"]["acc,none"],
        "acc_norm": found["results"]["choice"]["acc_norm,none"],
        "bits_per_byte": found["results"]["text"]["bits_per_byte,none"],
        "logprobs": [[one[0] for one in s["filtered_resps"]] for s in found["samples"]["choice"]],
        "greedy": [[bool(one[1]) for one in s["filtered_resps"]] for s in found["samples"]["choice"]],
        "answers": [s["filtered_resps"][0] for s in found["samples"]["free"]],
    }

hf_tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
theirs = HFLM(pretrained=reference, tokenizer=hf_tokenizer, batch_size=1, device="cpu")
choice = evaluate(ours, ChoiceTask("c", "d", tuple(
    Choice(item["question"], tuple(" " + c for c in item["choices"]), item["answer"]) for item in choices
)))
text = evaluate(ours, PerplexityTask("t", "d", tuple(text * 9 for text in texts)))
free = evaluate(
    ours, GenerationTask("f", "d", tuple(Question(text, "the") for text in texts), "same_text", 6, (" ",))
)
json.dump({
    "adapter": through_lm_eval(TeachLLM(ours)),
    "reference": through_lm_eval(theirs),
    "harness": {
        "acc": choice.scores["accuracy"].value,
        "acc_norm": choice.scores["accuracy_by_character"].value,
        "bits_per_byte": text.scores["bits_per_byte"].value,
        "answers": [outcome.given for outcome in free.outcomes],
    },
}, (folder / "found.json").open("w"))
"""

TEXTS = [
    "A river runs from the hills to the sea.",
    "The cat looked at the bird and the bird flew away.",
    "Nobody in the village had seen such a storm.",
    "She counts the coins twice and writes the number down.",
    "In the morning the market is full of voices.",
    "He forgot the name but not the face.",
    "Rain fell on the roof all night.",
    "The old bridge was made of stone and of patience.",
    "They walked until the road became a path.",
    "A letter lay on the table, unopened.",
    "Seven ships left the harbour and six came back.",
    "The teacher drew a circle on the board.",
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("lm_eval")
    (folder / "texts.json").write_text(json.dumps(TEXTS))
    (folder / "compare.py").write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, folder / "compare.py", folder], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "found.json").read_text())


def test_log_likelihoods_are_those_of_lm_evals_own_model(found: dict) -> None:
    ours, theirs = found["adapter"], found["reference"]
    for one, other in zip(ours["logprobs"], theirs["logprobs"], strict=True):
        assert one == pytest.approx(other, abs=1e-3)  # sums of a dozen float32 logs
    assert ours["greedy"] == theirs["greedy"]
    assert ours["answers"] == theirs["answers"]
    assert len(set(theirs["answers"])) > 1


def test_scores_agree_three_ways(found: dict) -> None:
    ours, theirs, harness = found["adapter"], found["reference"], found["harness"]
    assert 0 < theirs["acc"] < 1
    for metric in ("acc", "acc_norm"):
        assert harness[metric] == ours[metric] == theirs[metric]
    assert harness["bits_per_byte"] == pytest.approx(ours["bits_per_byte"], rel=1e-9)
    assert harness["bits_per_byte"] == pytest.approx(theirs["bits_per_byte"], rel=1e-5)
    assert harness["answers"] == ours["answers"]
