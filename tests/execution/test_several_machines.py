"""Several machines on one PostgreSQL server: processes that take themselves for others' neighbours only there.

A machine is a process whose host has a name of its own: so nobody can tell whether it lives, but by its lease.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agentflow.core.amounts import Amounts
from agentflow.core.errors import RunHeldError
from agentflow.testing import Bench
from agentflow.workflow.worker import Worker

WORK = """
import socket

HERE = Path(os.environ.get("MEETING_PLACE", "."))


@tool(estimate=lambda: Amounts(tokens=5))
async def meet(*, call: Call) -> dict[str, Any]:
    note(call.run_id)
    call.meter.charge(Amounts(tokens=5))
    (HERE / socket.gethostname()).touch()
    async with asyncio.timeout(60):
        while len(list(HERE.iterdir())) < 2:
            await asyncio.sleep(0.01)
    return {}


@tool(estimate=lambda name, gate=False: Amounts(tokens=5))
async def pay(name: str, gate: bool = False, *, call: Call) -> dict[str, Any]:
    note(f"pay:{name}")
    call.meter.charge(Amounts(tokens=5))
    if gate and not (LOG.parent / "open").exists():
        print("at the gate", flush=True)
        await asyncio.Event().wait()
    return {"name": name}


@tool(estimate=fine)
def write(*, call: Call) -> dict[str, Any]:
    return {"file": call.artifacts.put(b"of this machine", "text/plain", "note.txt")}


@tool(estimate=fine)
def read(reference: str, *, call: Call) -> dict[str, Any]:
    return {"text": call.artifacts.path(reference).read_text()}
"""
MACHINE = """
import asyncio, socket, sys
socket.gethostname = lambda: sys.argv[2]
from agentflow.core.errors import AgentflowError
from agentflow.sdk import Agentflow
from agentflow.workflow.worker import Worker

with Agentflow.open(sys.argv[1]) as flow:
    if sys.argv[3] == "worker":
        print("ready", flush=True)
        sys.stdin.readline()
        refused = []
        worker = Worker(flow.workshop, parallel=2, on_refused=lambda run, error: refused.append(str(error)))
        asyncio.run(worker.work(until_idle=True))
        print(refused, flush=True)
    else:
        try:
            print(flow.run("work").status, flush=True)
        except AgentflowError as error:
            print(error.kind, flush=True)
"""
GATED = "- {id: one, use: t.pay, with: {name: a}}\n- {id: two, use: t.pay, with: {name: b, gate: true}}\n"


@pytest.fixture(autouse=True)
def on_one_server(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgresql_url)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path / "here") as made:
        yield made


def machine(root: Path, name: str, task: str) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", MACHINE, str(root), name, task], text=True, **pipes)


@pytest.fixture
def elsewhere(bench: Bench) -> Iterator[subprocess.Popen[str]]:
    """Another machine, which shares the project's folder and is in the middle of a run's second step."""
    bench.write(GATED, tools=WORK)
    begun = machine(bench.root, "elsewhere", "run")
    line = begun.stdout.readline()  # type: ignore[union-attr]
    assert line.strip() == "at the gate", (line, begun.communicate(timeout=60))
    yield begun
    begun.kill()
    begun.communicate(timeout=60)


def let_its_lease_run_out(bench: Bench) -> None:
    """Do what time would: the server's clock is past the end of the lease."""
    with bench.flow.workshop.store.transaction() as connection:
        connection.execute(text("UPDATE runs SET lease_until_ms = 1"))


def take_what_is_free(bench: Bench) -> list[Any]:
    ended: list[Any] = []
    asyncio.run(Worker(bench.flow.workshop, on_ended=ended.append).work(until_idle=True))
    return ended


