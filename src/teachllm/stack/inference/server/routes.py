"""The addresses of the server, and what each of them does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from teachllm.stack.inference.server.answering import Answering, Question
from teachllm.stack.inference.server.bodies import (
    ChatCompletionBody,
    CompletionBody,
    EmbeddingsBody,
    Sampled,
)
from teachllm.stack.inference.server.chat_request import ChatRequest, marks_of, read_chat
from teachllm.stack.inference.server.completion_request import CompletionRequest, read_completion
from teachllm.stack.inference.server.deltas import (
    CallingChoice,
    Choice,
    Delta,
    ForcedCall,
    TextChoice,
    summed,
)
from teachllm.stack.inference.server.embeddings import embeddings_of
from teachllm.stack.inference.server.engine_view import engine_view
from teachllm.stack.inference.server.errors import ApiError, bad_request
from teachllm.stack.inference.server.event_stream import ClientGone, EventStream, until_gone
from teachllm.stack.inference.server.serving import Serving, TheServing
from teachllm.stack.inference.server.shapes import ChatShape, CompletionShape, Shape

CLIENT_LEFT = 499  # nobody reads it; the metrics count it

router = APIRouter()


@router.get("/health")
async def health(serving: TheServing) -> Response:
    """200 while requests are taken, 503 while the server ends or when its engine has failed."""
    if serving.admission.draining:
        return JSONResponse({"status": "draining"}, 503)
    if (refusal := serving.service.refusal) is not None:
        return JSONResponse({"status": "failed", "reason": refusal}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics")
def metrics(serving: TheServing) -> Response:
    return Response(serving.metrics.page(), headers={"content-type": serving.metrics.content_type})


@router.get("/v1/models")
async def models(serving: TheServing) -> dict[str, Any]:
    return {"object": "list", "data": _models(serving)}


@router.get("/v1/models/{name:path}")
async def model(serving: TheServing, name: str) -> dict[str, Any]:
    chat_model, *others = _models(serving)
    if (found := next((one for one in others if one["id"] == name), None)) is not None:
        return found
    _check_name(serving, name)
    return chat_model


@router.get("/v1/engine/snapshot")
def snapshot(serving: TheServing) -> dict[str, Any]:
    """How the engine stands, for a dashboard: `engine_view`, and what it runs on."""
    language_model = serving.language_model
    return {
        "model": serving.names[0],
        "device": language_model.device_name,
        "dtype": str(language_model.dtype).removeprefix("torch."),
        "open_requests": serving.admission.open,
        "engine": engine_view(serving.service.snapshot()),
    }


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, serving: TheServing, body: ChatCompletionBody) -> Response:
    """https://platform.openai.com/docs/api-reference/chat"""

    def ask() -> tuple[Question, Shape]:
        asked = read_chat(body, serving.language_model)
        shape = ChatShape(body.model, serving.language_model.tokenizer, bool(body.logprobs))
        return Question([asked.prompt], asked.options, _chat_choices(asked, serving)), shape

    return await _answer(request, serving, body, ask)


@router.post("/v1/completions")
async def completions(request: Request, serving: TheServing, body: CompletionBody) -> Response:
    """https://platform.openai.com/docs/api-reference/completions"""

    def ask() -> tuple[Question, Shape]:
        asked = read_completion(body, serving.language_model)
        shape = CompletionShape(body.model, serving.language_model.tokenizer, body.logprobs is not None)
        return Question(asked.prompts, asked.options, _text_choices(asked)), shape

    return await _answer(request, serving, body, ask)


@router.post("/v1/embeddings")
async def embeddings(request: Request, serving: TheServing, body: EmbeddingsBody) -> Response:
    """https://platform.openai.com/docs/api-reference/embeddings"""
    count = _counted(serving, request.url.path)
    try:
        asked = embeddings_of(serving.embeddings, body.model)
        with serving.admission.place():
            answer = await until_gone(asked.answer(body, serving.limits.answer_seconds), request.receive)
    except ApiError as refused:
        count(refused.status)
        raise
    except ClientGone:
        count(CLIENT_LEFT)
        return Response(status_code=CLIENT_LEFT)
    count(200)
    return Response(answer, media_type="application/json")


