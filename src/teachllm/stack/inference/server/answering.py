"""One request from its tokens to its end: asked of the engine, followed, told, and never left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from teachllm.stack.inference.engine.answers import Answer
from teachllm.stack.inference.engine.request import (
    Failed,
    Finished,
    NeverFits,
    Output,
    RequestOptions,
    TokenOut,
    Usage,
)
from teachllm.stack.inference.engine.service import Service, ServiceClosed
from teachllm.stack.inference.engine.structured import GrammarError
from teachllm.stack.inference.generation import ContextFull
from teachllm.stack.inference.server.admission import RETRY_SECONDS
from teachllm.stack.inference.server.deltas import Choice, Delta
from teachllm.stack.inference.server.errors import ApiError, bad_request, server_failed, unavailable
from teachllm.stack.inference.server.metrics import Metrics


@dataclass(frozen=True)
class Question:
    """What one request asks: several prompts, each with options.n texts; choice i * n + j is text j of
    prompt i.
    """

    prompts: Sequence[Sequence[int]]
    options: RequestOptions
    choices: Sequence[Choice]


class Answering:
    """A question that the engine works on, from its making until `cancel`, which may be called at any time.

    seconds: after so many it is given up. Raises `ApiError` if the engine refuses it. Its making may take a
    second where a grammar is compiled, so an event loop has a thread do it.
    """

    def __init__(self, service: Service, question: Question, metrics: Metrics, seconds: float) -> None:
        self._question = question
        self._metrics = metrics
        self._seconds = seconds
        self._began = time.perf_counter()
        self._deadline = time.monotonic() + seconds  # the clock of event loops
        self._times: dict[int, tuple[float, float, int]] = {}  # choice → first and last token, how many
        self._usages: dict[int, Usage] = {}
        self._answers: list[Answer] = []
        try:
            for prompt in question.prompts:
                self._answers.append(service.submit(prompt, question.options))
        except Exception as problem:
            self.cancel()
            raise _refused(problem) from None

    def cancel(self) -> None:
        """The engine forgets it and frees its blocks. Does nothing to texts that are over."""
        for answer in self._answers:
            answer.cancel()

    @property
    def usage(self) -> Usage:
        """Tokens of all prompts, each once, and of all texts."""
        n = self._question.options.n
        firsts = [usage for choice, usage in self._usages.items() if choice % n == 0]
        return Usage(
            sum(usage.prompt_tokens for usage in firsts),
            sum(usage.completion_tokens for usage in self._usages.values()),
            sum(usage.cached_tokens for usage in firsts),
        )

    async def deltas(self) -> AsyncGenerator[Delta]:
        """What the choices gain, until all are over. Raises `ApiError` if the engine fails or time is up."""
        outputs = merged(self._answers)
        try:
            while (found := await self._next(outputs)) is not None:
                which, output = found
                if isinstance(output, Failed):
                    raise _failed(output)
                index = which * self._question.options.n + output.index
                self._measure(index, output)
                yield self._question.choices[index].take(output)
        finally:
            await outputs.aclose()
            self._metrics.duration.observe(time.perf_counter() - self._began)

    async def _next(self, outputs: AsyncGenerator[tuple[int, Output]]) -> tuple[int, Output] | None:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(outputs, None)
        except TimeoutError:
            raise ApiError(
                504, f"the answer was not ready within {self._seconds:g} s", "timeout_error"
            ) from None

    def _measure(self, index: int, output: TokenOut | Finished) -> None:
        now = time.perf_counter()
        if isinstance(output, TokenOut):
            if not self._times:
                self._metrics.first_token.observe(now - self._began)
            first, _, count = self._times.get(index, (now, now, 0))
            self._times[index] = first, now, count + 1
            return
        self._usages[index] = output.usage
        first, last, count = self._times.get(index, (now, now, 0))
        if count > 1:
            self._metrics.between_tokens.observe((last - first) / (count - 1))


async def merged(answers: Sequence[Answer]) -> AsyncGenerator[tuple[int, Output]]:
    """(which of `answers`, what it says), in the order in which it comes, until all are over."""
    if len(answers) == 1:
        async for output in answers[0]:
            yield 0, output
        return
    said: asyncio.Queue[tuple[int, Output | None]] = asyncio.Queue()

    async def listen(which: int, answer: Answer) -> None:
        try:
            async for output in answer:
                said.put_nowait((which, output))
        finally:
            said.put_nowait((which, None))

    listeners = [asyncio.ensure_future(listen(*one)) for one in enumerate(answers)]
    try:
        going = len(listeners)
        while going:
            which, output = await said.get()
            if output is None:
                await listeners[which]
                going -= 1
            else:
                yield which, output
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.wait(listeners)


def _refused(problem: Exception) -> Exception:
    """What the client is told when the engine did not let its request in."""
    match problem:
        case NeverFits() | ContextFull():
            return bad_request(str(problem), code="context_length_exceeded")
        case GrammarError():
            return bad_request(str(problem), "response_format")
        case ValueError():
            return bad_request(str(problem))
        case ServiceClosed():
            return unavailable(str(problem), RETRY_SECONDS)
    return problem


def _failed(failed: Failed) -> ApiError:
    """What the client is told when the engine gave its request up."""
    match failed.kind:
        case "grammar":
            return bad_request(failed.message, "response_format")
        case "memory":
            return unavailable(failed.message, RETRY_SECONDS)
    return server_failed(failed.message)
