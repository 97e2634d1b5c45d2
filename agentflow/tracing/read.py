"""Reading a trace file back as trees of spans."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

_BLOCK_BYTES = 65_536


@dataclass
class SpanNode:
    """A span that was read, with what happened in it. Times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    status_message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    links: list[dict[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    children: list[SpanNode] = field(default_factory=list)

    @property
    def duration_ms(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e6

    def walk(self) -> Iterator[SpanNode]:
        """Yield this span and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass
class Trace:
    """What stands in a trace file.

    ``roots`` are the spans whose parent is not in the file: the run, once for each time it was begun or
    resumed; after a crash also what had ended in spans that had not. ``unreadable_lines`` counts lines that a
    crash or a full disk tore.
    """

    roots: list[SpanNode]
    unreadable_lines: int = 0

    def walk(self) -> Iterator[SpanNode]:
        """Yield every span, each before its children."""
        for root in self.roots:
            yield from root.walk()

    def named(self, name: str) -> list[SpanNode]:
        """Return the spans of a name."""
        return [span for span in self.walk() if span.name == name]


def read_trace(path: Path) -> Trace:
    """Read a trace file; a file that is not there is an empty trace."""
    spans: dict[str, SpanNode] = {}
    events: list[dict[str, Any]] = []
    unreadable = 0
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            entry = orjson.loads(line)
            if entry.pop("type") == "span":
                span = SpanNode(**entry)
                spans[span.span_id] = span
            else:
                events.append(entry)
        except (ValueError, TypeError, KeyError, AttributeError):
            unreadable += bool(line.strip())
    for event in events:
        if event.get("span_id") in spans:
            spans[event["span_id"]].events.append(event)
    roots: list[SpanNode] = []
    for span in sorted(spans.values(), key=lambda one: one.start_ns):
        parent = spans.get(span.parent_span_id or "")
        (roots if parent is None else parent.children).append(span)
    return Trace(roots, unreadable)


def last_span(path: Path) -> tuple[str, str] | None:
    """Return trace id and span id (hex) of the span that ended last, or None where there is none.

    That is the run's own span or, where the run was killed, the last one in it that had ended: what a run that
    goes on is linked to. The file is read from its end, so its length does not matter.
    """
    for line in _lines_from_the_end(path):
        try:
            entry = orjson.loads(line)
            if entry["type"] == "span":
                ids = (entry["trace_id"], entry["span_id"])
                return ids if all(int(each, 16) for each in ids) else None
        except (ValueError, TypeError, KeyError):
            continue
    return None


def _lines_from_the_end(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    with path.open("rb") as file:
        at, rest = file.seek(0, os.SEEK_END), b""
        while at:
            size = min(_BLOCK_BYTES, at)
            at -= size
            file.seek(at)
            rest, *lines = (file.read(size) + rest).split(b"\n")
            yield from reversed(lines)
        yield rest
