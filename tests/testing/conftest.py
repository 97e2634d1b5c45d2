"""A workflow around a world, small enough to be read at once, that needs no learned world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentflow.testing import Bench

PUSH = """
version: 1
models:
  planner: {provider: embedded}
worlds:
  tabletop: {use: tabletop}
workflows:
  push:
    inputs:
      goal: {type: string, default: push the red block 10 cm to the left}
      scene: {type: object, default: {}}
    budget: {tokens: 20000, gpu_seconds: 60, frames: 100}
    guardrails:
      - {use: g.keep_away, at: [action, predicted_state]}
      - {use: trusted_horizon, at: predicted_state, on_fail: degrade}
    steps:
      - id: plan
        agent: {model: planner, prompt: "Goal: ${{ inputs.goal }}", candidates: 24, horizon: 24, rounds: 2, keep: 2}
        with: {scene: "${{ inputs.scene }}"}
      - id: simulate
        foreach: {in: steps.plan.output.candidates, as: candidate, max_parallel: 2, on_error: collect}
        use: t.what_if
        with: {scene: "${{ inputs.scene }}", actions: "${{ candidate.actions }}"}
      - id: choose
        evaluate:
          over: steps.simulate.results
          scorers: {goal: {use: s.distance, with: {goal: "${{ steps.plan.output.goal }}"}}}
          select: {by: -goal}
      - id: ask
        approval: {message: "Film it?", show: [steps.choose.output.best.goal]}
      - id: film
        use: t.film
        with: {rollout: "${{ steps.choose.output.best.rollout }}"}
    outputs: {distance_m: "${{ steps.choose.output.best.goal }}", film: "${{ steps.film.output.film }}"}
"""
TOOLS = """
import numpy as np


@tool(estimate=lambda actions: Amounts(gpu_ms=50), hooks=("action", "predicted_state"))
def what_if(scene: dict[str, Any], actions: list[list[float]], *, world: WorldModel) -> dict[str, Any]:
    note("what_if")
    return {"rollout": world.predict(world.encode(scene), np.array([actions], np.float32))}


@tool(estimate=lambda rollout: Amounts(frames=rollout.horizon + 1, gpu_ms=100))
def film(rollout: Rollout, *, world: WorldModel, call: Call) -> dict[str, Any]:
    note("film")
    data = b"".join(frame.tobytes() for frame in world.render(rollout.states[0], size=24))
    return {"film": call.artifacts.put(data, "application/octet-stream", "film.raw"), "bytes": len(data)}
"""
GUARDRAILS = """
@guardrail(hooks=["action", "predicted_state"])
def keep_away(subject: Subject) -> Verdict:
    if subject.hook == "predicted_state" and "rollout" in subject.value:
        return Verdict.allow("seen", steps=subject.value["rollout"].horizon)
    return Verdict.allow()
"""
EVALS = """
@scorer(lower_is_better=True, unit="m")
def distance(subject: Subject, goal: dict) -> Score:
    rollout = subject.value["rollout"]
    at = 2 * rollout.entities.index(goal["body"])
    x, y = rollout.states[0, -1, at : at + 2]
    return Score(value=float(((x - goal["place"][0]) ** 2 + (y - goal["place"][1]) ** 2) ** 0.5))
"""


@pytest.fixture
def bench(tmp_path: Path, project_database: None) -> Iterator[Bench]:
    with Bench(tmp_path / "project") as made:
        yield made


@pytest.fixture
def pushing(bench: Bench) -> Bench:
    """The project with the workflow ``push``."""
    bench.write_file(PUSH, tools=TOOLS, guardrails=GUARDRAILS, evals=EVALS)
    return bench
