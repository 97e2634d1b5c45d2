"""The planner's rounds over the learned world: guardrails inside, loops, budgets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentflow import Amounts
from agentflow.sdk import Agentflow
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
from agentflow import Subject, Verdict, guardrail

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
from agentflow import Score, Subject, scorer

@scorer(lower_is_better=True)
def goal(subject: Subject) -> Score:
    return Score(value=subject.value["scores"]["goal"])
"""


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    opened: list[Agentflow] = []

    def once(**options: Any) -> Any:
        parts = {"budget": "{}", "guardrails": "[]", "candidates": 16, "rounds": 1, "rest": "", **options}
        (tmp_path / "workflows.yaml").write_text(FILE.format(scene=json.dumps(SCENE), **parts))
        for folder, text in (("guardrails", GUARDRAILS), ("evals", EVALS)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "p.py").write_text(text)
        flow = Agentflow.open(tmp_path)
        opened.append(flow)
        return flow.run("work")

    yield once
    for flow in opened:
        flow.close()


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
    assert (result.status, result.usage.spent.gpu_ms) == ("refused", 0)
    assert "guardrail 'p.rule' at plan blocked: never" in str(result.error)


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
    flow_root = result.folder.parents[1]
    from agentflow.store.store import Store

    store = Store.open(flow_root)
    plans = [s.envelope.output for s in store.steps(result.run_id) if s.path == "plan"]
    predictions = [s for s in store.steps(result.run_id) if s.path == "plan/predict[1]"]
    store.close()
    assert len(plans) == 3
    assert len({json.dumps(p["candidates"][0]["actions"]) for p in plans}) == 3
    assert len({p.input_digest for p in predictions}) == 3


def test_a_tight_budget_gives_up_candidates_and_the_run_says_so(plan: Any) -> None:
    roomy = plan(candidates=512, budget="{gpu_seconds: 600}")
    assert roomy.status == "succeeded", roomy.error
    # An estimate is a multiple of a timed step, so only its order is known: allow far less than any of 4096 candidates.
    tight = plan(candidates=4096, budget="{gpu_seconds: 0.7, on_exhausted: degrade}")
    assert tight.status in ("degraded", "exhausted")
    from agentflow.store.store import Store

    store = Store.open(tight.folder.parents[1])
    (predicted,) = [s.envelope for s in store.steps(tight.run_id) if s.path == "plan/predict[1]"]
    store.close()
    assert predicted.rungs[0] == "4096 → 2048 candidates"
    if tight.status == "degraded":
        assert tight.steps["plan"]["output"]["tried"] < 4096
        assert tight.steps["plan"]["status"] == "degraded"


class DearWorld(TabletopWorld):
    """The learned world at a price that only the first round can pay."""

    def estimate(self, sequences: int, horizon_steps: int) -> Amounts:
        return Amounts(gpu_ms=59_000)


def test_a_round_that_the_budget_has_no_room_for_is_left_out_and_the_plan_so_far_stands(
    tmp_path: Path,
) -> None:
    budget = "{gpu_seconds: 59, on_exhausted: degrade}"
    parts = {"budget": budget, "guardrails": "[]", "candidates": 2, "rounds": 3, "rest": ""}
    (tmp_path / "workflows.yaml").write_text(FILE.format(scene=json.dumps(SCENE), **parts))
    with Agentflow.open(tmp_path) as flow:
        flow.workshop.worlds["tabletop"] = DearWorld("cpu")
        result = flow.run("work")
        steps = {step.path: step.envelope for step in flow.workshop.store.steps(result.run_id)}
    assert result.status == "degraded", result.error
    assert result.steps["plan"]["output"]["candidates"]
    envelope = steps["plan"]
    assert envelope.rungs[-1] == "round 2: left out, the budget has no room for it"
