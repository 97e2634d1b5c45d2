"""The trace file: one JSON line for each span as it ends, and for each event as it happens."""

from __future__ import annotations

import errno
import json
import os
import threading
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanContext, format_span_id, format_trace_id


class TraceFile(SpanProcessor):
    """Appends ended spans to a file. A line is on its way to the disk when its span has ended.

    It never fails a run: where the file cannot be written, ``problem`` says why and nothing more is tried.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torn = _ends_within_a_line(path)
            self._file = path.open("ab", buffering=0)
            if torn:  # an earlier process died in the middle of a line: ours begins after it
                self._file.write(b"\n")
        except OSError as error:
            self._give_up(error)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: a span is written when it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Write an ended span."""
        context = span.get_span_context()
        if context is None:
            return
        line: dict[str, Any] = {
            "type": "span",
            "trace_id": format_trace_id(context.trace_id),
            "span_id": format_span_id(context.span_id),
            "parent_span_id": format_span_id(span.parent.span_id) if span.parent else None,
            "name": span.name,
            "kind": span.kind.name,
            "start_ns": span.start_time,
            "end_ns": span.end_time,
            "status": span.status.status_code.name,
            "attributes": dict(span.attributes or {}),
        }
        if span.status.description:
            line["status_message"] = span.status.description
        if span.links:
            line["links"] = [_ids(link.context) for link in span.links]
        self._write(line)

    def write_event(self, name: str, context: SpanContext, time_ns: int, attributes: dict[str, Any]) -> None:
        """Write an event of the span that ``context`` names."""
        line = {"type": "event", **_ids(context), "name": name, "time_ns": time_ns, "attributes": attributes}
        self._write(line)

    def shutdown(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: every line is written at once."""
        return True

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n"
        data = text.encode()
        with self._lock:
            if self._file is None:
                return
            try:
                if self._file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.problem = f"the trace {self.path} could not be written: {error}"
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None


def _ids(context: SpanContext) -> dict[str, str]:
    return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}


def _ends_within_a_line(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
