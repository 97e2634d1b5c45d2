"""Budgets at work: what is refused, what is given up, what calls side by side share."""

from __future__ import annotations

from typing import Any

from agentflow.testing import envelopes

BUY = """
@tool(
    estimate=lambda n: Amounts(tokens=10 * n),
    ladder=[("4 → 2", lambda i: {**i, "n": min(i["n"], 2)}), ("2 → 1", lambda i: {**i, "n": 1})],
)
def buy(n: int, *, call: Call) -> dict[str, Any]:
    note(f"buy:{n}")
    call.meter.charge(Amounts(tokens=10 * n))
    return {"n": n}
"""


def head(tokens: int, mode: str) -> str:
    return f"budget: {{tokens: {tokens}, on_exhausted: {mode}}}\n"


def test_without_room_a_run_that_stops_calls_nothing_and_says_what_to_raise(run: Any, bench: Any) -> None:
    result = run("- {id: one, use: t.buy, with: {n: 4}}", head=head(25, "stop"), tools=BUY)
    assert (result.status, bench.calls, result.error.exit_code) == ("exhausted", [], 4)
    assert str(result.error) == (
        f"budget of run:{result.run_id}: tokens would pass its cap: asked for 40, left 25 of 25. "
        "Raise `budget.tokens` in the workflow, or ask for less."
    )
    assert (result.usage.spent.tokens, result.usage.held.tokens) == (0, 0)


def test_without_room_a_run_that_degrades_gives_up_rungs_and_says_which(run: Any, bench: Any) -> None:
    result = run(
        "- {id: one, use: t.buy, with: {n: 4}}\n- {id: two, use: t.buy, with: {n: 4}}",
        head=head(25, "degrade"),
        tools=BUY,
    )
    assert result.status == "exhausted"  # 5 are left, and the last rung needs 10
    assert bench.calls == ["buy:2"]
    assert result.steps["one"]["status"] == "degraded"
    found = envelopes(result)
    assert found["one"].rungs == ["4 → 2"]
    assert (found["two"].status, found["two"].rungs) == ("exhausted", ["4 → 2", "2 → 1"])


def test_a_degraded_step_leaves_a_usable_run_that_says_so(run: Any) -> None:
    result = run(
        "- {id: one, use: t.buy, with: {n: 4}}",
        head=head(10, "degrade") + 'outputs: {n: "${{ steps.one.output.n }}"}\n',
        tools=BUY,
    )
    assert (result.status, result.outputs) == ("degraded", {"n": 1})


def test_what_a_rung_makes_of_the_inputs_is_guarded_before_it_runs(run: Any, bench: Any) -> None:
    result = run(
        "- {id: one, use: t.buy, with: {n: 4}}",
        head=head(25, "degrade") + "guardrails:\n  - {use: g.even, at: tool_args}\n",
        tools=BUY,
        guardrails="""
        @guardrail(hooks=["tool_args"])
        def even(subject: Subject) -> Verdict:
            n = subject.value["n"]
            return Verdict.allow(str(n)) if n > 2 else Verdict.deny(f"{n} is too few")
        """,
    )
    assert (result.status, bench.calls) == ("refused", [])
    assert [v.reason for v in result.verdicts] == ["4", "2 is too few"]


def test_a_call_is_stopped_at_its_hold(run: Any) -> None:
    result = run(
        "- {id: one, use: t.greedy}",
        head=head(100, "stop"),
        tools="""
        @tool(estimate=lambda: Amounts(tokens=10))
        def greedy(*, call: Call) -> dict[str, Any]:
            for _ in range(5):
                call.meter.require(Amounts(tokens=4))
                call.meter.charge(Amounts(tokens=4))
            return {}
        """,
    )
    assert result.status == "exhausted"
    assert result.usage.spent.tokens == 8


def test_a_call_that_passes_its_hold_and_every_cap_ends_the_run(run: Any) -> None:
    result = run(
        "- {id: one, use: t.over}",
        head=head(10, "stop"),
        tools="""
        @tool(estimate=lambda: Amounts(tokens=10))
        def over(*, call: Call) -> dict[str, Any]:
            call.meter.charge(Amounts(tokens=15))
            return {}
        """,
    )
    assert result.status == "exhausted"
    assert "tokens would pass its cap: asked for 15, left 10 of 10" in str(result.error)
    assert result.usage.spent.tokens == 10


def test_a_tool_whose_estimate_is_no_amounts_is_not_called(run: Any, bench: Any) -> None:
    result = run(
        "- {id: one, use: t.odd}",
        tools="""
        @tool(estimate=lambda: 7)
        def odd() -> dict[str, Any]:
            note("odd")
            return {}
        """,
    )
    assert (result.status, bench.calls) == ("failed", [])
    assert str(result.error) == "estimate of t.odd: found int; allowed: Amounts."


def test_wall_clock_ends_a_step_that_would_pass_the_runs_time(run: Any) -> None:
    result = run(
        "- {id: one, use: t.wait}",
        head="budget: {wall_clock: 0.1}\n",
        tools="""
        @tool(estimate=fine)
        async def wait() -> dict[str, Any]:
            await asyncio.Event().wait()
        """,
    )
    assert result.status == "exhausted"
    assert "wall_ms would pass its cap" in str(result.error)
    assert result.usage.held.wall_ms == 0


ITEMS = """
- id: each
  foreach: {in: "[1, 2, 3, 4]", as: n, max_parallel: 4, on_error: collect}
  use: t.share
  with: {n: "${{ n }}"}
  budget: {tokens: 35}
"""
SHARE = """
@tool(estimate=lambda n: Amounts(tokens=20))
async def share(n: int, *, call: Call) -> dict[str, Any]:
    note(f"share:{n}")
    await asyncio.sleep(0)
    call.meter.charge(Amounts(tokens=5))
    return {"n": n}
"""


def test_items_side_by_side_wait_for_what_their_siblings_give_back(run: Any) -> None:
    # Each holds 20 tokens and uses 5: not two of them fit at once, and all four one after the other.
    result = run(ITEMS, tools=SHARE)
    assert result.status == "succeeded", result.error
    assert [item["ok"] for item in result.steps["each"]["results"]] == [True] * 4
    assert result.usage.spent.tokens == 20


def test_items_share_the_budget_of_their_step(run: Any) -> None:
    result = run(ITEMS.replace("tokens: 35", "tokens: 34"), tools=SHARE)
    results = result.steps["each"]["results"]
    assert [item["ok"] for item in results] == [True, True, True, False]
    assert results[3]["status"] == "exhausted"
    assert "budget of" in results[3]["error"]
    assert result.status == "succeeded"
    assert result.usage.spent.tokens == 15


def test_a_negative_budget_is_a_mistake_of_the_file(bench: Any) -> None:
    import pytest

    from agentflow.core.errors import WorkflowFileError

    bench.write("- {id: one, use: t.buy, with: {n: 1}}", head="budget: {tokens: -5}\n", tools=BUY)
    with pytest.raises(WorkflowFileError, match=r"workflows.yaml:4:22: .*-5"):
        bench.open()


def test_a_step_may_give_up_what_its_run_would_not_and_the_other_way_round(run: Any, bench: Any) -> None:
    step = "- {id: one, use: t.buy, with: {n: 4}, budget: {tokens: 25, on_exhausted: %s}}"
    degrading = run(step % "degrade", head=head(100, "stop"), tools=BUY)
    assert (degrading.status, bench.calls) == ("degraded", ["buy:2"])
    stopping = run(step % "stop", head=head(100, "degrade"), tools=BUY)
    assert (stopping.status, bench.calls) == ("exhausted", ["buy:2"])
