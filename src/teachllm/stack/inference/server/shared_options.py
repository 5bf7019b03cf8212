"""What both endpoints ask of the engine, read from a request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from teachllm.stack.inference.engine.request import Constraint
from teachllm.stack.inference.sampling import Sampling
from teachllm.stack.inference.server.bodies import Sampled, StructuredOutputs
from teachllm.stack.inference.server.errors import bad_request

MOST_STOPS = 16
LONGEST_STOP = 200  # characters
TEMPERATURE = 1.0  # where the request names none, as OpenAI has it: the model's own distribution
LARGEST_SEED = 2**63 - 1


def sampling_of(body: Sampled) -> Sampling:
    """How the next token is drawn. Raises `ApiError` for what this engine's sampler does not do."""
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(body, name):
            raise bad_request(
                f"{name} is {getattr(body, name)}; this engine has repetition_penalty instead (above 1: "
                "tokens that were there before become less likely)",
                name,
                "unsupported_parameter",
            )
    if body.logit_bias:
        raise bad_request(
            "logit_bias is not supported by this engine; leave it out. To allow only some texts, use "
            'structured_outputs: {"choice": […]}',
            "logit_bias",
            "unsupported_parameter",
        )
    top_k = body.top_k if body.top_k and body.top_k > 0 else None  # others write 0 and -1 for "all"
    seed = None if body.seed is None else body.seed & LARGEST_SEED
    return Sampling(
        temperature=TEMPERATURE if body.temperature is None else body.temperature,
        top_k=top_k,
        top_p=None if body.top_p == 1 else body.top_p,
        min_p=body.min_p or None,
        repetition_penalty=None if body.repetition_penalty == 1 else body.repetition_penalty,
        seed=seed,
    )


def stops_of(body: Sampled) -> tuple[str, ...]:
    """The stop strings. Raises `ApiError` if there are too many, or one cannot be used."""
    stops = body.stops()
    if len(stops) > MOST_STOPS or not all(0 < len(stop) <= LONGEST_STOP for stop in stops):
        raise bad_request(
            f"stop has {len(stops)} texts; give at most {MOST_STOPS}, each of 1 to {LONGEST_STOP} characters",
            "stop",
        )
    return stops


def structured(wanted: StructuredOutputs | None) -> Constraint | None:
    """The constraint of the extension. Raises `ApiError` unless it names exactly one."""
    if wanted is None:
        return None
    given = {
        name: value
        for name in ("json_schema", "regex", "choice")
        if (value := getattr(wanted, name)) is not None
    }
    if len(given) != 1:
        raise bad_request(
            "structured_outputs needs exactly one of json, regex and choice", "structured_outputs"
        )
    try:
        if wanted.regex is not None:
            return Constraint.regex(wanted.regex)
        if wanted.choice is not None:
            return Constraint.choice(wanted.choice)
        return schema_constraint(wanted.json_schema or {}, "structured_outputs")
    except ValueError as problem:
        raise bad_request(str(problem), "structured_outputs") from None


def schema_constraint(schema: Mapping[str, Any], param: str) -> Constraint:
    """JSON that fits the schema. Raises `ApiError` for numbers that JSON does not have."""
    if not _is_json(schema):
        raise bad_request("the schema holds a number that JSON does not have (NaN or infinite)", param)
    return Constraint.json_schema(schema)


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return not isinstance(value, float) or math.isfinite(value)
