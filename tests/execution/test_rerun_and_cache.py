"""Results that stand are taken again: those of an earlier run before a step, and those of a cached step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, UnknownNameError

WORK = """
@tool(estimate=lambda name: Amounts(tokens=5))
async def pay(name: str, *, call: Call) -> dict[str, Any]:
    note(f"pay:{name}")
    call.meter.charge(Amounts(tokens=5))
    return {"name": name, "file": call.artifacts.put(name.encode(), "text/plain", "name.txt")}
"""
STEPS = """
- {id: one, use: t.pay, with: {name: a}}
- id: each
  foreach: {in: "['b', 'c']", as: n}
  use: t.pay
  with: {name: "${{ n }}"}
- {id: two, use: t.pay, with: {name: "${{ steps.each.results[1].output.name + steps.one.output.name }}"}}
"""
HEAD = 'outputs: {name: "${{ steps.two.output.name }}"}\n'


def test_a_rerun_takes_over_what_stood_before_its_step_and_pays_for_the_rest(bench: Any) -> None:
    bench.write(STEPS, tools=WORK, head=HEAD)
    flow = bench.open()
    first = flow.run("work")
    assert first.outputs == {"name": "ca"}, first.error
    plan = flow.plan_rerun(first.run_id, "two")
    assert (plan.reused, plan.again["two"].tokens) == (("one", "each"), 5)
    assert plan.cost.model_copy(update={"wall_ms": 0}) == Amounts(tokens=5)
    second = flow.rerun(first.run_id, "two")
    assert (second.status, second.outputs) == ("succeeded", {"name": "ca"}), second.error
    assert second.run_id != first.run_id
    assert bench.calls == ["pay:a", "pay:b", "pay:c", "pay:ca", "pay:ca"]
    assert second.usage.spent.tokens == 5
    assert [r["output"]["name"] for r in second.steps["each"]["results"]] == ["b", "c"]
    assert flow.get(second.run_id).reused_from == f"{first.run_id}#two"


def test_a_rerun_may_follow_a_change_behind_its_step_but_not_before_it(bench: Any) -> None:
    bench.write(STEPS, tools=WORK, head=HEAD)
    first = bench.open().run("work")
    bench.write(STEPS.replace(" + steps.one.output.name", " + '!'"), tools=WORK, head=HEAD)
    flow = bench.open()
    assert flow.rerun(first.run_id, "two").outputs == {"name": "c!"}
    bench.write(STEPS.replace("name: a}", "name: z}"), tools=WORK, head=HEAD)
    with pytest.raises(InvalidInputError, match="step 'one', which has changed since"):
        bench.open().plan_rerun(first.run_id, "two")
    with pytest.raises(UnknownNameError, match="unknown step 'tow'\\. Did you mean 'two'"):
        flow.plan_rerun(first.run_id, "tow")


def test_where_nothing_tells_what_a_changed_workflow_was_no_step_of_it_is_reused(bench: Any) -> None:
    bench.write(STEPS, tools=WORK, head=HEAD)
    first = bench.open().run("work")
    (first.folder / "workflow.json").unlink()
    assert bench.flow.plan_rerun(first.run_id, "two").reused == ("one", "each")
    bench.write(STEPS.replace("name: a}", "name: z}"), tools=WORK, head=HEAD)
    with pytest.raises(
        InvalidInputError, match=r"no workflow\.json in .*the folder of the machine that began"
    ):
        bench.open().plan_rerun(first.run_id, "two")


def test_a_step_that_did_not_end_well_cannot_be_reused(bench: Any) -> None:
    bench.write(STEPS, tools=WORK, head="budget: {tokens: 12}\n")
    flow = bench.open()
    first = flow.run("work")
    assert first.status == "exhausted"
    with pytest.raises(InvalidInputError, match="step 'each' cannot be reused: it ended as 'exhausted'"):
        flow.plan_rerun(first.run_id, "two")


CACHED = '- {id: one, use: t.pay, with: {name: "${{ inputs.name }}"}, cache: true}\n'
NAME = "inputs: {name: {type: string}}\n"


def test_a_cached_step_takes_the_result_of_an_earlier_run_for_nothing(bench: Any) -> None:
    bench.write(CACHED, tools=WORK, head=NAME)
    flow = bench.open()
    results = [flow.run("work", name=name) for name in ("a", "a", "b")]
    assert bench.calls == ["pay:a", "pay:b"]
    assert [result.usage.spent.tokens for result in results] == [5, 0, 5]
    assert results[1].steps["one"]["output"] == results[0].steps["one"]["output"]
    assert [artifact.name for artifact in flow.workshop.store.artifacts(results[1].run_id)] == ["name.txt"]


def test_another_seed_or_other_code_is_another_call(bench: Any) -> None:
    bench.write(CACHED, tools=WORK, head=NAME)
    flow = bench.open()
    flow.run("work", name="a")
    flow.run("work", name="a", seed=1)
    assert bench.calls == ["pay:a", "pay:a"]
    bench.write(CACHED, tools=WORK.replace('name, "file"', 'name + name, "file"'), head=NAME)
    assert bench.open().run("work", name="a").steps["one"]["output"]["name"] == "aa"


def test_a_cached_result_is_guarded_like_a_fresh_one(bench: Any) -> None:
    guards = """
    from pathlib import Path

    @guardrail(hooks=["tool_result"])
    def strict(subject: Subject) -> Verdict:
        if (Path(__file__).parent.parent / "strict").exists():
            return Verdict.deny("not any more")
        return Verdict.allow()
    """
    bench.write(
        CACHED,
        tools=WORK,
        head=NAME + "guardrails:\n  - {use: g.strict, at: tool_result}\n",
        guardrails=guards,
    )
    flow = bench.open()
    assert flow.run("work", name="a").status == "succeeded"
    (Path(bench.root) / "strict").touch()
    assert flow.run("work", name="a").status == "refused"
    assert bench.calls == ["pay:a"]
