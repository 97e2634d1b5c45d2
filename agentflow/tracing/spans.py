"""`TracedSpan`: one open span, and what may be said about it in both dialects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

from opentelemetry import context as otel_context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from agentflow.core.amounts import Amounts
from agentflow.core.errors import AgentflowError, BudgetExceededError, GuardrailBlockedError
from agentflow.core.protocols import Completion
from agentflow.core.records import (
    Artifact,
    Envelope,
    GuardRecord,
    RunStatus,
    ScoreRecord,
    StepStatus,
)
from agentflow.tracing import names
from agentflow.tracing.content import Cleaner

_JSON, _PLAIN = "application/json", "text/plain"

current_step: ContextVar[str | None] = ContextVar("agentflow_step", default=None)

ScoreSink = Callable[[ScoreRecord, str | None], None]


class TracedSpan:
    """A span as a context manager. It nests by context, so also across tasks of asyncio.

    An exception that leaves it makes it an error; a refusal (of a guardrail or a budget) does not: the check
    worked. Nothing that is said here can fail the work that the span is about.
    """

    def __init__(
        self,
        tracer: Tracer,
        cleaner: Cleaner,
        *,
        capture: bool,
        name: str,
        common: Mapping[str, str],
        attributes: dict[str, Any],
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[SpanContext] = (),
        step: str | None = None,
        output_name: str | None = None,
        on_score: ScoreSink | None = None,
    ) -> None:
        self._tracer, self._cleaner, self._capture = tracer, cleaner, capture
        self._name, self._kind, self._links = name, kind, links
        self._common, self._attributes = (
            common,
            attributes,
        )  # what is common to a run's spans is clean already
        self._step = step
        self._output_name = output_name
        self._on_score = on_score
        self._span: Span | None = None
        self._context_token: Token[otel_context.Context] | None = None
        self._step_token: Token[str | None] | None = None

    def __enter__(self) -> Self:
        if self._step is not None:
            self._step_token = current_step.set(self._step)
        clean = self._cleaner.attribute
        step = current_step.get()
        cleaned = {name: clean(value) for name, value in self._attributes.items() if value is not None}
        attributes: dict[str, Any] = {**self._common, **cleaned}
        if step is not None:
            attributes[names.STEP_ID] = clean(step)
        self._span = self._tracer.start_span(
            self._cleaner.text(self._name),
            kind=self._kind,
            attributes=attributes,
            links=[Link(context) for context in self._links],
        )
        self._context_token = otel_context.attach(set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._context_token is not None:
            otel_context.detach(self._context_token)
        if self._step_token is not None:
            current_step.reset(self._step_token)
        if error is not None:
            self._ended_by(error)
        self._open().end()

    @property
    def context(self) -> SpanContext:
        """What links name."""
        return self._open().get_span_context()

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hex digits."""
        return format_trace_id(self.context.trace_id)

    @property
    def span_id(self) -> str:
        """The span's id, 16 hex digits."""
        return format_span_id(self.context.span_id)

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes; None is left out, texts are cleaned, everything that is no plain value is JSON."""
        clean = self._cleaner.attribute
        self._open().set_attributes(
            {name: clean(value) for name, value in attributes.items() if value is not None}
        )

    def fail(self, kind: str, message: str) -> None:
        """Make the span an error of a kind."""
        self.set({names.ERROR_TYPE: kind})
        self._open().set_status(Status(StatusCode.ERROR, self._cleaner.text(message)))

    def output(self, value: Any) -> None:
        """Say what came out, where content is captured."""
        if not self._capture:
            return
        text = self._cleaner.json(value)
        mime_type = _PLAIN if isinstance(value, str) else _JSON
        self.set({names.OUTPUT_VALUE: text, names.OUTPUT_MIME_TYPE: mime_type})
        if self._output_name is not None:
            self.set({self._output_name: text})

    def amounts(self, prefix: str, amounts: Amounts) -> None:
        """Say amounts as ``<prefix>.<dimension>``; a dimension of zero is left out."""
        self.set({f"{prefix}.{name}": value for name, value in amounts.as_dict().items() if value})

    def usage(self, amounts: Amounts) -> None:
        """Say what was spent, and its price."""
        self.amounts(names.USAGE, amounts)
        if amounts.micro_usd:
            self.set({names.COST_USD: amounts.micro_usd / 1e6})

    def artifacts(self, artifacts: Sequence[Artifact]) -> None:
        """Name the files that came out: references, never bytes."""
        if artifacts:
            self.set(
                {
                    names.ARTIFACT_URIS: [artifact.uri for artifact in artifacts],
                    names.ARTIFACT_MEDIA_TYPES: [artifact.media_type for artifact in artifacts],
                    names.ARTIFACT_BYTES: sum(artifact.bytes for artifact in artifacts),
                }
            )

    def envelope(self, envelope: Envelope) -> None:
        """Say how a step ended. Only what failed or was cancelled is an error."""
        self.set(
            {
                names.STEP_STATUS: envelope.status.value,
                names.ATTEMPTS: envelope.attempts,
                names.RUNGS: envelope.rungs or None,
            }
        )
        self.usage(envelope.usage)
        self.artifacts(envelope.artifacts)
        if envelope.usable:
            self.output(envelope.output)
        if envelope.status in (StepStatus.FAILED, StepStatus.CANCELLED):
            self.fail(envelope.error_kind or envelope.status.value, envelope.error or "")
        elif envelope.error_kind is not None:
            self.set({names.REFUSAL: envelope.error_kind})

    def run_ended(self, status: RunStatus, spent: Amounts, error: BaseException | None = None) -> None:
        """Say how the run ended."""
        self.set({names.RUN_STATUS: status.value})
        self.usage(spent)
        if error is not None:
            self._ended_by(error)
        elif status in (RunStatus.FAILED, RunStatus.CANCELLED):
            self.fail(status.value, "")

    def completion(self, completion: Completion) -> None:
        """Say what a language model answered and used."""
        self.set(
            {
                names.GEN_AI_RESPONSE_MODEL: completion.model or None,
                names.GEN_AI_FINISH_REASONS: [completion.finish_reason] if completion.finish_reason else None,
                names.GEN_AI_INPUT_TOKENS: completion.input_tokens,
                names.GEN_AI_OUTPUT_TOKENS: completion.output_tokens,
                names.LLM_TOKENS_PROMPT: completion.input_tokens,
                names.LLM_TOKENS_COMPLETION: completion.output_tokens,
                names.LLM_TOKENS_TOTAL: completion.input_tokens + completion.output_tokens,
                names.USAGE_MEASURED: completion.usage_measured,
            }
        )
        self.usage(completion.usage)
        if completion.usage.micro_usd:
            self.set({names.LLM_COST_TOTAL: completion.usage.micro_usd / 1e6})
        if self._capture:
            calls = [{"type": "tool_call", **call.model_dump()} for call in completion.tool_calls]
            parts = [{"type": "text", "content": completion.text}, *calls]
            self.set({names.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": parts}]})
        self.output(completion.text if completion.data is None else completion.data)

    def verdict(self, record: GuardRecord) -> None:
        """Say what a guardrail found and, apart from it, what was done. Only a broken check is an error."""
        verdict, action, reason = record.verdict.value, record.action.value, record.reason
        self.set(
            {
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
        )
        if record.status != "ran":
            self.fail(record.status, reason)

    def score(self, record: ScoreRecord, *, label: str | None = None) -> None:
        """Say what was measured, here and as an event of what was evaluated."""
        self.set(score_attributes(record, label))
        if self._on_score is not None:
            self._on_score(record, label)

    def reserved(self, amounts: Amounts) -> None:
        """Say that a hold was granted."""
        self.set({names.BUDGET_DECISION: "granted"})
        self.amounts(names.BUDGET_RESERVED, amounts)

    def settled(self, booked: Amounts, overrun: Amounts) -> None:
        """Say what was booked for a hold."""
        self.amounts(names.BUDGET_BOOKED, booked)
        self.amounts(names.BUDGET_OVERRUN, overrun)

    def _ended_by(self, error: BaseException) -> None:
        kind = error.kind if isinstance(error, AgentflowError) else type(error).__name__
        if isinstance(error, (BudgetExceededError, GuardrailBlockedError)):
            denied = "denied" if self._name == names.BUDGET_RESERVE else None
            self.set({names.REFUSAL: kind, names.BUDGET_DECISION: denied})
        else:
            self.fail(kind, str(error))

    def _open(self) -> Span:
        if self._span is None:
            raise RuntimeError(f"the span '{self._name}' is used before its `with`")
        return self._span


def score_attributes(record: ScoreRecord, label: str | None) -> dict[str, Any]:
    """Return a score as attributes; None stands for what is not known."""
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


def content_attributes(value: Any) -> dict[str, Any]:
    """Return an input as attributes of OpenInference."""
    return {names.INPUT_VALUE: value, names.INPUT_MIME_TYPE: _PLAIN if isinstance(value, str) else _JSON}
