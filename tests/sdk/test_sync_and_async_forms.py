"""Every call of the SDK in both forms, and many runs at once in one process."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentflow import Agentflow, Event, RunFinished
from agentflow.core.errors import InvalidInputError, PayloadChangedError, RunCancelledError
from agentflow.testing import Bench

TOOLS = """
@tool(estimate=fine)
async def say(name: str, *, call: Call) -> dict[str, Any]:
    note(f"{call.run_id}:{call.step}")
    return {"said": name}


@tool(estimate=fine)
async def wait_for_ever() -> int:
    await asyncio.Event().wait()
    return 1
"""
FILE = """
version: 1
workflows:
  ask:
    inputs: {seed: {type: string, default: none}}
    steps:
      - {id: one, use: t.say, with: {name: "${{ inputs.seed }}"}}
      - {id: ask, approval: {message: "Go on?", answers: {n: {type: integer, default: 1}}}}
      - {id: two, use: t.say, with: {name: again}}
    outputs: {said: "${{ steps.one.output.said }}", n: "${{ steps.ask.output.answers.n }}"}
  stays:
    steps: [{id: wait, use: t.wait_for_ever}]
  long:
    steps:
      - {id: s0, use: t.say, with: {name: a}}
      - {id: s1, use: t.say, with: {name: a}}
      - {id: s2, use: t.say, with: {name: a}}
      - {id: s3, use: t.say, with: {name: a}}
      - {id: s4, use: t.say, with: {name: a}}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        made.write_file(FILE, tools=TOOLS)
        yield made


@pytest.fixture
def flow(bench: Bench) -> Agentflow:
    return bench.open()


def test_each_call_that_takes_long_has_both_forms_with_the_same_parameters() -> None:
    pairs = ("run", "start", "stream", "resume", "cancel", "rerun", "decide", "record_decision")
    for name in pairs:
        sync, other = (inspect.signature(getattr(Agentflow, each)) for each in (name, f"a{name}"))
        assert sync.parameters == other.parameters, name


def test_a_whole_life_of_a_run_without_an_event_loop(flow: Agentflow) -> None:
    first = flow.run("ask", {"seed": "a text"}, seed=3)
    assert (first.status, flow.get(first.run_id).seed) == ("waiting", 3)
    assert flow.resume(first.run_id).status == "waiting"
    done = flow.decide(first.run_id, "approve", by="ann", answers={"n": 7})
    assert (done.status, done.outputs) == ("succeeded", {"said": "a text", "n": 7})
    again = flow.rerun(first.run_id, "ask")
    flow.cancel(again.run_id)
    assert flow.get(again.run_id).status == "cancelled"
    handle = flow.start("ask")
    assert handle.result(60).status == "waiting"
    decided = flow.record_decision(handle.run_id, "reject", by="bob", comment="no")
    assert (decided.decision, decided.by, decided.comment) == ("reject", "bob", "no")
    *events, result = flow.stream("ask", {"seed": "x"})
    assert isinstance(events[-1], RunFinished)
    assert result.status == "waiting"  # type: ignore[union-attr]


def test_a_whole_life_of_a_run_in_an_event_loop(flow: Agentflow) -> None:
    async def life() -> None:
        first = await flow.arun("ask", {"seed": "a text"}, seed=3)
        assert (first.status, flow.get(first.run_id).seed) == ("waiting", 3)
        assert (await flow.aresume(first.run_id)).status == "waiting"
        done = await flow.adecide(first.run_id, "approve", by="ann", answers={"n": 7})
        assert (done.status, done.outputs) == ("succeeded", {"said": "a text", "n": 7})
        again = await flow.arerun(first.run_id, "ask")
        await flow.acancel(again.run_id)
        assert flow.get(again.run_id).status == "cancelled"
        handle = await flow.astart("ask")
        assert (await handle).status == "waiting"
        decided = await flow.arecord_decision(handle.run_id, "reject", by="bob", comment="no")
        assert (decided.decision, decided.by, decided.comment) == ("reject", "bob", "no")
        seen: list[Any] = [each async for each in flow.astream("ask", {"seed": "x"})]
        assert isinstance(seen[-2], RunFinished)
        assert seen[-1].status == "waiting"

    asyncio.run(life())


def test_a_run_is_cancelled_from_another_thread_or_task(flow: Agentflow) -> None:
    def end(event: Event) -> None:
        if (event.kind, event.step) == ("step_started", "wait"):
            flow.cancel(event.run_id)

    with pytest.raises(RunCancelledError, match="`agentflow cancel`"):
        flow.run("stays", listener=end)

    async def ended() -> None:
        handle = await flow.astart("stays")
        await flow.acancel(handle.run_id)
        with pytest.raises(RunCancelledError):
            await handle
        assert flow.get(handle.run_id).status == "cancelled"

    asyncio.run(ended())


def test_a_call_that_would_hold_up_an_event_loop_is_refused_and_nothing_is_begun(flow: Agentflow) -> None:
    waiting = flow.run("ask").run_id

    async def calls() -> None:
        for call in (
            lambda: flow.run("ask"), lambda: flow.resume(waiting), lambda: list(flow.stream("ask")),
            lambda: flow.decide(waiting, "approve", by="ann"), lambda: flow.rerun(waiting, "one"),
        ):  # fmt: skip
            with pytest.raises(InvalidInputError, match="event loop"):
                call()

    asyncio.run(calls())
    assert [run.id for run in flow.runs()] == [waiting]
    assert flow.approvals(waiting)[0].decision is None


def test_a_decision_holds_for_what_was_shown(flow: Agentflow) -> None:
    result = flow.run("ask")
    (asked,) = result.questions
    for digest in ("0" * 64, asked.digest[:7], "0" * 8):
        with pytest.raises(PayloadChangedError):
            flow.decide(result.run_id, "approve", by="ann", digest=digest)
    assert flow.decide(result.run_id, "approve", by="ann", digest=asked.digest[:8]).status == "succeeded"


def test_two_hundred_runs_at_once_each_come_on_at_the_same_pace(bench: Bench, flow: Agentflow) -> None:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(flow.arun("long") for _ in range(200)))

    results = asyncio.run(all_of_them())
    assert {result.status for result in results} == {"succeeded"}
    calls = bench.calls
    done: Counter[str] = Counter()
    apart: list[int] = []
    for line in calls:
        done[line.split(":")[0]] += 1
        if len(done) == 200:
            apart.append(max(done.values()) - min(done.values()))
    assert (len(done), set(done.values())) == (200, {5})
    first_end = next(index for index, line in enumerate(calls) if line.endswith(":s4"))
    begun = {line.split(":")[0] for line in calls[:first_end]}
    assert begun == set(done)  # nobody ends before everybody has begun
    assert max(apart) <= 2  # and nobody is left behind
