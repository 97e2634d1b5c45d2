"""A run belongs to one process at a time; a dead one's runs are taken over, and a cancelled one ends everywhere."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import Any

import pytest

from agentflow.core.errors import InvalidInputError, RunCancelledError, RunHeldError
from agentflow.execution.events import Event
from agentflow.workflow.worker import Worker

WORK = """
@tool(estimate=lambda name, gate=False: Amounts(tokens=5))
async def pay(name: str, gate: bool = False, *, call: Call) -> dict[str, Any]:
    note(f"pay:{name}")
    call.meter.charge(Amounts(tokens=5))
    if gate and not (LOG.parent / "open").exists():
        print("at the gate", flush=True)
        await asyncio.Event().wait()
    return {"name": name}
"""
STEPS = "- {id: one, use: t.pay, with: {name: a}}\n- {id: two, use: t.pay, with: {name: b, gate: true}}\n"
MAIN = """
import sys
from agentflow.core.errors import AgentflowError
from agentflow.sdk import Agentflow

with Agentflow.open(sys.argv[1]) as flow:
    try:
        print(flow.run("work").status, flush=True)
    except AgentflowError as error:
        print(error.kind, flush=True)
"""


@pytest.fixture
def at_the_gate(bench: Any) -> Any:
    """Start a run in a process of its own and wait until its second step is at work."""
    bench.write(STEPS, tools=WORK)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(bench.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()  # type: ignore[union-attr]
    assert line.strip() == "at the gate", (line, process.communicate(timeout=60))
    yield process
    process.kill()
    process.communicate(timeout=60)


def test_a_run_at_work_is_refused_to_others_who_hear_who_has_it(bench: Any, at_the_gate: Any) -> None:
    flow = bench.open()
    (record,) = flow.runs()
    with pytest.raises(RunHeldError, match=rf"run {record.id} is held by process {at_the_gate.pid} on "):
        flow.resume(record.id)


def test_a_worker_takes_over_what_a_killed_process_left(bench: Any, at_the_gate: Any) -> None:
    at_the_gate.send_signal(signal.SIGKILL)
    at_the_gate.wait(60)
    (bench.root / "open").touch()
    flow = bench.open()
    ended: list[Any] = []
    assert asyncio.run(Worker(flow.workshop, on_ended=ended.append).work(until_idle=True)) == 1
    (outcome,) = ended
    assert (outcome.status, bench.calls) == ("succeeded", ["pay:a", "pay:b", "pay:b"])
    # two calls that ended well, and the hold of the one that died
    assert (outcome.usage.spent.tokens, outcome.usage.held.tokens) == (15, 0)


def test_a_cancel_reaches_the_process_that_is_at_work(bench: Any, at_the_gate: Any) -> None:
    flow = bench.open()
    (record,) = flow.runs()
    flow.cancel(record.id)
    out, err = at_the_gate.communicate(timeout=60)
    assert (out.strip(), err) == ("RunCancelled", "")
    ended = flow.get(record.id)
    assert (ended.status, ended.error_kind) == ("cancelled", "RunCancelled")
    assert "`agentflow cancel`" in str(ended.error)
    with pytest.raises(InvalidInputError, match="a run that has not ended"):
        flow.cancel(record.id)
    (bench.root / "open").touch()
    assert flow.resume(record.id).status == "succeeded"
    assert bench.calls == ["pay:a", "pay:b", "pay:b"]


def test_a_run_that_nobody_has_is_cancelled_at_once(bench: Any) -> None:
    bench.write(STEPS, tools=WORK)
    flow = bench.open()
    run_id = flow.enqueue("work")
    assert flow.get(run_id).status == "queued"
    flow.cancel(run_id)
    assert flow.get(run_id).status == "cancelled"
    assert asyncio.run(Worker(flow.workshop).work(until_idle=True)) == 0


def test_a_queued_run_is_a_workers(bench: Any) -> None:
    bench.write("- {id: one, use: t.pay, with: {name: a}}\n", tools=WORK)
    flow = bench.open()
    runs = [flow.enqueue("work", seed=seed) for seed in range(5)]
    ended: list[Any] = []
    worker = Worker(bench.open().workshop, parallel=2, on_ended=ended.append)
    assert asyncio.run(worker.work(until_idle=True)) == 5
    assert sorted(outcome.run_id for outcome in ended) == sorted(runs)
    assert {flow.get(run).status for run in runs} == {"succeeded"}


def test_a_worker_leaves_alone_what_its_file_no_longer_describes(bench: Any) -> None:
    bench.write("- {id: one, use: t.pay, with: {name: a}}\n", tools=WORK)
    run_id = bench.open().enqueue("work")
    bench.write("- {id: one, use: t.pay, with: {name: other}}\n", tools=WORK)
    refused: list[tuple[str, str]] = []
    worker = Worker(bench.open().workshop, on_refused=lambda run, error: refused.append((run, error.kind)))
    asyncio.run(worker.work(until_idle=True))
    assert (refused, bench.calls) == ([(run_id, "InvalidInput")], [])


def test_a_run_on_a_thread_of_its_own_is_watched_awaited_and_ended(bench: Any) -> None:
    bench.write(STEPS, tools=WORK)
    flow = bench.open()
    handle = flow.start("work")
    seen: list[Event] = []
    for event in handle.events():
        seen.append(event)
        if (event.kind, event.step) == ("step_started", "two"):
            handle.cancel()
    with pytest.raises(RunCancelledError):
        handle.result(60)
    assert seen[0].kind == "run_started"
    assert flow.get(handle.run_id).status == "cancelled"
    (bench.root / "open").touch()

    async def both() -> list[Any]:
        return [(await flow.start("work")).status, (await flow.aresume(handle.run_id)).status]

    assert asyncio.run(both()) == ["succeeded", "succeeded"]


def test_two_hundred_runs_in_one_process_go_on_side_by_side(bench: Any) -> None:
    bench.write(
        "- {id: one, use: t.meet}\n- {id: two, use: t.pay, with: {name: a}}\n",
        tools=WORK
        + """
@tool(estimate=fine)
async def meet() -> dict[str, Any]:
    meet.__dict__["here"] = meet.__dict__.get("here", 0) + 1
    full = meet.__dict__.setdefault("full", asyncio.Event())
    if meet.__dict__["here"] == 200:
        full.set()
    await asyncio.wait_for(full.wait(), 120)
    return {}
""",
    )
    flow = bench.open()

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(flow.arun("work") for _ in range(200)))

    results = asyncio.run(all_of_them())
    assert {result.status for result in results} == {"succeeded"}
    assert len(bench.calls) == 200
