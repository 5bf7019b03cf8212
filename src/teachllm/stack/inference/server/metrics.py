"""What a monitor reads at ``/metrics``: requests, tokens, latencies, and how the engine stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from teachllm.stack.inference.engine.blocks import BlockState
from teachllm.stack.inference.engine.snapshot import EngineSnapshot, TextState
from teachllm.stack.inference.server.admission import Admission

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BETWEEN_TOKENS = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


class Metrics:
    """In a registry of its own, so that two servers in one process do not mix. Thread-safe."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, snapshot: Callable[[], EngineSnapshot], admission: Admission) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineGauges(snapshot, admission))
        self.answers = Counter(
            "teachllm_answers",
            "Requests that ended, by endpoint and HTTP status (499: the client left).",
            ["endpoint", "status"],
            registry=self._registry,
        )
        self.first_token = Histogram(
            "teachllm_time_to_first_token_seconds",
            "From the request to its first token.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.between_tokens = Histogram(
            "teachllm_time_per_output_token_seconds",
            "Mean time between two tokens of a text.",
            buckets=BETWEEN_TOKENS,
            registry=self._registry,
        )
        self.duration = Histogram(
            "teachllm_request_duration_seconds",
            "From the request to its end.",
            buckets=SECONDS,
            registry=self._registry,
        )

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _EngineGauges(Collector):
    """Read from the engine when somebody asks, not while it works."""

    def __init__(self, snapshot: Callable[[], EngineSnapshot], admission: Admission) -> None:
        self._snapshot = snapshot
        self._admission = admission

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        now = self._snapshot()
        texts = GaugeMetricFamily("teachllm_texts", "Texts being written, by state.", labels=["state"])
        for state in get_args(TextState):
            texts.add_metric([state], sum(text.state == state for text in now.texts))
        yield texts
        blocks = GaugeMetricFamily(
            "teachllm_kv_blocks", "Blocks of the KV cache, by what holds them.", labels=["state"]
        )
        for state in get_args(BlockState):
            blocks.add_metric([state], now.blocks.count(state))
        yield blocks
        yield GaugeMetricFamily("teachllm_open_requests", "Requests being answered.", self._admission.open)
        yield GaugeMetricFamily(
            "teachllm_tokens_per_second", "Tokens written, over the last steps.", now.tokens_per_second
        )
        yield CounterMetricFamily(
            "teachllm_refused_requests", "Turned away because the server was full.", self._admission.refused
        )
        yield CounterMetricFamily("teachllm_generated_tokens", "Tokens written.", now.tokens_written)
        yield CounterMetricFamily("teachllm_prompt_tokens", "Tokens of prompts read.", now.prompt_tokens)
        yield CounterMetricFamily(
            "teachllm_prefix_cache_hit_tokens",
            "Tokens of prompts found in the prefix cache.",
            now.cached_tokens,
        )
        yield CounterMetricFamily(
            "teachllm_preemptions", "Texts that lost their blocks to others.", now.preemptions
        )
