"""`TracedSpan`: one span, which holds its own data, and what may be said about it in both dialects."""

from __future__ import annotations

import os
import random
import time
import traceback as tracebacks
from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from opentelemetry import context as otel_context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from agentflow.core.amounts import Amounts
from agentflow.core.errors import AgentflowError, BudgetExceededError, GuardrailBlockedError
from agentflow.core.protocols import Completion
from agentflow.core.records import Artifact, Envelope, GuardRecord, RunStatus, ScoreRecord, StepStatus
from agentflow.tracing import attributes as said
from agentflow.tracing import names
from agentflow.tracing.content import AttributeValue, Cleaner
from agentflow.tracing.export import Exporters
from agentflow.tracing.jsonl import TraceFile, ids_of

# Seeded by the system, apart from `random`'s own generator, which a seeded run would repeat.
_IDS = random.Random()
os.register_at_fork(after_in_child=_IDS.seed)

_STEP = otel_context.create_key("agentflow-step")

ScoreSink = Callable[[ScoreRecord, str | None], None]


@dataclass(frozen=True, slots=True)
class Recording:
    """Where the spans of one run go, and what all of them say.

    Attributes:
        common: attributes of every span, clean already.
        capture: whether inputs and outputs are written.
        sending: whether there is anything that sends or counts them.
    """

    file: TraceFile
    exporters: Exporters
    cleaner: Cleaner
    common: dict[str, AttributeValue]
    capture: bool
    sending: bool