def test_two_machines_share_a_queue_and_a_cap_each_run_is_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meeting").mkdir()
    monkeypatch.setenv("MEETING_PLACE", str(tmp_path / "meeting"))
    names = ("north", "south")
    with Bench(tmp_path / "north") as bench, Bench(tmp_path / "south") as other:
        for each in (bench, other):  # nothing is shared but the server
            each.write("- {id: one, use: t.meet}\n", tools=WORK)
        runs = [bench.flow.enqueue("work") for _ in range(20)]
        workers = [machine(tmp_path / name, name, "worker") for name in names]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"  # type: ignore[union-attr]
        caps = Amounts.unlimited().model_copy(update={"tokens": 62})
        bench.flow.workshop.ledger.open_scope("project", caps)
        for worker in workers:
            worker.stdin.write("\n")  # type: ignore[union-attr]
            worker.stdin.flush()  # type: ignore[union-attr]
        said = [worker.communicate(timeout=120) for worker in workers]
        assert said == [("[]\n", "")] * 2
        records = [bench.flow.get(run) for run in runs]
        usage = bench.flow.workshop.ledger.usage("project")
        # 12 calls of 5 tokens fit under the cap; each of them was made once, and on both machines some were.
        statuses = sorted(str(record.status) for record in records)
        assert statuses == ["exhausted"] * 8 + ["succeeded"] * 12
        paid = [record.id for record in records if record.status == "succeeded"]
        assert sorted(bench.calls + other.calls) == sorted(paid)
        assert bench.calls
        assert other.calls
        assert (usage.spent.tokens, usage.held.tokens) == (60, 0)
        assert {record.fence for record in records} == {1}


def test_a_dead_machines_run_is_anothers_once_its_lease_has_run_out(
    bench: Bench, elsewhere: subprocess.Popen[str]
) -> None:
    elsewhere.send_signal(signal.SIGKILL)
    elsewhere.wait(60)
    (record,) = bench.open().runs()
    assert take_what_is_free(bench) == []
    with pytest.raises(
        RunHeldError, match=rf"held by process {elsewhere.pid} on elsewhere.*machine after \d"
    ):
        bench.flow.resume(record.id)
    (bench.root / "open").touch()
    let_its_lease_run_out(bench)
    (outcome,) = take_what_is_free(bench)
    assert (outcome.status, bench.calls) == ("succeeded", ["pay:a", "pay:b", "pay:b"])
    # two calls that ended well, and the hold of the machine that died
    assert (outcome.usage.spent.tokens, outcome.usage.held.tokens) == (15, 0)


def test_a_machine_that_slept_through_its_lease_writes_nothing_when_it_wakes(
    bench: Bench, elsewhere: subprocess.Popen[str]
) -> None:
    elsewhere.send_signal(signal.SIGSTOP)
    bench.open()
    (bench.root / "open").touch()
    let_its_lease_run_out(bench)
    (outcome,) = take_what_is_free(bench)
    assert outcome.status == "succeeded"
    before = bench.flow.get(outcome.run_id), bench.flow.workshop.store.steps(outcome.run_id)
    elsewhere.send_signal(signal.SIGCONT)
    assert elsewhere.communicate(timeout=60) == ("LeaseLost\n", "")
    assert (bench.flow.get(outcome.run_id), bench.flow.workshop.store.steps(outcome.run_id)) == before
    usage = bench.flow.workshop.ledger.usage(f"run:{outcome.run_id}")
    assert (usage.spent.tokens, usage.held.tokens) == (15, 0)


def test_a_file_that_is_on_another_machine_is_missed_by_name_until_the_folder_is_shared(
    tmp_path: Path,
) -> None:
    steps = """
        - {id: one, use: t.write}
        - {id: ask, approval: {message: "Read it?"}}
        - {id: two, use: t.read, with: {reference: "${{ steps.one.output.file.artifact }}"}}
    """
    with Bench(tmp_path / "north") as north, Bench(tmp_path / "south") as south:
        for bench in (north, south):
            bench.write(steps, tools=WORK)
        waiting = north.run()
        assert waiting.status == "waiting"
        failed = south.flow.decide(waiting.run_id, "approve", by="ann")
        assert failed.status == "failed"
        assert f"which is not in {south.root / '.agentflow'}; allowed: one whose file is there" in str(
            failed.error
        )
        assert "machines that share a database have to share this folder, too" in str(failed.error)
        done = south.open(folder=north.root / ".agentflow").resume(waiting.run_id)
        assert (done.status, done.steps["two"]["output"]) == ("succeeded", {"text": "of this machine"})
