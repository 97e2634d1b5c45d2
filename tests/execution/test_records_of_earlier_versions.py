"""What version 0.1.0 left in a project is read, and its runs go on.

`records_of_0_1_0.sql` is a database of it, dumped: a run that waits for a decision, and one that was killed at its last
step after a decision.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentflow.core.errors import InvalidInputError
from agentflow.testing import Bench

WAITING, KILLED = "work-0c708cd73b", "work-1b4e623f01"
STEPS = """
- {id: one, use: t.pay, with: {name: a}}
- {id: ask, approval: {message: "Go on?"}}
- {id: two, use: t.pay, with: {name: b}}
"""
HEAD = """
inputs: {n: {type: string, default: x}}
outputs: {said: "${{ steps.two.output.name }}"}
"""
TOOLS = """
@tool(estimate=lambda name: Amounts(tokens=5))
async def pay(name: str) -> dict[str, Any]:
    note(name)
    return {"name": name}
"""


@pytest.fixture
def old(tmp_path: Path) -> Any:
    with Bench(tmp_path / "project") as bench:
        bench.write(STEPS, tools=TOOLS, head=HEAD)
        (bench.root / ".agentflow").mkdir()
        with closing(sqlite3.connect(bench.root / ".agentflow" / "agentflow.db")) as database:
            database.executescript(Path(__file__).with_name("records_of_0_1_0.sql").read_text())
        yield bench


def test_what_it_left_is_read_and_the_digest_that_it_made_otherwise_is_told(old: Bench) -> None:
    flow = old.open()
    assert {run.id: str(run.status) for run in flow.runs()} == {WAITING: "waiting", KILLED: "running"}
    steps = {record.path: str(record.envelope.status) for record in flow.workshop.store.steps(KILLED)}
    assert steps == {"input": "ok", "one": "ok", "ask": "ok"}
    for run in (WAITING, KILLED):
        with pytest.raises(InvalidInputError, match=r"a workflow that has changed since \(1b942a1d1cab → "):
            flow.resume(run)


def test_its_runs_go_on_where_they_stood_once_a_person_says_that_the_file_is_the_same(old: Bench) -> None:
    flow = old.open()
    with flow.workshop.store.transaction() as connection:
        digest = flow.project.file.digest("work")
        connection.exec_driver_sql(f"UPDATE runs SET digest = '{digest}'")  # noqa: S608 - of our own
    done = flow.resume(KILLED)
    assert (done.status, done.outputs, old.calls) == ("succeeded", {"said": "b"}, ["b"])
    # the old checkpoint is not read: the run begins at its first step, and finds what is done
    assert [question.path for question in flow.resume(WAITING).questions] == ["ask"]
    assert flow.decide(WAITING, "approve", by="ann").outputs == {"said": "b"}
    assert old.calls == ["b", "b"]
    assert flow.workshop.ledger.usage("project").held.tokens == 0
