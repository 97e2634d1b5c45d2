"""What is said about amounts, answers, verdicts, scores and outcomes, as attributes in both dialects.

None stands for what is not known: spans leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from agentflow.core.amounts import DIMENSIONS, Amounts
from agentflow.core.protocols import Completion
from agentflow.core.records import Artifact, Envelope, GuardRecord, ScoreRecord
from agentflow.tracing import names

_JSON, _PLAIN = "application/json", "text/plain"


def mime_type(value: Any) -> str:
    """Return the media type of a value as it stands in a span: texts as they are, all else as JSON."""
    return _PLAIN if isinstance(value, str) else _JSON


def input_attributes(value: Any) -> dict[str, Any]:
    """Return an input as attributes of OpenInference."""
    return {names.INPUT_VALUE: value, names.INPUT_MIME_TYPE: mime_type(value)}


def amounts_attributes(prefix: str, amounts: Amounts) -> dict[str, Any]:
    """Return amounts as ``<prefix>.<dimension>``; a dimension of zero is left out."""
    return {name: value for dimension, name in _dimensions(prefix) if (value := getattr(amounts, dimension))}


def usage_attributes(amounts: Amounts) -> dict[str, Any]:
    """Return what was spent, and its price."""
    said = amounts_attributes(names.USAGE, amounts)
    if amounts.micro_usd:
        said[names.COST_USD] = amounts.micro_usd / 1e6
    return said


def artifact_attributes(artifacts: Sequence[Artifact]) -> dict[str, Any]:
    """Return the names of files: references, never bytes."""
    if not artifacts:
        return {}
    return {
        names.ARTIFACT_URIS: [artifact.uri for artifact in artifacts],
        names.ARTIFACT_MEDIA_TYPES: [artifact.media_type for artifact in artifacts],
        names.ARTIFACT_BYTES: sum(artifact.bytes for artifact in artifacts),
    }


def envelope_attributes(envelope: Envelope) -> dict[str, Any]:
    """Return how a step ended, without its output."""
    return {
        names.STEP_STATUS: envelope.status.value,
        names.ATTEMPTS: envelope.attempts,
        names.RUNGS: envelope.rungs or None,
        **usage_attributes(envelope.usage),
        **artifact_attributes(envelope.artifacts),
    }


def completion_attributes(completion: Completion, *, capture: bool) -> dict[str, Any]:
    """Return what a language model used and, where content is captured, its answer as a message."""
    price = completion.usage.micro_usd
    said = {
        names.GEN_AI_RESPONSE_MODEL: completion.model or None,
        names.GEN_AI_FINISH_REASONS: [completion.finish_reason] if completion.finish_reason else None,
        names.GEN_AI_INPUT_TOKENS: completion.input_tokens,
        names.GEN_AI_OUTPUT_TOKENS: completion.output_tokens,
        names.LLM_TOKENS_PROMPT: completion.input_tokens,
        names.LLM_TOKENS_COMPLETION: completion.output_tokens,
        names.LLM_TOKENS_TOTAL: completion.input_tokens + completion.output_tokens,
        names.LLM_COST_TOTAL: price / 1e6 if price else None,
        names.USAGE_MEASURED: completion.usage_measured,
        **usage_attributes(completion.usage),
    }
    if capture:
        calls = [{"type": "tool_call", **call.model_dump()} for call in completion.tool_calls]
        parts = [{"type": "text", "content": completion.text}, *calls]
        said[names.GEN_AI_OUTPUT_MESSAGES] = [{"role": "assistant", "parts": parts}]
    return said


def verdict_attributes(record: GuardRecord) -> dict[str, Any]:
    """Return what a guardrail found and, apart from it, what was done."""
    verdict, action, reason = record.verdict.value, record.action.value, record.reason
    return {
        names.GEN_AI_GUARDRAIL_VERDICT: verdict,
        names.GEN_AI_GUARDRAIL_REASON: reason or None,
        names.GEN_AI_GUARDRAIL_ACTION: action,
        names.GUARDRAIL_VERDICT: verdict,
        names.GUARDRAIL_ACTION: action,
        names.GUARDRAIL_REASON: reason or None,
        names.GUARDRAIL_STATUS: record.status,
        names.GUARDRAIL_SUBJECT_DIGEST: record.subject_digest or None,
        names.OUTPUT_VALUE: {"verdict": verdict, "action": action, "reason": reason},
        names.OUTPUT_MIME_TYPE: _JSON,
    }


def score_attributes(record: ScoreRecord, label: str | None) -> dict[str, Any]:
    """Return what was measured."""
    score = record.score
    return {
        names.GEN_AI_EVALUATION_NAME: record.scorer,
        names.GEN_AI_EVALUATION_VALUE: score.value,
        names.GEN_AI_EVALUATION_LABEL: label or ("unscored" if score.value is None else None),
        names.GEN_AI_EVALUATION_EXPLANATION: score.reason or None,
        names.EVALUATION_UNIT: record.unit or None,
        names.EVALUATION_LOW: score.low,
        names.EVALUATION_HIGH: score.high,
        names.EVALUATION_N: score.n,
    }


@cache
def _dimensions(prefix: str) -> tuple[tuple[str, str], ...]:
    return tuple((dimension, f"{prefix}.{dimension}") for dimension in DIMENSIONS)
