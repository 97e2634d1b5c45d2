"""One step's way through the envelope: the order, the outcomes, and what is kept of each."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agentflow.tracing.read import read_trace

ECHO = """
@tool(estimate=lambda text: Amounts(tokens=5))
def say(text: str, *, call: Call) -> dict[str, Any]:
    note("say:" + text)
    call.meter.charge(Amounts(tokens=3))
    return {"text": text}
"""
LOOK = """
@guardrail(hooks=["input", "tool_args", "tool_result", "output"])
def look(subject: Subject, no: str = "") -> Verdict:
    if no and no in str(subject.value):
        return Verdict.deny(f"it says {no}")
    return Verdict.allow()


@guardrail(hooks=["tool_args", "tool_result"])
def upper(subject: Subject, on: str = "text") -> Verdict:
    value = subject.value
    if value[on] == value[on].upper():
        return Verdict.allow()
    return Verdict.modify({**value, on: value[on].upper()}, "louder")
"""


def steps_of(flow: Any, run_id: str) -> dict[str, Any]:
    return {record.path: record for record in flow.workshop.store.steps(run_id)}


def test_everything_around_a_call_stands_in_the_trace_in_its_order(run: Any, bench: Any) -> None:
    result = run(
        '- {id: one, use: t.say, with: {text: "hi"}}',
        head="guardrails:\n  - {use: g.look, at: [input, tool_args, tool_result, output]}\n",
        tools=ECHO,
        guardrails=LOOK,
    )
    assert result.status == "succeeded"
    trace = read_trace(result.trace_path)
    (root,) = trace.roots
    assert root.name == "invoke_workflow work"
    assert [child.name for child in root.children] == ["step input", "step one", "step output"]
    step = root.children[1]
    assert [child.name for child in step.children] == [
        "run_guardrail g.look",
        "budget.reserve",
        "execute_tool t.say",
        "budget.settle",
        "run_guardrail g.look",
    ]
    hooks = [child.attributes.get("agentflow.guardrail.hook") for child in step.children]
    assert hooks == ["tool_args", None, None, None, "tool_result"]
    starts = [child.start_ns for child in step.children]
    assert starts == sorted(starts)
    assert step.attributes["agentflow.step.status"] == "ok"
    assert step.attributes["agentflow.usage.tokens"] == 3


def test_what_a_guardrail_changed_and_checked_again_is_what_the_tool_receives(run: Any, bench: Any) -> None:
    result = run(
        '- {id: one, use: t.say, with: {text: "hi"}}',
        head="guardrails:\n  - {use: g.upper, at: [tool_args, tool_result], on_fail: rewrite}\n",
        tools=ECHO,
        guardrails=LOOK,
    )
    from agentflow.execution import values

    assert bench.calls == ["say:HI"]
    assert result.steps["one"]["output"] == {"text": "HI"}
    before = [v for v in result.verdicts if v.hook == "tool_args"]
    assert [(v.verdict, v.action) for v in before] == [("modify", "rewrite"), ("allow", "allow")]
    assert before[-1].subject_digest == values.digest({"text": "HI"})


def test_a_guardrail_cannot_change_what_it_looks_at_in_passing(run: Any, bench: Any) -> None:
    run(
        '- {id: one, use: t.say, with: {text: "hi"}}',
        head="guardrails:\n  - {use: g.sneak, at: tool_args}\n",
        tools=ECHO,
        guardrails="""
        @guardrail(hooks=["tool_args"])
        def sneak(subject: Subject) -> Verdict:
            subject.value["text"] = "changed"
            return Verdict.allow()
        """,
    )
    assert bench.calls == ["say:hi"]


def test_a_refusal_before_the_call_costs_nothing_and_ends_the_run_as_refused(run: Any, bench: Any) -> None:
    result = run(
        '- {id: one, use: t.say, with: {text: "bad"}}\n- {id: two, use: t.say, with: {text: "after"}}',
        head="guardrails:\n  - {use: g.look, at: tool_args, with: {no: bad}}\n",
        tools=ECHO,
        guardrails=LOOK,
    )
    assert result.status == "refused"
    assert str(result.error) == "guardrail 'g.look' at tool_args blocked: it says bad"
    assert (result.error.kind, result.error.exit_code) == ("GuardrailBlocked", 5)
    assert bench.calls == []
    assert result.usage.spent.tokens == 0
    record = bench.opened[0].get(result.run_id)
    assert (record.status, record.error_kind) == ("refused", "GuardrailBlocked")
    assert record.ended is not None


def test_a_refusal_after_the_call_keeps_the_bill_and_gives_the_output_to_nobody(run: Any, bench: Any) -> None:
    result = run(
        '- {id: one, use: t.say, with: {text: "bad"}}',
        head="guardrails:\n  - {use: g.look, at: tool_result, with: {no: bad}}\n",
        tools=ECHO,
        guardrails=LOOK,
    )
    assert result.status == "refused"
    assert result.usage.spent.tokens == 3
    step = steps_of(bench.opened[0], result.run_id)["one"].envelope
    assert (step.status, step.output, step.usage.tokens) == ("refused", None, 3)


def test_the_hooks_of_a_runs_ends_guard_inputs_and_outputs(run: Any, bench: Any) -> None:
    parts = {
        "head": """
            inputs: {text: {type: string}}
            guardrails:
              - {use: g.look, at: [input, output], with: {no: bad}}
            outputs: {said: "${{ steps.one.output.text }}"}
        """,
        "tools": ECHO,
        "guardrails": LOOK,
    }
    steps = '- {id: one, use: t.say, with: {text: "${{ inputs.text }}"}}'
    refused = run(steps, inputs={"text": "bad"}, **parts)
    assert (refused.status, bench.calls) == ("refused", [])
    passed = bench.opened[0].run("work", text="good")
    assert (passed.status, passed.outputs) == ("succeeded", {"said": "good"})


def test_a_step_whose_condition_is_false_is_skipped_and_recorded(run: Any, bench: Any) -> None:
    result = run(
        '- {id: one, if: "1 > 2", use: t.say, with: {text: "hi"}}\n'
        '- {id: two, if: steps.one.skipped, use: t.say, with: {text: "yes"}}',
        tools=ECHO,
    )
    assert bench.calls == ["say:yes"]
    assert result.steps["one"]["skipped"] is True
    assert steps_of(bench.opened[0], result.run_id)["one"].envelope.status == "skipped"


FLAKY = """
@tool(estimate=fine)
def flaky(kind: str = "OSError") -> dict[str, Any]:
    note("try")
    if len(LOG.read_text().split()) < 3:
        raise {"OSError": OSError, "ValueError": ValueError}[kind]("not yet")
    return {"done": True}
