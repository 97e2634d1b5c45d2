"""Assertions over a run: they hold where they should, and where they fail they show what was there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentflow.core.amounts import Amounts
from agentflow.testing import (
    Bench,
    assert_blocked,
    assert_booked_once,
    assert_guard_ran,
    assert_span_order,
    assert_spent,
    assert_spent_at_most,
    assert_status,
    envelopes,
    spans,
)

TOOLS = """
@tool(estimate=lambda text: Amounts(tokens=10))
def say(text: str, *, call: Call) -> str:
    call.meter.charge(Amounts(tokens=3))
    return text
"""
GUARDRAILS = """
@guardrail(hooks=["tool_args", "tool_result"])
def look(subject: Subject) -> Verdict:
    return Verdict.deny("it says no") if "no" in str(subject.value) else Verdict.allow()
"""


@pytest.fixture
def talk(bench: Bench) -> Bench:
    bench.write(
        '- {id: one, use: t.say, with: {text: "hi"}}\n- {id: two, use: t.say, with: {text: "${{ inputs.text }}"}}',
        head="inputs: {text: {type: string, default: yes}}\nguardrails:\n  - {use: g.look, at: tool_args}\n",
        tools=TOOLS,
        guardrails=GUARDRAILS,
    )
    return bench


def failure(check: Callable[..., Any], *given: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check(*given, **options)
    return str(caught.value)


def test_statuses_are_told_all_at_once(talk: Bench) -> None:
    result = talk.run(text="no")
    assert_status(result, "refused", one="ok", two="refused")
    said = failure(assert_status, result, "succeeded", one="ok", two="ok", three="ok")
    assert said == (
        "the run should be succeeded; step 'two' should be ok; step 'three' should be ok\n"
        "the run: refused (guardrail 'g.look' at tool_args blocked: it says no)\n  one: ok\n  two: refused"
    )


def test_verdicts_are_found_by_guardrail_hook_step_and_verdict(talk: Bench) -> None:
    result = talk.run(text="no")
    assert assert_blocked(result, "g.look", at="tool_args", step="two").reason == "it says no"
    assert [r.step for r in assert_guard_ran(result, "g.look")] == ["one", "two"]
    assert [r.step for r in assert_guard_ran(result, "g.look", verdict="deny")] == ["two"]
    found = (
        "what guardrails found:\n  g.look at tool_args of one: allow → allow\n"
        "  g.look at tool_args of two: deny → block (it says no)"
    )
    assert failure(assert_blocked, result, "g.look", step="one") == (
        f"nothing was blocked by 'g.look', step 'one'\n{found}"
    )
    assert failure(assert_guard_ran, result, "g.look", at="tool_result") == (
        f"no guardrail ran as 'g.look', at 'tool_result'\n{found}"
    )
    assert failure(assert_blocked, result, "g.other", at="output").splitlines()[0] == (
        "nothing was blocked by 'g.other', at 'output'"
    )


def test_a_guardrail_that_could_not_judge_did_not_run(bench: Bench) -> None:
    bench.write(
        '- {id: one, use: t.say, with: {text: "hi"}}',
        head="guardrails:\n  - {use: g.broken, at: tool_args, on_error: open, reason: a test}\n",
        tools=TOOLS,
        guardrails="""
        @guardrail(hooks=["tool_args"])
        def broken(subject: Subject) -> Verdict:
            raise ValueError("no idea")
        """,
    )
    result = bench.run()
    assert_status(result, "succeeded")
    assert "no guardrail ran as 'g.broken'" in failure(assert_guard_ran, result, "g.broken")


def test_the_bill_is_shown_where_it_is_not_what_it_should_be(talk: Bench) -> None:
    result = talk.run()
    assert_spent(result, tokens=6, micro_usd=0)
    assert_spent_at_most(result, tokens=6)
    assert_booked_once(result)
    said = failure(assert_spent_at_most, result, tokens=5)
    assert said.startswith("the run should have spent tokens at most 5\nit spent {'tokens': 6,")
    assert "\n  one: tokens 3" in said
    assert failure(assert_spent, result, tokens=5, frames=0).startswith(
        "the run should have spent tokens exactly 5\n"
    )
    with pytest.raises(TypeError, match="'token' is no dimension of a budget: tokens, micro_usd"):
        assert_spent(result, token=1)


def test_a_cost_that_is_booked_twice_or_still_held_is_noticed(talk: Bench) -> None:
    result = talk.run()
    ledger, scope = talk.flow.workshop.ledger, f"run:{result.run_id}"
    hold = ledger.reserve(scope, Amounts(tokens=4), "again")
    result.usage = ledger.usage(scope)
    assert failure(assert_booked_once, result).startswith(
        "nothing should be held any more\nheld: {'tokens': 4,"
    )
    ledger.settle(hold, Amounts(tokens=3))  # as if a call had been booked a second time
    result.usage = ledger.usage(scope)
    said = failure(assert_booked_once, result)
    assert said.startswith("what is booked should be the sum of the calls, each once\nbooked: {'tokens': 9,")
    assert "the sum: {'tokens': 6," in said


def test_what_a_crash_left_held_is_part_of_the_bill(talk: Bench) -> None:
    from agentflow.budget.ledger import Ledger

    result = talk.run()
    ledger, scope = talk.flow.workshop.ledger, f"run:{result.run_id}"
    Ledger(talk.flow.workshop.store).reserve(scope, Amounts(tokens=10), "of a process that died")
    ledger.recover(scope)
    result.usage = ledger.usage(scope)
    assert_spent(result, tokens=16)
    assert_booked_once(result)


def test_spans_are_found_by_name_and_held_against_each_other(talk: Bench) -> None:
    result = talk.run()
    assert spans(result)[0].name == "invoke_workflow work"
    assert len(spans(result, "execute_tool t.say")) == 2
    assert_span_order(result, "run_guardrail g.look", before="execute_tool t.say")
    assert_span_order(result, "step one", before="step two")
    said = failure(assert_span_order, result, "step two", before="step one")
    assert said.startswith(
        "'step two' should end before 'step one' begins\nthe run's spans, as they begin:\n"
    )
    said = failure(assert_span_order, result, "step one", before="step three")
    assert said.startswith("there is no span 'step three'\nthe run's spans:\n  invoke_workflow work\n")


def test_envelopes_go_by_path_and_pass(bench: Bench) -> None:
    bench.write(
        """
        - {id: draw, use: t.draw}
        - id: judge
          evaluate: {over: "[steps.draw.output]", scorers: {size: s.size}, gate: best.size > 1.0,
            on_gate_fail: {goto: draw, max_loops: 3}}
        """,
        tools="""
        @tool(estimate=fine)
        def draw() -> dict[str, int]:
            note("draw")
            return {"n": len(LOG.read_text().split())}
        """,
        evals="""
        @scorer(lower_is_better=False)
        def size(subject: Subject) -> Score:
            return Score(value=float(subject.value["n"]))
        """,
    )
    found = envelopes(bench.run())
    assert {path: found[path].output for path in ("draw", "draw@1")} == {"draw": {"n": 1}, "draw@1": {"n": 2}}