class TracedSpan(Span):
    """A span as a context manager. It nests by OpenTelemetry's own context, so also across tasks of asyncio.

    So a caller's span is its parent, and spans and events of other instrumentation land in it. All of it is
    recorded, whatever a sampler says: the file is always whole, and a collector can sample.

    An exception that leaves it makes it an error; a refusal (of a guardrail or a budget) does not: the check
    worked. Nothing that is said here can fail the work that the span is about; what is said after its end is
    not heard.
    """

    parent: SpanContext | None = None
    status = StatusCode.UNSET
    status_message = ""
    start_ns = end_ns = 0
    """Nanoseconds since 1970; 0 until then."""
    _trace_id = _span_id = 0
    _context: SpanContext | None = None
    _token: Token[otel_context.Context] | None = None

    def __init__(
        self,
        recording: Recording,
        name: str,
        span_kind: str,
        attributes: Mapping[str, Any],
        *,
        content: Any = None,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[SpanContext] = (),
        step: str | None = None,
        output_name: str | None = None,
        on_score: ScoreSink | None = None,
    ) -> None:
        self._recording = recording
        self.name = recording.cleaner.text(name)
        self.kind = kind
        self.links = [*links]
        self.events: list[tuple[str, int, dict[str, AttributeValue]]] = []
        """Name, time in nanoseconds since 1970, attributes."""
        self.attributes = recording.common.copy()
        self.attributes[names.SPAN_KIND] = span_kind
        self._step = None if step is None else recording.cleaner.text(step)
        self._output_name, self._on_score = output_name, on_score
        self.set(attributes)
        if content is not None and recording.capture:
            self.set(said.input_attributes(content))

    def __enter__(self) -> Self:
        around = otel_context.get_current()
        parent = get_current_span(around).get_span_context()
        self._span_id = _IDS.getrandbits(64) or 1
        if parent.is_valid:
            self.parent, self._trace_id = parent, parent.trace_id
        else:
            self._trace_id = _IDS.getrandbits(128) or 1
        inside = set_span_in_context(self, around)
        if self._step is not None:
            inside = otel_context.set_value(_STEP, self._step, inside)
        step = inside.get(_STEP)
        if isinstance(step, str):
            self.attributes[names.STEP_ID] = step
        self.start_ns = time.time_ns()
        self._token = otel_context.attach(inside)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            otel_context.detach(self._token)
        if error is not None:
            self._ended_by(error)
        self.end()

    @property
    def context(self) -> SpanContext:
        """What links name."""
        if not self._span_id:
            raise RuntimeError(f"the span '{self.name}' is used before its `with`")
        return self.get_span_context()

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hex digits."""
        return f"{self.context.trace_id:032x}"

    @property
    def span_id(self) -> str:
        """The span's id, 16 hex digits."""
        return f"{self.context.span_id:016x}"

    @property
    def capture(self) -> bool:
        """Whether inputs and outputs are written: where not, they need not be made."""
        return self._recording.capture

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes; None is left out, texts are cleaned, everything that is no plain value is JSON."""
        if self.end_ns:
            return
        clean, held = self._recording.cleaner.attribute, self.attributes
        for name, value in attributes.items():
            if value is not None:
                held[name] = clean(value)

    def fail(self, kind: str, message: str) -> None:
        """Make the span an error of a kind."""
        self.set({names.ERROR_TYPE: kind})
        self.set_status(StatusCode.ERROR, message)

    def output(self, value: Any) -> None:
        """Say what came out, where content is captured."""
        if not self.capture:
            return
        text = self._recording.cleaner.json(value)
        self.set({names.OUTPUT_VALUE: text, names.OUTPUT_MIME_TYPE: said.mime_type(value)})
        if self._output_name is not None:
            self.set({self._output_name: text})

    def usage(self, amounts: Amounts) -> None:
        """Say what was spent, and its price."""
        self.set(said.usage_attributes(amounts))

    def artifacts(self, artifacts: Sequence[Artifact]) -> None:
        """Name the files that came out: references, never bytes."""
        self.set(said.artifact_attributes(artifacts))

    def envelope(self, envelope: Envelope) -> None:
        """Say how a step ended. Only what failed or was cancelled is an error."""
        self.set(said.envelope_attributes(envelope))
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
        self.set(said.completion_attributes(completion, capture=self.capture))
        self.output(completion.text if completion.data is None else completion.data)

    def verdict(self, record: GuardRecord) -> None:
        """Say what a guardrail found and, apart from it, what was done. Only a broken check is an error."""
        self.set(said.verdict_attributes(record))
        if record.status != "ran":
            self.fail(record.status, record.reason)

    def score(self, record: ScoreRecord, *, label: str | None = None) -> None:
        """Say what was measured, here and as an event of what was evaluated."""
        self.set(said.score_attributes(record, label))
        if self._on_score is not None:
            self._on_score(record, label)

    def reserved(self, amounts: Amounts) -> None:
        """Say that a hold was granted."""
        held = said.amounts_attributes(names.BUDGET_RESERVED, amounts)
        self.set({names.BUDGET_DECISION: "granted", **held})

    def settled(self, booked: Amounts, overrun: Amounts) -> None:
        """Say what was booked for a hold."""
        self.set(said.amounts_attributes(names.BUDGET_BOOKED, booked))
        self.set(said.amounts_attributes(names.BUDGET_OVERRUN, overrun))

    def _ended_by(self, error: BaseException) -> None:
        kind = error.kind if isinstance(error, AgentflowError) else type(error).__name__
        if isinstance(error, (BudgetExceededError, GuardrailBlockedError)):
            denied = "denied" if self.name == names.BUDGET_RESERVE else None
            self.set({names.REFUSAL: kind, names.BUDGET_DECISION: denied})
        else:
            self.fail(kind, _message(error))

    # What other instrumentation may do with the current span, as OpenTelemetry's interface has it

    def get_span_context(self) -> SpanContext:
        """Return what names the span to others; before its `with`, that is nothing."""
        if not self._span_id:
            return INVALID_SPAN_CONTEXT
        if self._context is None:  # most spans are never asked
            flags, state = (self.parent.trace_flags, self.parent.trace_state) if self.parent else (0, None)
            sampled = TraceFlags(flags | TraceFlags.SAMPLED)
            self._context = SpanContext(self._trace_id, self._span_id, False, sampled, state)
        return self._context

    def is_recording(self) -> bool:
        """Return whether what is said is still heard."""
        return not self.end_ns

    def end(self, end_time: int | None = None) -> None:
        """Write the span, and send it where that is asked for. Only the first call does."""
        if self.end_ns or not self.start_ns:
            return
        self.end_ns = end_time or max(self.start_ns, time.time_ns())
        recording = self._recording
        recording.file.write(self._line())
        if recording.sending:
            recording.exporters.send_span(self)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes."""
        clean = self._recording.cleaner.text
        self.set({clean(str(name)): value for name, value in attributes.items()})

    def set_attribute(self, key: str, value: Any) -> None:
        """Add an attribute."""
        self.set_attributes({key: value})

    def update_name(self, name: str) -> None:
        """Give the span another name."""
        self.name = self._recording.cleaner.text(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went; after OK nothing else is heard."""
        if isinstance(status, StatusCode):
            status = Status(status, description if status is StatusCode.ERROR else None)
        if self.end_ns or status.is_unset or self.status is StatusCode.OK:
            return
        self.status = status.status_code
        self.status_message = self._recording.cleaner.text(status.description or "")

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Link another span; attributes of links are not kept."""
        if context.is_valid and not self.end_ns:
            self.links.append(context)

    def add_event(
        self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None
    ) -> None:
        """Say what happened within; it is in the file at once."""
        if self.end_ns:
            return
        cleaner, time_ns = self._recording.cleaner, timestamp or time.time_ns()
        told = {
            cleaner.text(str(key)): cleaner.attribute(value)
            for key, value in (attributes or {}).items()
            if value is not None
        }
        self.events.append((cleaner.text(name), time_ns, told))
        self._recording.file.write_event(cleaner.text(name), self.get_span_context(), time_ns, told)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Say that an exception happened within."""
        told = {
            names.EXCEPTION_TYPE: type(exception).__qualname__,
            names.EXCEPTION_MESSAGE: _message(exception),
            names.EXCEPTION_STACKTRACE: "".join(tracebacks.format_exception(exception)),
        }
        self.add_event("exception", {**told, **(attributes or {})}, timestamp)

    def _line(self) -> dict[str, Any]:
        line: dict[str, Any] = {
            "type": "span",
            "trace_id": f"{self._trace_id:032x}",
            "span_id": f"{self._span_id:016x}",
            "parent_span_id": f"{self.parent.span_id:016x}" if self.parent else None,
            "name": self.name,
            "kind": self.kind.name,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "status": self.status.name,
            "attributes": self.attributes,
        }
        if self.status_message:
            line["status_message"] = self.status_message
        if self.links:
            line["links"] = [ids_of(context) for context in self.links]
        return line


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception's own text is a stranger's code
        return ""