"""


def test_what_may_pass_is_tried_again_and_the_attempts_are_counted(run: Any, bench: Any) -> None:
    result = run("- {id: one, use: t.flaky, retry: {attempts: 3, backoff: 0}}", tools=FLAKY)
    assert result.status == "succeeded", result.error
    assert bench.calls == ["try"] * 3
    assert steps_of(bench.opened[0], result.run_id)["one"].envelope.attempts == 3


def test_what_will_not_pass_is_not_tried_again(run: Any, bench: Any) -> None:
    result = run(
        "- {id: one, use: t.flaky, with: {kind: ValueError}, retry: {attempts: 3, backoff: 0}}", tools=FLAKY
    )
    assert (result.status, bench.calls) == ("failed", ["try"])
    assert str(result.error) == "step 'one' failed: ValueError: not yet"
    record = steps_of(bench.opened[0], result.run_id)["one"].envelope
    assert (record.status, record.error_kind, record.error) == ("failed", "StepFailed", str(result.error))


def test_a_timeout_ends_the_attempt_and_books_its_whole_hold(run: Any, bench: Any) -> None:
    result = run(
        "- {id: one, use: t.slow, timeout: 0.05, retry: {attempts: 2, backoff: 0}}",
        tools="""
        @tool(estimate=lambda: Amounts(tokens=10))
        async def slow() -> dict[str, Any]:
            note("slow")
            await asyncio.Event().wait()
        """,
    )
    assert (result.status, bench.calls) == ("failed", ["slow", "slow"])
    assert str(result.error) == (
        "step 'one' did not end within 0.05 s. Raise its `timeout`, or ask for less."
    )
    assert (result.usage.spent.tokens, result.usage.held.tokens) == (20, 0)


def test_a_timeout_of_the_tools_own_is_told_as_the_tools_own(run: Any) -> None:
    result = run(
        "- {id: one, use: t.own}",
        tools="""
        @tool(estimate=fine)
        def own() -> dict[str, Any]:
            raise TimeoutError("the camera said nothing")
        """,
    )
    assert str(result.error) == "step 'one' failed: TimeoutError: the camera said nothing"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("float('nan')", "the output of one.a[1]: found nan; allowed: a finite number."),
        ("float('-inf')", "the output of one.a[1]: found -inf; allowed: a finite number."),
        ("object()", "the output of one.a[1]: found a object; allowed: JSON"),
        ("b'12'", "the output of one.a[1]: found a bytes; allowed: JSON"),
        ("'x' * 1_100_000", "the output of one: found 11000"),
    ],
)
def test_an_output_that_state_cannot_hold_is_refused_by_its_place_and_its_cost_is_booked(
    run: Any, value: str, message: str
) -> None:
    result = run(
        "- {id: one, use: t.make}",
        tools=f"""
        @tool(estimate=lambda: Amounts(tokens=7))
        def make(*, call: Call) -> Any:
            call.meter.charge(Amounts(tokens=7))
            return {{"a": [1, {value}]}}
        """,
    )
    assert result.status == "failed"
    assert str(result.error).startswith(message)
    assert (result.usage.spent.tokens, result.usage.held.tokens) == (7, 0)


@pytest.mark.parametrize(("text", "named"), [("nan", "nan"), (math.inf, "inf")])
def test_an_input_that_is_no_number_is_refused_before_anything_begins(
    run: Any, bench: Any, text: Any, named: str
) -> None:
    from agentflow.core.errors import InvalidInputError

    bench.write(
        '- {id: one, use: t.say, with: {text: "x"}}', head="inputs: {scene: {type: object}}\n", tools=ECHO
    )
    flow = bench.open()
    with pytest.raises(InvalidInputError, match=f"input 'scene': found {named}"):
        flow.run("work", scene={"bodies": {"x": float(text)}})
    assert flow.runs() == []


def test_a_tool_is_told_exactly_which_input_does_not_fit(run: Any) -> None:
    result = run(
        '- {id: one, use: t.add, with: {a: "${{ inputs.a }}"}}',
        inputs={"a": {"b": "x"}},
        head="inputs: {a: {type: object}}\n",
        tools="""
        @tool(estimate=fine)
        def add(a: dict[str, int]) -> dict[str, Any]:
            return {}
        """,
    )
    assert result.status == "failed"
    assert str(result.error).startswith("t.add.a.b: found 'x'; allowed: Input should be a valid integer")


def test_a_secret_stands_in_no_span_and_no_record(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    bench.write(
        '- {id: one, use: t.login, with: {key: "${{ secrets.DOOR }}"}}',
        tools="""
        @tool(estimate=fine)
        def login(key: str) -> dict[str, Any]:
            note(key)
            return {"in": True}
        """,
    )
    flow = bench.open(secrets={"DOOR": "open-sesame-17"})
    result = flow.run("work")
    assert result.status == "succeeded"
    assert bench.calls == ["open-sesame-17"]
    assert "[secret]" in result.trace_path.read_text()
    flow.close()
    for path in (bench.root / ".agentflow").rglob("*"):
        if path.is_file():
            assert b"open-sesame-17" not in path.read_bytes(), path


def test_a_listener_that_raises_does_not_fail_the_run(bench: Any) -> None:
    bench.write('- {id: one, use: t.say, with: {text: "hi"}}', tools=ECHO)

    def broken(event: Any) -> None:
        raise RuntimeError(event.kind)

    assert bench.open().run("work", listener=broken).status == "succeeded"


def test_an_expression_that_reads_nothing_fails_its_step_and_not_the_program(run: Any, bench: Any) -> None:
    result = run(
        '- {id: one, use: t.say, with: {text: "hi"}}\n'
        '- {id: two, use: t.say, with: {text: "${{ steps.one.output.nothing }}"}}\n',
        tools=ECHO,
    )
    assert result.status == "failed"
    assert "nothing" in str(result.error)
    assert bench.opened[0].get(result.run_id).status == "failed"