async def _answer(
    request: Request, serving: Serving, body: Sampled, ask: Callable[[], tuple[Question, Shape]]
) -> Response:
    """The answer, streamed or whole. Its place is kept until the last byte has gone, or the client has."""
    endpoint = request.url.path
    with ExitStack() as place:
        try:
            _check_name(serving, body.model)
            place.enter_context(serving.admission.place())
            # Reading a long prompt or compiling a grammar takes a moment, in which others must not wait.
            question, shape, answering = await run_in_threadpool(_begin, serving, ask)
            place.callback(answering.cancel)
            limits = serving.limits
            if body.stream:
                with_usage = body.stream_options is not None and body.stream_options.include_usage
                kept = place.pop_all()
                return EventStream(
                    _chunks(answering, question, shape, with_usage, _counted(serving, endpoint)),
                    heartbeat=limits.heartbeat,
                    write_seconds=limits.write_seconds,
                    on_end=kept.close,
                )
            whole = await until_gone(_whole(answering, question, shape), request.receive)
        except ApiError as refused:
            _counted(serving, endpoint)(refused.status)
            raise
        except ClientGone:
            _counted(serving, endpoint)(CLIENT_LEFT)
            return Response(status_code=CLIENT_LEFT)
    _counted(serving, endpoint)(200)
    return JSONResponse(whole)


def _begin(serving: Serving, ask: Callable[[], tuple[Question, Shape]]) -> tuple[Question, Shape, Answering]:
    try:
        question, shape = ask()
    except ValueError as problem:  # of options that do not fit together
        raise bad_request(str(problem)) from None
    seconds = serving.limits.answer_seconds
    return question, shape, Answering(serving.service, question, serving.metrics, seconds)


def _counted(serving: Serving, endpoint: str) -> Callable[[int], None]:
    return lambda status: serving.metrics.answers.labels(endpoint, str(status)).inc()


async def _chunks(
    answering: Answering, question: Question, shape: Shape, with_usage: bool, count: Callable[[int], None]
) -> AsyncGenerator[dict[str, Any]]:
    """The events of a stream. One that breaks off ends with an error in OpenAI's shape."""
    status = CLIENT_LEFT
    deltas = answering.deltas()
    try:
        for index in range(len(question.choices)):
            if (opening := shape.opening(index)) is not None:
                yield opening
        async for delta in deltas:
            if delta != Delta(delta.index):
                yield shape.chunk(delta)
        if with_usage:
            yield shape.usage_chunk(answering.usage)
        status = 200
    except ApiError as failure:
        status = failure.status
        yield failure.body()
    finally:
        await deltas.aclose()
        count(status)


async def _whole(answering: Answering, question: Question, shape: Shape) -> dict[str, Any]:
    deltas: list[list[Delta]] = [[] for _ in question.choices]
    async for delta in answering.deltas():
        deltas[delta.index].append(delta)
    return shape.whole([summed(of_choice) for of_choice in deltas], answering.usage)


def _chat_choices(asked: ChatRequest, serving: Serving) -> Sequence[Choice]:
    indices = range(asked.options.n)
    if asked.forced:
        return [ForcedCall(index, asked.tools, asked.finish_of_call) for index in indices]
    if asked.tools:
        marks = marks_of(serving.language_model)
        return [CallingChoice(index, asked.tools, marks) for index in indices]
    return [TextChoice(index) for index in indices]


def _text_choices(asked: CompletionRequest) -> Sequence[Choice]:
    n = asked.options.n
    return [TextChoice(i * n + j, echo) for i, echo in enumerate(asked.echoes) for j in range(n)]


def _models(serving: Serving) -> list[dict[str, Any]]:
    """The model that writes, then the one that makes embeddings, if there is any."""
    served = [(serving.names[0], serving.language_model.model.config.context_length)]
    if serving.embeddings is not None:
        served.append((serving.embeddings.embedder.name, serving.embeddings.embedder.max_tokens))
    common = {"object": "model", "created": serving.began, "owned_by": "teachllm"}
    return [{"id": name, **common, "max_model_len": longest} for name, longest in served]


def _check_name(serving: Serving, name: str) -> None:
    if name not in serving.names:
        raise ApiError(
            404,
            f"the model {name!r} is not served here; this server has {serving.names[0]!r}",
            param="model",
            code="model_not_found",
        )
