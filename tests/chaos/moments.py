"""Where a process may die: the moments of a run, counted by kind, at each of which its process can be made to end.

::

    begun        a write transaction has begun         committing   it is about to commit
    committed    it has committed                      paying       paid work has begun, outside of every record
    paid         paid work has ended, unsettled        trace        a line of the trace is about to be written
    torn         half of that line is written          traced       all of it is
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from agentflow.store.postgresql import PostgresqlServer
from agentflow.store.sqlite import SqliteFile
from agentflow.tracing.jsonl import TraceFile

COMMITS = ("begun", "committing", "committed")
KINDS = (*COMMITS, "paying", "paid", "trace", "torn", "traced")


class Death(NamedTuple):
    """The ``number``-th moment of a kind, from 1. Of ``kind`` "timer": after ``number`` microseconds."""

    kind: str
    number: int


@dataclass
class Moments:
    """The moments of one process so far; at the one of ``death``, ``then`` is done, which as a rule is to die."""

    death: Death | None = None
    then: Callable[[], Any] = lambda: os.kill(os.getpid(), signal.SIGKILL)
    log: Path = Path(os.devnull)
    counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, kind: str, before: Callable[[], Any] = lambda: None) -> None:
        """Count a moment; ``before`` is done first where it is the one to die at."""
        with self._lock:
            self.counts[kind] += 1
            here = self.death == (kind, self.counts[kind])
        if here:
            before()
            self.then()

    def note(self, **line: Any) -> None:
        """Append a line to the log of what was really done, which no record of agentflow touches."""
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, json.dumps(line | {"pid": os.getpid()}).encode() + b"\n")
        finally:
            os.close(handle)


HERE = Moments()
"""Those of this process."""


def arm(moments: Moments) -> None:
    """Let the store, the trace and paid work of this process reach ``moments``."""
    HERE.__dict__.update(moments.__dict__)
    for database in (SqliteFile, PostgresqlServer):
        database.write = _watched(database.write)  # type: ignore[method-assign]
    alone = SqliteFile.alone

    def by_itself(database: SqliteFile, *statement: Any) -> bool:
        HERE.reach("committing")
        written = alone(database, *statement)
        HERE.reach("committed")
        return written

    SqliteFile.alone = by_itself  # type: ignore[method-assign]
    write = TraceFile.write

    def traced(file: TraceFile, line: dict[str, Any]) -> None:
        HERE.reach("trace")
        HERE.reach("torn", lambda: _tear(file, line))
        write(file, line)
        HERE.reach("traced")

    TraceFile.write = traced  # type: ignore[method-assign]


def _watched(write: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def watched(database: Any, **options: Any) -> Iterator[Any]:
        with write(database, **options) as connection:
            HERE.reach("begun")
            yield connection
            HERE.reach("committing")
        HERE.reach("committed")

    return watched


def _tear(file: TraceFile, line: dict[str, Any]) -> None:
    data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    if file._file is not None:
        file._file.write(data[: len(data) // 2])


@contextmanager
def paid(step: str, **amounts: int) -> Iterator[None]:
    """Around work that somebody bills, from its beginning on, whatever becomes of the process."""
    HERE.note(what="begin", step=step, amounts=amounts)
    HERE.reach("paying")
    yield
    HERE.note(what="end", step=step)
    HERE.reach("paid")
