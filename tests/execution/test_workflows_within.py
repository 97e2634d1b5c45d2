"""Workflows within workflows: flattened into one graph, or repeated, retried and cached as one call."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

TOOLS = """
@tool(estimate=lambda n: Amounts(tokens=2))
async def double(n: int, *, call: Call) -> dict[str, Any]:
    note(f"double:{n}")
    call.meter.charge(Amounts(tokens=2))
    if n < 0:
        raise ValueError(f"{n} is negative")
    return {"n": 2 * n}


@tool(estimate=fine)
async def once_broken(n: int) -> dict[str, Any]:
    note(f"broken:{n}")
    if LOG.read_text().count("broken") < 2:
        raise OSError("not yet")
    return {"n": n}
"""
INNER = """
  twice:
    inputs: {n: {type: integer, maximum: 1000}}
    steps:
      - {id: one, use: t.double, with: {n: "${{ inputs.n }}"}}
      - {id: two, if: inputs.n != 3, use: t.double, with: {n: "${{ steps.one.output.n }}"}}
    outputs: {n: "${{ steps.two.skipped ? steps.one.output.n : steps.two.output.n }}"}
  broken:
    inputs: {n: {type: integer}}
    steps:
      - {id: first, use: t.double, with: {n: "${{ inputs.n }}"}}
      - {id: second, use: t.once_broken, with: {n: "${{ steps.first.output.n }}"}}
    outputs: {n: "${{ steps.second.output.n }}"}
"""


@pytest.fixture
def two(bench: Any) -> Any:
    """Write the workflow ``work`` with steps, beside the workflows ``twice`` and ``broken``."""

    def write(steps: str, head: str = "", **parts: str) -> Any:
        bench.write(steps, head=head, tools=TOOLS + dedent(parts.pop("tools", "")), **parts)
        file = Path(bench.root) / "workflows.yaml"
        file.write_text(file.read_text() + INNER)
        return bench.open()

    return write


def test_a_workflow_within_is_part_of_the_same_graph_and_its_outputs_are_its_steps_output(two: Any) -> None:
    flow = two(
        '- {id: a, workflow: twice, with: {n: 5}}\n- {id: b, use: t.double, with: {n: "${{ steps.a.output.n }}"}}\n',
        head='outputs: {n: "${{ steps.b.output.n }}"}\n',
    )
    result = flow.run("work")
    assert (result.status, result.outputs) == ("succeeded", {"n": 40}), result.error
    places = [record.path for record in flow.workshop.store.steps(result.run_id)]
    assert places == ["input", "a/input", "a/one", "a/two", "a", "b", "output"]
    assert result.usage.spent.tokens == 6


def test_a_workflow_within_reads_its_own_inputs_and_steps_and_nothing_of_its_caller(two: Any) -> None:
    flow = two("- {id: one, use: t.double, with: {n: 50}}\n- {id: a, workflow: twice, with: {n: 3}}\n")
    result = flow.run("work")
    assert result.steps["a"]["output"] == {"n": 6}
    assert [r.path for r in flow.workshop.store.steps(result.run_id) if r.envelope.status == "skipped"] == [
        "a/two"
    ]


def test_a_failure_within_ends_the_run_and_names_the_step_by_its_whole_path(two: Any) -> None:
    result = two("- {id: a, workflow: twice, with: {n: -1}}\n- {id: b, use: t.double, with: {n: 1}}\n").run(
        "work"
    )
    assert (result.status, str(result.error)) == ("failed", "step 'a/one' failed: ValueError: -1 is negative")


def test_inputs_that_do_not_fit_end_the_step(two: Any) -> None:
    result = two(
        '- {id: a, workflow: twice, with: {n: "${{ inputs.n }}"}}\n', head="inputs: {n: {type: integer}}\n"
    ).run("work", n=5000)
    assert result.status == "failed"
    assert str(result.error).startswith("input 'n': found 5000")


def test_a_workflow_within_is_skipped_like_any_step(two: Any, bench: Any) -> None:
    result = two("- {id: a, if: 1 > 2, workflow: twice, with: {n: 1}}\n").run("work")
    assert (result.status, result.steps["a"]["skipped"], bench.calls) == ("succeeded", True, [])


def test_items_run_a_workflow_each_and_one_that_fails_leaves_the_others_alone(two: Any) -> None:
    flow = two(
        "- id: each\n  foreach: {in: '[1, -2, 3]', as: n, max_parallel: 3, on_error: collect}\n"
        '  workflow: twice\n  with: {n: "${{ n }}"}\n'
    )
    result = flow.run("work")
    assert result.status == "succeeded", result.error
    results = result.steps["each"]["results"]
    assert [r["output"] for r in results] == [{"n": 4}, None, {"n": 6}]
    assert results[1]["error"] == "step 'each[1]/one' failed: ValueError: -2 is negative"


def test_a_retried_workflow_does_not_pay_again_for_what_went_well(two: Any, bench: Any) -> None:
    result = two("- {id: a, workflow: broken, with: {n: 1}, retry: {attempts: 3, backoff: 0s}}\n").run("work")
    assert (result.status, result.steps["a"]["output"]) == ("succeeded", {"n": 2}), result.error
    assert bench.calls == ["double:1", "broken:2", "broken:2"]


def test_the_callers_guardrails_look_within_as_well(two: Any) -> None:
    result = two(
        "- {id: a, workflow: twice, with: {n: 4}}\n",
        head="guardrails:\n  - {use: g.no_eights, at: tool_args}\n",
        guardrails="""
        @guardrail(hooks=["tool_args"])
        def no_eights(subject: Subject) -> Verdict:
            return Verdict.deny("an eight") if subject.value.get("n") == 8 else Verdict.allow()
        """,
    ).run("work")
    assert (result.status, result.error.kind) == ("refused", "GuardrailBlocked")
    assert [(v.step, v.verdict) for v in result.verdicts] == [("a/one", "allow"), ("a/two", "deny")]


def test_a_workflow_within_has_its_own_budget_below_its_callers(two: Any, bench: Any) -> None:
    two("- {id: a, workflow: twice, with: {n: 4}}\n")
    file = Path(bench.root) / "workflows.yaml"
    file.write_text(file.read_text().replace("  twice:\n", "  twice:\n    budget: {tokens: 3}\n"))
    result = bench.open().run("work")
    assert (result.status, result.error.kind) == ("exhausted", "BudgetExceeded")
    assert (bench.calls, result.usage.spent.tokens) == (["double:4"], 2)
