"""What the runs of a process use and how long it takes, as OpenTelemetry metrics; no run's id is among them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from opentelemetry.metrics import Histogram, Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource

from agentflow.core.amounts import DIMENSIONS
from agentflow.tracing import names
from agentflow.tracing.spans import TracedSpan

_SECONDS = [0.01 * 2**power for power in range(14)]  # the boundaries that the GenAI conventions ask for
_TOKENS = [4**power for power in range(14)]
_UNITS = {
    "tokens": "{token}",
    "micro_usd": "{micro_usd}",
    "gpu_ms": "ms",
    "frames": "{frame}",
    "wall_ms": "ms",
}

_DURATIONS = {
    names.INVOKE_WORKFLOW: (names.WORKFLOW_DURATION, (names.GEN_AI_WORKFLOW_NAME, names.RUN_STATUS)),
    names.CHAT: (
        names.CLIENT_DURATION,
        (
            names.GEN_AI_OPERATION,
            names.GEN_AI_PROVIDER,
            names.GEN_AI_REQUEST_MODEL,
            names.GEN_AI_RESPONSE_MODEL,
        ),
    ),
    names.EXECUTE_TOOL: (names.TOOL_DURATION, (names.GEN_AI_TOOL_NAME,)),
    "step": (names.STEP_DURATION, (names.STEP_TYPE, names.STEP_STATUS)),
}
_VERDICT = (names.GUARDRAIL_NAME, names.GUARDRAIL_HOOK, names.GUARDRAIL_VERDICT, names.GUARDRAIL_ACTION)
_TOKEN_TYPES = (("input", names.GEN_AI_INPUT_TOKENS), ("output", names.GEN_AI_OUTPUT_TOKENS))


class Metrics:
    """Reads ended spans into counters and histograms. Names of tools, steps' kinds and models tell them apart."""

    def __init__(self, reader: MetricReader, resource: Resource) -> None:
        self._provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("agentflow")
        self._durations = {name: _seconds(meter, name) for name, _ in _DURATIONS.values()}
        self._tokens = meter.create_histogram(
            names.TOKENS_USED,
            "{token}",
            "Tokens of one call of a language model.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._scores = meter.create_histogram(names.SCORES, "1", "What scorers measured.")
        self._verdicts = meter.create_counter(names.VERDICTS, "{verdict}", "What guardrails found.")
        self._denials = meter.create_counter(
            names.DENIALS, "{denial}", "Reservations that did not fit a cap."
        )
        self._booked = {
            f"{names.BUDGET_BOOKED}.{dimension}": meter.create_counter(
                f"{names.BUDGET_BOOKED}.{dimension}", _UNITS[dimension], "What was booked for calls."
            )
            for dimension in DIMENSIONS
        }

    def shutdown(self) -> None:
        """Send what was counted, and stop."""
        with suppress(Exception):  # the provider says by an exception that an endpoint did not answer
            self._provider.shutdown()

    def span(self, span: TracedSpan) -> None:
        """Count an ended span."""
        said = span.attributes
        kind = "step" if names.STEP_TYPE in said else said.get(names.GEN_AI_OPERATION)
        if kind in _DURATIONS:
            name, told = _DURATIONS[str(kind)]
            labels = _labels(said, (*told, names.ERROR_TYPE))
            self._durations[name].record((span.end_ns - span.start_ns) / 1e9, labels)
        if kind == names.CHAT:
            labels = _labels(said, _DURATIONS[names.CHAT][1])
            for token_type, name in _TOKEN_TYPES:
                if (count := _number(said, name)) is not None:
                    self._tokens.record(count, {**labels, names.GEN_AI_TOKENS_TYPE: token_type})
        if names.GUARDRAIL_VERDICT in said:
            self._verdicts.add(1, _labels(said, _VERDICT))
        if (score := _number(said, names.GEN_AI_EVALUATION_VALUE)) is not None:
            self._scores.record(score, _labels(said, (names.GEN_AI_EVALUATION_NAME,)))
        self._budget(said)

    def _budget(self, said: dict[str, Any]) -> None:
        if names.BUDGET_SCOPE not in said:
            return
        if said.get(names.BUDGET_DECISION) == "denied":
            self._denials.add(1)
        for name, counter in self._booked.items():
            if (amount := _number(said, name)) is not None:
                counter.add(amount)


def _seconds(meter: Meter, name: str) -> Histogram:
    return meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=_SECONDS)


def _labels(said: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    return {name: said[name] for name in wanted if name in said}


def _number(said: dict[str, Any], name: str) -> float | None:
    value = said.get(name)
    return value if isinstance(value, (int, float)) else None
