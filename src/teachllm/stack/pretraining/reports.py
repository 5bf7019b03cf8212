"""Reports of cleaning steps as JSON, so that prepared data still know what was dropped on the way."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from teachllm.stack.data.pipeline import Sample, StepReport

_COUNTERS = ("dropped", "dropped_bytes", "changes")


def report_to_json(report: StepReport) -> dict[str, Any]:
    content = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    for name in _COUNTERS:
        content[name] = dict(content[name])
    content["samples"] = {
        why: [dataclasses.asdict(one) for one in some] for why, some in report.samples.items()
    }
    return content


def report_from_json(content: dict[str, Any]) -> StepReport:
    values = dict(content)
    for name in _COUNTERS:
        values[name] = Counter(values[name])
    values["samples"] = {why: [Sample(**one) for one in some] for why, some in content["samples"].items()}
    return StepReport(**values)
