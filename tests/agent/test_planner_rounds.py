"""The planner's rounds over the learned world: guardrails inside, loops, budgets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentflow import Amounts
from agentflow.testing import Bench, assert_blocked, assert_spent, assert_status, envelopes
from agentflow.worldmodel.worlds.tabletop.world import TabletopWorld

SCENE = {
    "bodies": {
        "red block": {"x": 0.1, "y": 0.0},
        "blue block": {"x": -0.25, "y": 0.3},
        "green disc": {"x": 0.3, "y": 0.3},
        "glass": {"x": -0.3, "y": -0.3},
    },
    "tip": {"x": 0.35, "y": -0.05},
}
FILE = """
version: 1
models:
  planner: {{provider: embedded}}
worlds:
  tabletop: {{use: tabletop, device: cpu}}
workflows:
  work:
    budget: {budget}
    guardrails: {guardrails}
    steps:
      - id: plan
        agent: {{model: planner, prompt: "push the red block 20 cm to the left", candidates: {candidates}, horizon: 30,
          rounds: {rounds}, keep: 2}}
        with: {{scene: {scene}}}
{rest}
"""
GUARDRAILS = """
@guardrail(hooks=["plan", "action", "predicted_state"])
def rule(subject: Subject, do: str) -> Verdict:
    if do == "still":
        value = subject.value
        still = [[0.0, 0.0] for _ in value["actions"]]
        if value["actions"] == still:
            return Verdict.allow()
        return Verdict.modify({**value, "actions": still}, "too fast")
    if do == "elsewhere":
        goal = subject.value["goal"]
        if goal["place"] == [0.2, 0.1]:
            return Verdict.allow()
        return Verdict.modify({**subject.value, "goal": {**goal, "place": [0.2, 0.1]}}, "not there")
    if do == "refuse":
        return Verdict.deny("never")
    return Verdict.allow()
"""
EVALS = """
@scorer(lower_is_better=True)
def goal(subject: Subject) -> Score:
    return Score(value=subject.value["scores"]["goal"])
"""


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Write the project and run its workflow once; ``worlds`` stand in for the file's."""
    with Bench(tmp_path) as bench:

        def once(worlds: dict[str, Any] | None = None, **options: Any) -> Any:
            parts = {"budget": "{}", "guardrails": "[]", "candidates": 16, "rounds": 1, "rest": "", **options}
            text = FILE.format(scene=json.dumps(SCENE), **parts)
            bench.write_file(text, guardrails={"p": GUARDRAILS}, evals={"p": EVALS})
            return bench.open(worlds=worlds).run("work")

        yield once


def use(do: str, at: str, on_fail: str = "block") -> str:
    return f"[{{use: p.rule, at: {at}, with: {{do: {do}}}, on_fail: {on_fail}}}]"


def test_a_goal_that_a_guardrail_rewrote_is_the_goal_that_is_planned_for(plan: Any) -> None:
    result = plan(guardrails=use("elsewhere", "plan", "rewrite"))
    # the step's own result passes the same hook, where the rule finds what it wants
    assert result.status == "succeeded", result.error
    assert result.steps["plan"]["output"]["goal"]["place"] == [0.2, 0.1]


def test_actions_that_a_guardrail_would_change_are_no_prediction_of_what_would_run(plan: Any) -> None:
    result = plan(guardrails=use("still", "action", "rewrite"))
    assert result.status == "succeeded", result.error
    plan_ = result.steps["plan"]["output"]
    assert {c["source"] for c in plan_["candidates"]} == {"do nothing"}  # the one that needs no change
    assert {v for c in plan_["rejected"] for v in c["violations"]} == {
        "p.rule: it would have to be changed: too fast"
    }


def test_a_goal_that_a_guardrail_refuses_is_not_planned_for(plan: Any) -> None:
    result = plan(guardrails=use("refuse", "plan"))
    assert_status(result, "refused")
    assert_spent(result, gpu_ms=0)
    assert assert_blocked(result, "p.rule", at="plan").reason == "never"


def test_when_every_prediction_is_refused_the_run_is_and_says_of_how_many(plan: Any) -> None:
    result = plan(guardrails=use("refuse", "predicted_state"), rounds=2)
    assert result.status == "refused"
    assert str(result.error).endswith("none of 32 candidates passed in 2 rounds; the last one: never")
    (row,) = result.manifest["guardrails"]
    assert (row["effective"], set(row["verdicts"])) == (True, {"deny"})


def test_a_loop_searches_with_new_randomness(plan: Any) -> None:
    rest = """
      - id: best
        evaluate:
          over: steps.plan.output.candidates
          scorers: {goal: p.goal}
          select: {by: -goal}
          gate: best.goal < 0.0
          on_gate_fail: {goto: plan, max_loops: 2}
    """
    result = plan(rest=rest.rstrip())
    assert result.error.kind == "GateFailed"
    assert "of pass 3" in str(result.error)
    found = envelopes(result)
    plans = [found[path].output for path in ("plan", "plan@1", "plan@2")]
    assert len({json.dumps(p["candidates"][0]["actions"]) for p in plans}) == 3
    tried = [found[path].output["artifact"] for path in found if path.startswith("plan/predict[1]")]
    assert len(set(tried)) == 3


def test_a_tight_budget_gives_up_candidates_and_the_run_says_so(plan: Any) -> None:
    roomy = plan(candidates=512, budget="{gpu_seconds: 600}")
    assert roomy.status == "succeeded", roomy.error
    # An estimate is a multiple of a timed step, so only its order is known: allow far less than any of 4096 candidates.
    tight = plan(candidates=4096, budget="{gpu_seconds: 0.7, on_exhausted: degrade}")
    assert tight.status in ("degraded", "exhausted")
    assert envelopes(tight)["plan/predict[1]"].rungs[0] == "4096 → 2048 candidates"
    if tight.status == "degraded":
        assert tight.steps["plan"]["output"]["tried"] < 4096
        assert tight.steps["plan"]["status"] == "degraded"


class DearWorld(TabletopWorld):
    """The learned world at a price that only the first round can pay."""

    def estimate(self, sequences: int, horizon_steps: int) -> Amounts:
        return Amounts(gpu_ms=59_000)


def test_a_round_that_the_budget_has_no_room_for_is_left_out_and_the_plan_so_far_stands(plan: Any) -> None:
    budget = "{gpu_seconds: 59, on_exhausted: degrade}"
    result = plan({"tabletop": DearWorld("cpu")}, budget=budget, candidates=2, rounds=3)
    assert_status(result, "degraded", plan="degraded")
    assert result.steps["plan"]["output"]["candidates"]
    assert envelopes(result)["plan"].rungs[-1] == "round 2: left out, the budget has no room for it"
