"""Our spans and events as the OpenTelemetry SDK's processors take them."""

from __future__ import annotations

from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, set_span_in_context

from agentflow.tracing import names
from agentflow.tracing.spans import TracedSpan

SCOPE = "agentflow"


def resource() -> Resource:
    """Return what the process is, as ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` name it."""
    ours = Resource({names.SERVICE_NAME: SCOPE, names.PROJECT_NAME: SCOPE})
    return ours.merge(OTELResourceDetector().detect())


class Outbox:
    """Turns spans and events into the SDK's, with the resource and the limits that ``OTEL_*`` variables set."""

    def __init__(self) -> None:
        self._resource = resource()
        self._limits = SpanLimits()
        self._scope = InstrumentationScope(SCOPE)
        self._loggers: LoggerProvider | None = None

    def span(self, span: TracedSpan) -> ReadableSpan:
        """Return an ended span as processors take it."""
        limits = self._limits
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=self._resource,
            attributes=BoundedAttributes(
                limits.max_span_attributes, span.attributes, max_value_len=limits.max_span_attribute_length
            ),
            events=[Event(name, said, time_ns) for name, time_ns, said in span.events[: limits.max_events]],
            links=[Link(context) for context in span.links[: limits.max_links]],
            kind=span.kind,
            status=Status(span.status, span.status_message or None),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )

    def emit(
        self,
        processor: LogRecordProcessor,
        name: str,
        context: SpanContext,
        time_ns: int,
        attributes: dict[str, Any],
    ) -> None:
        """Give a processor an event of the span that ``context`` names."""
        if self._loggers is None:
            self._loggers = LoggerProvider(resource=self._resource, shutdown_on_exit=False)
            self._loggers.add_log_record_processor(processor)
        self._loggers.get_logger(SCOPE).emit(
            LogRecord(
                timestamp=time_ns,
                context=set_span_in_context(NonRecordingSpan(context)),
                severity_number=SeverityNumber.INFO,
                attributes=attributes,
                event_name=name,
            )
        )
