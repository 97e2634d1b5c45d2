"""A run's spans as they stand in its trace file: named, nested, in both dialects, without content."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentflow.core.amounts import Amounts
from agentflow.core.errors import BudgetExceededError, GuardrailBlockedError, StepFailedError
from agentflow.core.protocols import Completion, Message
from agentflow.core.records import (
    Artifact,
    Envelope,
    GuardAction,
    GuardRecord,
    RunStatus,
    Score,
    ScoreRecord,
    StepStatus,
    VerdictType,
)
from agentflow.tracing.content import CAPTURE_VARIABLE
from agentflow.tracing.read import SpanNode, Trace, read_trace
from agentflow.tracing.tracer import RunTracer, start_tracing

DENIED = GuardRecord(
    guardrail="keep_out",
    hook="action",
    step="simulate",
    verdict=VerdictType.DENY,
    action=GuardAction.BLOCK,
    reason="too near the glass",
    subject_digest="d1",
)
ANSWER = Completion(
    text='{"dx": 1}',
    data={"dx": 1},
    usage=Amounts(tokens=15, micro_usd=30),
    input_tokens=12,
    output_tokens=3,
    model="planner-2026",
    finish_reason="stop",
)
GOAL = ScoreRecord(scorer="goal", step="simulate", score=Score(value=0.5, low=0.25, high=0.75, n=4), unit="m")


@pytest.fixture
def tracer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunTracer]:
    monkeypatch.delenv(CAPTURE_VARIABLE, raising=False)
    opened = start_tracing("run-1", tmp_path)
    yield opened
    opened.close()


def read(tracer: RunTracer) -> Trace:
    trace = read_trace(tracer.path)
    assert trace.unreadable_lines == 0
    return trace


def only(tracer: RunTracer) -> SpanNode:
    (span,) = read(tracer).walk()
    return span


def tree(span: SpanNode) -> tuple[str, list[object]]:
    return (span.name, [tree(child) for child in span.children])


def a_whole_run(tracer: RunTracer) -> None:
    with tracer.run("plan_push", digest="w1", inputs={"goal": "push"}) as root:
        with tracer.step("plan", kind="agent") as step, tracer.plan("planner"):
            with tracer.chat(
                "planner", provider="openai", messages=[Message(role="user", content="push")]
            ) as chat:
                chat.completion(ANSWER)
            step.envelope(Envelope(status=StepStatus.OK))
        with tracer.step("simulate", kind="use", inputs={"actions": [1]}) as step:
            with tracer.guardrail("keep_out", hook="action") as guard:
                guard.verdict(DENIED)
            with tracer.reserve("run-1") as budget:
                budget.reserved(Amounts(gpu_ms=50))
            with tracer.tool("robot_arm.what_if", arguments={"actions": [1]}, call_id="c1") as call:
                call.output({"distance_m": 0.5})
            with tracer.settle("run-1") as budget:
                budget.settled(Amounts(gpu_ms=40), Amounts())
            with tracer.evaluate("goal") as measured:
                measured.score(GOAL, label="pass")
            step.envelope(
                Envelope(status=StepStatus.OK, output={"distance_m": 0.5}, usage=Amounts(gpu_ms=40))
            )
        with tracer.approval_request("a1", message="Render this plan?") as request:
            asked = (request.trace_id, request.span_id)
        with tracer.approval_resolve("a1", decision="approved", actor="ada", request=asked):
            pass
        root.run_ended(RunStatus.SUCCEEDED, Amounts(gpu_ms=40, tokens=15, micro_usd=30))


def test_a_run_is_one_tree_of_named_spans(tracer: RunTracer) -> None:
    a_whole_run(tracer)
    (root,) = read(tracer).roots
    assert tree(root) == (
        "invoke_workflow plan_push",
        [
            ("step plan", [("plan planner", [("chat planner", [])])]),
            (
                "step simulate",
                [
                    ("run_guardrail keep_out", []),
                    ("budget.reserve", []),
                    ("execute_tool robot_arm.what_if", []),
                    ("budget.settle", []),
                    ("evaluate goal", []),
                ],
            ),
            ("approval.request", []),
            ("approval.resolve", []),
        ],
    )
    assert all(span.trace_id == root.trace_id and span.start_ns <= span.end_ns for span in root.walk())


def test_every_span_has_a_kind_in_openinference_and_says_its_run_and_step(tracer: RunTracer) -> None:
    a_whole_run(tracer)
    spans = list(read(tracer).walk())
    kinds = [(span.name.split()[0], span.attributes["openinference.span.kind"]) for span in spans]
    assert kinds == [
        ("invoke_workflow", "CHAIN"),
        ("step", "AGENT"),
        ("plan", "AGENT"),
        ("chat", "LLM"),
        ("step", "CHAIN"),
        ("run_guardrail", "GUARDRAIL"),
        ("budget.reserve", "CHAIN"),
        ("execute_tool", "TOOL"),
        ("budget.settle", "CHAIN"),
        ("evaluate", "EVALUATOR"),
        ("approval.request", "CHAIN"),
        ("approval.resolve", "CHAIN"),
    ]
    for span in spans:
        said = {
            span.attributes[name] for name in ("session.id", "gen_ai.conversation.id", "agentflow.run.id")
        }
        assert said == {"run-1"}
    steps = [span.attributes.get("agentflow.step.id") for span in spans]
    assert steps == [None, *["plan"] * 3, *["simulate"] * 6, None, None]


def test_the_run_span_speaks_both_dialects_and_sums_up(tracer: RunTracer) -> None:
    a_whole_run(tracer)
    (root,) = read(tracer).roots
    assert root.attributes == {
        "agentflow.run.id": "run-1",
        "session.id": "run-1",
        "gen_ai.conversation.id": "run-1",
        "openinference.span.kind": "CHAIN",
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "plan_push",
        "agentflow.workflow.digest": "w1",
        "agentflow.run.status": "succeeded",
        "agentflow.usage.tokens": 15,
        "agentflow.usage.micro_usd": 30,
        "agentflow.usage.gpu_ms": 40,
        "agentflow.cost.usd": 3e-05,
    }


def test_a_chat_counts_its_tokens_in_both_dialects(tracer: RunTracer) -> None:
    a_whole_run(tracer)
    (chat,) = read(tracer).named("chat planner")
    counted = {name: value for name, value in chat.attributes.items() if "token" in name or "model" in name}
    assert chat.kind == "CLIENT"
    assert counted == {
        "gen_ai.request.model": "planner",
        "gen_ai.response.model": "planner-2026",
        "llm.model_name": "planner",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
        "llm.token_count.prompt": 12,
        "llm.token_count.completion": 3,
        "llm.token_count.total": 15,
        "agentflow.usage.tokens": 15,
    }
    assert chat.attributes["llm.cost.total"] == chat.attributes["agentflow.cost.usd"] == 3e-05


def test_a_denial_is_said_apart_from_what_was_done_and_is_no_error(tracer: RunTracer) -> None:
    a_whole_run(tracer)
    (guard,) = read(tracer).named("run_guardrail keep_out")
    assert guard.status == "UNSET"
    said = {name: value for name, value in guard.attributes.items() if "guardrail" in name}
    assert said == {
        "gen_ai.guardrail.component.name": "keep_out",
        "gen_ai.guardrail.target.type": "input",
        "gen_ai.guardrail.target.subtype": "action",
        "gen_ai.guardrail.verdict.type": "deny",
        "gen_ai.guardrail.verdict.reason": "too near the glass",
        "gen_ai.guardrail.action.type": "block",
        "agentflow.guardrail.name": "keep_out",
        "agentflow.guardrail.hook": "action",
        "agentflow.guardrail.verdict": "deny",
        "agentflow.guardrail.action": "block",
        "agentflow.guardrail.status": "ran",
        "agentflow.guardrail.reason": "too near the glass",
        "agentflow.guardrail.subject_digest": "d1",
    }


def test_a_check_that_broke_is_an_error(tracer: RunTracer) -> None:
    with tracer.guardrail("keep_out", hook="frames") as guard:
        guard.verdict(DENIED.model_copy(update={"status": "timeout"}))
    span = only(tracer)
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "timeout")
    assert span.attributes["gen_ai.guardrail.target.type"] == "output"


def test_a_score_is_an_event_of_what_was_evaluated(tracer: RunTracer) -> None:
    a_whole_run(tracer)
    trace = read(tracer)
    (measured,) = trace.named("evaluate goal")
    (step,) = trace.named("step simulate")
    (event,) = step.events
    assert measured.links == [{"trace_id": step.trace_id, "span_id": step.span_id}]
    assert event["name"] == "gen_ai.evaluation.result"
    assert event["attributes"] == {
        "agentflow.run.id": "run-1",
        "session.id": "run-1",
        "gen_ai.conversation.id": "run-1",
        "gen_ai.evaluation.name": "goal",
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.score.label": "pass",
        "agentflow.evaluation.unit": "m",
        "agentflow.evaluation.ci_low": 0.25,
        "agentflow.evaluation.ci_high": 0.75,
        "agentflow.evaluation.n": 4,
    }


def test_what_could_not_be_scored_says_so(tracer: RunTracer) -> None:
    with tracer.step("simulate", kind="use"), tracer.evaluate("goal") as measured:
        measured.score(ScoreRecord(scorer="goal", step="simulate", score=Score.unscored("no such block")))
    (step,) = read(tracer).roots
    said = step.events[0]["attributes"]
    assert "gen_ai.evaluation.score.value" not in said
    assert said["gen_ai.evaluation.score.label"] == "unscored"
    assert said["gen_ai.evaluation.explanation"] == "no such block"


def test_a_refused_reservation_is_denied_and_no_error(tracer: RunTracer) -> None:
    def refuse() -> None:
        with tracer.step("simulate", kind="use"), tracer.reserve("run-1"):
            raise BudgetExceededError("run-1", "tokens", 30, 20, 100)

    with pytest.raises(BudgetExceededError):
        refuse()
    step, reserve = read(tracer).walk()
    assert (step.status, reserve.status) == ("UNSET", "UNSET")
    assert reserve.attributes["agentflow.budget.decision"] == "denied"
    assert step.attributes["agentflow.refusal"] == "BudgetExceeded"
    assert "agentflow.budget.decision" not in step.attributes


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (StepFailedError("simulate", ValueError("bad")), "ERROR", "StepFailed"),
        (ValueError("bad"), "ERROR", "ValueError"),
        (KeyboardInterrupt(), "ERROR", "KeyboardInterrupt"),
        (GuardrailBlockedError("keep_out", "action", "too near"), "UNSET", None),
    ],
)
def test_an_exception_that_leaves_a_span_is_its_error_unless_it_is_a_refusal(
    tracer: RunTracer, error: BaseException, status: str, kind: str | None
) -> None:
    def fail() -> None:
        with tracer.step("simulate", kind="use"):
            raise error

    with pytest.raises(type(error)):
        fail()
    span = only(tracer)
    assert (span.status, span.attributes.get("error.type")) == (status, kind)
    assert span.status_message == (str(error) if kind else "")


def test_an_envelope_says_how_a_step_ended(tracer: RunTracer) -> None:
    video = Artifact(digest="a" * 64, media_type="video/mp4", bytes=7, name="plan.mp4")
    with tracer.step("render", kind="use", attempt=2, iteration="3") as step:
        step.envelope(
            Envelope(
                status=StepStatus.FAILED,
                error="the disk is full",
                error_kind="Storage",
                attempts=2,
                usage=Amounts(frames=30),
                artifacts=[video],
                rungs=["smaller frames"],
            )
        )
    span = only(tracer)
    assert (span.status, span.status_message) == ("ERROR", "the disk is full")
    assert span.attributes == {
        "agentflow.run.id": "run-1",
        "session.id": "run-1",
        "gen_ai.conversation.id": "run-1",
        "openinference.span.kind": "CHAIN",
        "agentflow.step.id": "render",
        "agentflow.step.type": "use",
        "agentflow.step.iteration": "3",
        "agentflow.attempt": 2,
        "agentflow.attempts": 2,
        "graph.node.id": "render",
        "agentflow.step.status": "failed",
        "error.type": "Storage",
        "agentflow.degraded.rungs": ["smaller frames"],
        "agentflow.usage.frames": 30,
        "agentflow.artifact.uris": [video.uri],
        "agentflow.artifact.media_types": ["video/mp4"],
        "agentflow.artifact.bytes": 7,
    }


def test_spans_nest_by_task_when_steps_run_at_the_same_time(tracer: RunTracer) -> None:
    async def step(number: int, everyone: asyncio.Barrier) -> None:
        with tracer.step(f"s{number}", kind="use"):
            await everyone.wait()  # every step is open now
            with tracer.guardrail(f"g{number}", hook="action"):
                await everyone.wait()
                with tracer.tool(f"t{number}"):
                    await everyone.wait()
            await asyncio.to_thread(in_a_thread, number)

    def in_a_thread(number: int) -> None:
        with tracer.settle(f"b{number}"):
            pass

    async def run() -> None:
        everyone = asyncio.Barrier(5)
        with tracer.run("w"):
            await asyncio.gather(*(step(number, everyone) for number in range(5)))

    asyncio.run(run())
    (root,) = read(tracer).roots
    steps = sorted(root.children, key=lambda one: one.name)
    assert [tree(one) for one in steps] == [
        (
            f"step s{number}",
            [(f"run_guardrail g{number}", [(f"execute_tool t{number}", [])]), ("budget.settle", [])],
        )
        for number in range(5)
    ]
    assert max(one.start_ns for one in steps) < min(one.end_ns for one in steps)
    for number, one in enumerate(steps):
        assert {span.attributes["agentflow.step.id"] for span in one.walk()} == {f"s{number}"}


def test_content_stays_out_unless_it_is_asked_for(tracer: RunTracer) -> None:
    a_whole_run(tracer)
    attributes = {name for span in read(tracer).walk() for name in span.attributes}
    assert not attributes & {
        "input.value",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
    }
    assert "push" not in tracer.path.read_text().replace("plan_push", "")


def test_content_that_is_asked_for_stands_in_both_dialects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CAPTURE_VARIABLE, "SPAN_ONLY")
    tracer = start_tracing("run-1", tmp_path)
    a_whole_run(tracer)
    tracer.close()
    trace = read(tracer)
    (chat,) = trace.named("chat planner")
    (call,) = trace.named("execute_tool robot_arm.what_if")
    assert trace.roots[0].attributes["input.value"] == '{"goal": "push"}'
    assert trace.roots[0].attributes["input.mime_type"] == "application/json"
    assert chat.attributes["input.value"] == '[{"role": "user", "content": "push"}]'
    assert chat.attributes["gen_ai.input.messages"] == (
        '[{"role": "user", "parts": [{"type": "text", "content": "push"}]}]'
    )
    assert chat.attributes["output.value"] == '{"dx": 1}'
    assert "assistant" in chat.attributes["gen_ai.output.messages"]
    assert (
        call.attributes["input.value"] == call.attributes["gen_ai.tool.call.arguments"] == '{"actions": [1]}'
    )
    assert (
        call.attributes["output.value"] == call.attributes["gen_ai.tool.call.result"] == '{"distance_m": 0.5}'
    )
