"""What a run tells while it is at work, and that nothing a listener does can harm it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agentflow.execution.events import (
    Event,
    GuardrailRan,
    ItemsProgress,
    Progress,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)

WORK = """
@tool(estimate=fine)
def count(item: int, *, call: Call) -> dict[str, Any]:
    note(str(item))
    call.progress("counting", item, 3)
    if item == 2:
        raise ValueError("two is not counted")
    return {"item": item}
"""
GUARD = """
@guardrail(hooks=["tool_args"])
def small(subject: Subject) -> Verdict:
    return Verdict.allow("small enough", seen=subject.value["item"])
"""
STEPS = """
- id: each
  foreach: {in: "[1, 2, 3]", as: item, on_error: collect}
  use: t.count
  with: {item: "${{ item }}"}
- {id: ask, approval: {message: "Go on?"}}
"""


def ready(bench: Any) -> Any:
    bench.write(STEPS, tools=WORK, guardrails=GUARD, head="guardrails: [{use: g.small, at: tool_args}]\n")
    return bench.open()


def test_every_event_says_its_run_and_what_happened(bench: Any) -> None:
    flow = ready(bench)
    seen: list[Event] = []
    result = flow.run("work", listener=seen.append)
    (asked,) = result.questions
    run = result.run_id
    assert {event.run_id for event in seen} == {run}
    assert seen[0] == RunStarted(run, "", "work", {}, False)
    assert [e for e in seen if isinstance(e, ItemsProgress)] == [
        ItemsProgress(run, "each", done, failed, 3) for done, failed in ((0, 0), (1, 0), (2, 1), (3, 1))
    ]
    assert [e for e in seen if isinstance(e, Progress)] == [
        Progress(run, f"each[{i}]", "counting", i + 1, 3) for i in range(3)
    ]
    ran = [e for e in seen if isinstance(e, GuardrailRan)]
    assert [(e.step, e.record.verdict, e.record.evidence) for e in ran] == [
        (f"each[{i}]", "allow", {"seen": i + 1}) for i in range(3)
    ]
    begun = [(e.step, e.step_kind) for e in seen if isinstance(e, StepStarted)]
    assert begun == [
        ("input", "input"), ("each", "foreach"), ("each[0]", "use"), ("each[1]", "use"), ("each[2]", "use"),
        ("ask", "approval"),
    ]  # fmt: skip
    assert [(e.step, str(e.envelope.status)) for e in seen if isinstance(e, StepFinished)] == [
        ("input", "ok"), ("each[0]", "ok"), ("each[1]", "failed"), ("each[2]", "ok"), ("each", "ok"),
    ]  # fmt: skip
    assert seen[-2:] == [Waiting(run, "ask", question=asked), RunFinished(run, status=result.status)]


def test_a_run_that_goes_on_tells_what_it_found_on_record(bench: Any) -> None:
    flow = ready(bench)
    run = flow.run("work").run_id
    seen: list[Event] = []
    flow.decide(run, "approve", by="ann", listener=seen.append)
    assert seen[0] == RunStarted(run, "", "work", {}, True)
    assert seen[-1] == RunFinished(run, status=flow.get(run).status)
    found = {e.step: e.found for e in seen if isinstance(e, StepFinished)}
    assert (found["input"], found["ask"]) == (True, False)


def test_events_are_json_for_scripts(bench: Any) -> None:
    flow = ready(bench)
    told = [event.as_json() for event in flow.stream("work") if isinstance(event, Event)]
    assert json.loads(json.dumps(told)) == told
    assert [each["event"] for each in told[:3]] == ["run_started", "step_started", "step_finished"]
    assert told[-2]["question"]["message"] == "Go on?"
    assert (told[-1]["event"], told[-1]["status"]) == ("run_finished", "waiting")


@pytest.mark.parametrize("raised", [ValueError, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_a_listener_raises_is_not_the_runs(bench: Any, raised: type[BaseException]) -> None:
    flow = ready(bench)

    def broken(_: Event) -> None:
        raise raised

    assert flow.run("work", listener=broken).status == "waiting"
    assert bench.calls == ["1", "2", "3"]


def test_what_a_listener_does_to_an_event_changes_nothing(bench: Any) -> None:
    flow = ready(bench)

    def vandal(event: Event) -> None:
        if isinstance(event, StepFinished) and isinstance(event.envelope.output, dict):
            event.envelope.output["item"] = object()
        if isinstance(event, GuardrailRan):
            event.record.evidence["seen"] = object()

    result = flow.run("work", listener=vandal)
    assert result.status == "waiting"
    assert [r["output"] for r in result.steps["each"]["results"]] == [{"item": 1}, None, {"item": 3}]
    assert [record.evidence for record in result.verdicts] == [{"seen": 1}, {"seen": 2}, {"seen": 3}]


def test_a_cancelled_run_tells_its_end_too(bench: Any) -> None:
    flow = ready(bench)
    seen: list[Event] = []
    handle = flow.start("work", listener=lambda event: (seen.append(event), stop(event))[0])

    def stop(event: Event) -> None:
        if isinstance(event, Progress):
            handle.cancel()

    with pytest.raises(Exception, match="cancelled"):
        handle.result(60)
    assert isinstance(seen[-1], RunFinished)
    assert (seen[-1].status, "cancelled" in str(seen[-1].error)) == ("cancelled", True)
