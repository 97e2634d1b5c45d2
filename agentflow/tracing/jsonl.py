"""The trace file: one JSON line for each span as it ends, and for each event as it happens."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import orjson
from opentelemetry.trace import SpanContext


class TraceFile:
    """Appends lines to a file. A line is on its way to the disk when `write` returns.

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

    def write(self, line: dict[str, Any]) -> None:
        """Write a line whose values are clean: text that can be encoded, numbers of at most 64 bits."""
        try:
            data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError as error:
            self.problem = f"the trace {self.path} lacks a line: {error}"
            return
        with self._lock:
            if self._file is None:
                return
            try:
                if self._file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self._give_up(error)

    def write_event(self, name: str, context: SpanContext, time_ns: int, attributes: dict[str, Any]) -> None:
        """Write an event of the span that ``context`` names."""
        self.write(
            {"type": "event", **ids_of(context), "name": name, "time_ns": time_ns, "attributes": attributes}
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _give_up(self, error: Exception) -> None:
        self.problem = f"the trace {self.path} could not be written: {error}"
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None


def ids_of(context: SpanContext) -> dict[str, Any]:
    """Return the ids of a trace and a span, as they stand in the file."""
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _ends_within_a_line(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
