"""``/v1/embeddings`` as the official client sees it, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from teachllm.stack.inference import LanguageModel

Running = Callable[..., AbstractContextManager[Any]]


@dataclass
class Letters:
    """Counts letters: number i of a vector is how often the text has letter i. `pause` is called in each
    batch.
    """

    name: str = "letters"
    dimension: int = 26
    max_tokens: int = 8
    vocab_size: int = 128
    pause: Callable[[], object] = lambda: None
    batches: list[int] = field(default_factory=list)

    def tokens_of(self, text: str) -> list[int]:
        return [1, *(ord(letter) for letter in text), 2]

    def truncated(self, tokens: list[int], most: int) -> list[int]:
        return [*tokens[: most - 1], 2] if len(tokens) > most else tokens

    def embed_tokens(
        self,
        tokens: Sequence[Sequence[int]],
        *,
        dimension: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> np.ndarray:
        vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        for done, one in enumerate(tokens):
            for token in one:
                if token >= ord("a"):
                    vectors[done, token - ord("a")] += 1
            self.batches.append(done)
            self.pause()
            if progress is not None:
                progress(done + 1, len(tokens))
        return vectors[:, :dimension]


@pytest.fixture(scope="module")
def embedder() -> Letters:
    return Letters()


@pytest.fixture(scope="module")
def server(running: Running, tiny: LanguageModel, embedder: Letters) -> Iterator[Any]:
    with running(tiny, embedder=embedder) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[openai.OpenAI]:
    with server.client() as one:
        yield one


def test_a_text_a_list_and_tokens(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="letters", input=["abba", "b"])
    assert [one.index for one in answer.data] == [0, 1]
    assert answer.data[0].embedding[:3] == [2, 2, 0]
    assert answer.data[1].embedding[:3] == [0, 1, 0]
    assert answer.model == "letters"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 6 + 3
    one = client.embeddings.create(model="letters", input="abba")
    assert one.data[0].embedding == answer.data[0].embedding
    tokens = client.embeddings.create(model="letters", input=[ord("c"), ord("a")], dimensions=3)
    assert tokens.data[0].embedding == [1, 0, 1]
    assert tokens.usage.prompt_tokens == 2  # as they are: no begin, no end
    lists = client.embeddings.create(model="letters", input=[[ord("c")], [ord("a")]])
    assert [one.embedding[:3] for one in lists.data] == [[0, 0, 1], [1, 0, 0]]


def test_numbers_and_base64_say_the_same(server: Any, client: openai.OpenAI) -> None:
    numbers = client.embeddings.create(model="letters", input="hello", encoding_format="float")
    with server.plain() as plain:
        body = {"model": "letters", "input": "hello", "encoding_format": "base64", "user": "someone"}
        encoded = plain.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert isinstance(encoded, str)
    assert (
        client.embeddings.create(model="letters", input="hello").data[0].embedding
        == numbers.data[0].embedding
    )


def test_it_is_listed_beside_the_model_that_writes(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["tiny", "letters"]
    assert client.models.retrieve("letters").id == "letters"


@pytest.mark.parametrize(
    ("change", "message", "param"),
    [
        ({"input": ""}, "input 0 is empty", "input"),
        ({"input": []}, "input is empty", "input"),
        ({"input": ["a", ""]}, "input 1 is empty", "input"),
        ({"input": [[200]]}, r"outside of the vocabulary of letters \(0 to 127\)", "input"),
        ({"input": ["a"] * 2049}, "2049 inputs; at most 2048", "input"),
        ({"dimensions": 27}, "dimensions is 27; letters has 26", "dimensions"),
        ({"dimensions": 0}, "dimensions: ", "dimensions"),
        ({"input": "a" * 7}, "has 9 tokens; letters reads 8.*truncate_prompt_tokens: -1", "input"),
        ({"extra_body": {"truncate_prompt_tokens": 0}}, "nothing would be left", "truncate_prompt_tokens"),
        ({"extra_body": {"encoding_format": "hex"}}, "encoding_format: ", "encoding_format"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    client: openai.OpenAI, change: dict[str, Any], message: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        client.embeddings.create(**{"model": "letters", "input": "a", **change})
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_a_long_text_is_cut_if_asked(client: openai.OpenAI) -> None:
    for most, n in ((-1, 6), (4, 2)):
        asked = {"truncate_prompt_tokens": most}
        answer = client.embeddings.create(model="letters", input="a" * 20, extra_body=asked)
        assert answer.data[0].embedding[0] == n
        assert answer.usage.prompt_tokens == n + 2


def test_another_name_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(
        openai.NotFoundError, match="'tiny' makes no embeddings here; 'letters' does"
    ) as refused:
        client.embeddings.create(model="tiny", input="a")
    assert refused.value.code == "model_not_found"


def test_without_an_embedding_model(running: Running, tiny: LanguageModel) -> None:
    refused = pytest.raises(openai.NotFoundError, match="start the server with --embedding-model")
    with running(tiny) as server, server.client() as client, refused:
        client.embeddings.create(model="letters", input="a")


def test_who_leaves_ends_the_work(
    running: Running, tiny: LanguageModel, wait_until: Callable[..., None]
) -> None:
    going, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        going.set()
        go_on.wait(20)

    embedder = Letters(pause=pause)
    with running(tiny, embedder=embedder) as server:
        with pytest.raises(httpx.TimeoutException), server.plain() as plain:
            plain.post("/v1/embeddings", json={"model": "letters", "input": ["a"] * 9}, timeout=0.5)
        assert going.wait(5)
        wait_until(lambda: server.serving.admission.open == 0)
        go_on.set()
        with server.client() as client:
            assert client.embeddings.create(model="letters", input="b").data[0].embedding[1] == 1
    assert len(embedder.batches) == 2  # one of the nine, then the other request
