"""What stands in the store of a killed project, read from a copy: to recover the file is the next life's task."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lives import Stage
from works import place

from agentflow.core.amounts import DIMENSIONS
from agentflow.tracing.read import read_trace

TABLES = ("runs", "steps", "verdicts", "scores", "approvals", "ledger_scopes", "ledger_holds")
FINAL = ("ok", "degraded", "skipped")
Rows = list[dict[str, Any]]


@dataclass
class Records:
    """All rows, and the log of what was really done."""

    tables: dict[str, Rows]
    begun: Rows = field(default_factory=list)

    @classmethod
    def of(cls, stage: Stage) -> Records:
        """Read them."""
        lines = stage.log.read_text().splitlines() if stage.log.exists() else []
        begun = [line for line in map(json.loads, lines) if line["what"] == "begin"]
        with _connected(stage) as connection:
            tables = {name: _rows(connection, name) for name in TABLES}
        return cls(tables, begun)

    @property
    def run(self) -> dict[str, Any]:
        """The run's row; empty where it was never begun."""
        return next(iter(self.tables["runs"]), {})

    @property
    def open_questions(self) -> Rows:
        """What nobody has decided."""
        return [row for row in self.tables["approvals"] if row["decision"] is None]

    @property
    def holds(self) -> dict[str, Rows]:
        """The holds by the name under which the log knows their step."""
        found: dict[str, Rows] = {}
        for hold in self.tables["ledger_holds"]:
            path = hold["key"].removeprefix(f"{self.run['id']}/").rsplit("/", 3)[0]
            if any(json.loads(hold["reserved"])[name] for name in DIMENSIONS if name != "wall_ms"):
                found.setdefault(place(path), []).append(hold)
        return found

    def steps(self) -> Counter[tuple[str, str, str]]:
        """How each place ended."""
        return Counter((row["path"], row["iteration"], row["status"]) for row in self.tables["steps"])

    def found(self) -> Counter[tuple[Any, ...]]:
        """What guardrails and scorers said, how often."""
        paths = {row["key"]: (row["path"], row["iteration"]) for row in self.tables["steps"]}
        said: Counter[tuple[Any, ...]] = Counter()
        for row in self.tables["verdicts"]:
            said[(*paths[row["step_key"]], row["guardrail"], row["hook"], row["verdict"])] += 1
        for row in self.tables["scores"]:
            said[(*paths[row["step_key"]], row["scorer"], row["value"])] += 1
        return said

    def settled(self) -> dict[str, Any]:
        """What must not change any more once it stands there: by kind and key."""
        tables = self.tables
        steps = {("step", row["key"]): row["envelope"] for row in tables["steps"] if row["status"] in FINAL}
        holds = {
            ("hold", row["id"]): (row["state"], row["booked"])
            for row in tables["ledger_holds"]
            if row["booked"]
        }
        asked = {("question", row["id"]): (row["digest"], row["message"]) for row in tables["approvals"]}
        decided = {
            ("decision", row["id"]): (row["decision"], row["decided_by"], row["decided_ms"])
            for row in tables["approvals"]
            if row["decision"]
        }
        return steps | holds | asked | decided


@dataclass(frozen=True)
class Files:
    """What a run left beside its records: spans and torn lines of its trace, and files that are not whole."""

    spans: int
    torn_lines: int
    broken: tuple[str, ...]

    @classmethod
    def of(cls, stage: Stage, run_id: str) -> Files:
        """Look at them."""
        folder = stage.root / ".agentflow"
        trace = read_trace(folder / "runs" / run_id / "trace.jsonl")
        broken = [str(file) for file in folder.glob("[0-9a-f][0-9a-f]/[0-9a-f]*") if not _is_whole(file)]
        try:
            json.loads((folder / "runs" / run_id / "workflow.json").read_text())["steps"]
        except (OSError, ValueError, KeyError) as error:
            broken.append(f"workflow.json: {type(error).__name__}")
        return cls(sum(1 for _ in trace.walk()), trace.unreadable_lines, tuple(broken))


def _is_whole(artifact: Path) -> bool:
    """Whether an artifact's name is the digest of what it holds."""
    digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
    return digest == artifact.parent.name + artifact.stem


@contextmanager
def _connected(stage: Stage) -> Iterator[Any]:
    if stage.url is not None:
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(stage.url, row_factory=dict_row) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory() as folder:
        for end in ("", "-wal"):
            if (file := stage.root / ".agentflow" / f"agentflow.db{end}").exists():
                shutil.copy(file, Path(folder) / file.name)
        with closing(sqlite3.connect(Path(folder) / "agentflow.db")) as database:
            database.row_factory = sqlite3.Row
            yield database


def _rows(connection: Any, table: str) -> Rows:
    try:
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608
    except Exception as error:  # it died before there were tables
        if "no such table" in str(error):
            return []
        if type(error).__name__ in ("UndefinedTable", "InFailedSqlTransaction"):
            return []
        raise
