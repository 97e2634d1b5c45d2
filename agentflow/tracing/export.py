"""Export to an OpenTelemetry collector, where the standard ``OTEL_EXPORTER_OTLP_*`` variables ask for it.

Sending happens on threads of its own. An endpoint that is slow, dead or wrong costs a run nothing, and the
end of the process at most `CLOSE_WITHIN_S`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import SpanContext

    from agentflow.tracing.metrics import Metrics
    from agentflow.tracing.otlp import Outbox
    from agentflow.tracing.spans import TracedSpan

CLOSE_WITHIN_S = 2.0
_REQUEST_TIMEOUT_S = 5.0
_BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"


@dataclass
class Exporters:
    """What sends spans, events and metrics away: one for the process, shared by its runs."""

    spans: SpanProcessor | None = None
    logs: LogRecordProcessor | None = None
    metrics: Metrics | None = None
    problem: str | None = None
    """Why nothing is sent although the environment asks for it."""
    _closed: bool = field(default=False, repr=False)

    @classmethod
    def from_environment(cls) -> Exporters:
        """Return what the environment asks for: nothing, unless an endpoint is set."""
        exporters = cls()
        try:
            if _wanted("TRACES"):
                exporters.spans = _span_processor()
            if _wanted("LOGS"):
                exporters.logs = _log_processor()
            if _wanted("METRICS"):
                exporters.metrics = _metrics()
        except Exception as error:  # whatever the settings did, a run goes on without exporting
            exporters.problem = f"traces are not exported: {error}. Check the OTEL_* variables."
        return exporters

    def send_span(self, span: TracedSpan) -> None:
        """Hand an ended span to what sends it, and count it."""
        try:
            if self.spans is not None:
                self.spans.on_end(self._outbox.span(span))
            if self.metrics is not None:
                self.metrics.span(span)
        except Exception as error:  # whatever a processor does, a run goes on
            self.problem = f"the span '{span.name}' is not exported: {error}"

    def send_event(self, name: str, context: SpanContext, time_ns: int, attributes: dict[str, Any]) -> None:
        """Hand an event of the span that ``context`` names to what sends it."""
        if self.logs is None:
            return
        try:
            self._outbox.emit(self.logs, name, context, time_ns, attributes)
        except Exception as error:
            self.problem = f"the event '{name}' is not exported: {error}"

    @cached_property
    def _outbox(self) -> Outbox:
        from agentflow.tracing.otlp import Outbox

        return Outbox()

    def close(self, *, within_s: float = CLOSE_WITHIN_S) -> None:
        """Send what waits, and stop; what cannot be sent in time is dropped."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + within_s
        ends: list[Callable[[], object]] = [
            part.shutdown for part in (self.spans, self.logs, self.metrics) if part is not None
        ]
        # Daemon threads: an endpoint that never answers must not keep the process alive.
        closers = [threading.Thread(target=end, name="agentflow-export-close", daemon=True) for end in ends]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(max(0.0, deadline - time.monotonic()))


def _wanted(signal: str) -> bool:
    switched_off = (
        os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() == "none"
        or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    )
    endpoint = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or os.environ.get(_BASE)
    return bool(endpoint) and not switched_off


def _timeout_s(signal: str) -> float | None:
    named = (f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    return None if any(os.environ.get(name) for name in named) else _REQUEST_TIMEOUT_S


def _span_processor() -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    _quiet()
    return BatchSpanProcessor(OTLPSpanExporter(timeout=_timeout_s("TRACES")))


def _log_processor() -> LogRecordProcessor:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    _quiet()
    return BatchLogRecordProcessor(OTLPLogExporter(timeout=_timeout_s("LOGS")))


def _metrics() -> Metrics:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from agentflow.tracing.metrics import Metrics
    from agentflow.tracing.otlp import resource

    _quiet()
    exporter = OTLPMetricExporter(timeout=_timeout_s("METRICS"))
    return Metrics(PeriodicExportingMetricReader(exporter), resource())


def _quiet() -> None:
    """Keep the exporter's complaints off a terminal; configured log handlers still get them."""
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
