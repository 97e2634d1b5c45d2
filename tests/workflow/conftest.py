"""The workflow of DESIGN.md, and a small project with the components that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

DESIGN = """\
# yaml-language-server: $schema=./schemas/workflows.schema.json
version: 1
models:
  planner: {provider: embedded}
worlds:
  tabletop: {use: tabletop, device: auto}
workflows:
  plan_push:
    description: Push a block to a target. Nothing touches hardware.
    inputs:
      goal:       {type: string, max_length: 500}
      scene:      {type: object, default: {seed: 0}}
      candidates: {type: integer, default: 64, minimum: 1, maximum: 4096}
    budget: {tokens: 60000, usd: 0.50, gpu_seconds: 120, frames: 2000, wall_clock: 15m, on_exhausted: degrade}
    guardrails:
      - {use: robot_arm.prompt_injection, at: input, on_fail: block}
      - {use: robot_arm.keep_out, at: [action, predicted_state], with: {zone: glass}, on_fail: block}
      - {use: robot_arm.trusted_horizon, at: predicted_state, on_fail: degrade}
    steps:
      - id: plan
        agent: {model: planner, prompt: "Reach the goal: ${{ inputs.goal }}", output: Plan}
      - id: simulate
        foreach: {in: steps.plan.output.candidates, as: candidate, max_parallel: 4, on_error: collect}
        use: robot_arm.what_if
        with: {scene: "${{ inputs.scene }}", actions: "${{ candidate.actions }}"}
        budget: {gpu_seconds: 8}
      - id: choose
        evaluate:
          over: steps.simulate.results
          scorers: {goal: robot_arm.goal_distance, risk: robot_arm.collision_risk}
          select: {by: "-goal - 2.0 * risk", top: 1}
          gate: "best.risk < 0.05"
          on_gate_fail: {goto: plan, max_loops: 2}
      - id: approve
        if: steps.choose.output.best.goal > 0.02
        approval: {message: "Render this plan?", show: [steps.choose.output.best], timeout: 24h, on_timeout: reject}
      - id: render
        use: robot_arm.render
        with: {rollout: "${{ steps.choose.output.best.rollout }}"}
    outputs:
      video: ${{ steps.render.output.video }}
      cost:  ${{ run.spent }}
"""

TOOLS = '''\
from typing import Any

from agentflow.core.amounts import Amounts
from agentflow.core.protocols import Call
from agentflow.core.registry import tool


@tool(estimate=lambda scene, actions: Amounts(gpu_ms=2 * len(actions)))
async def what_if(scene: dict[str, Any], actions: list[list[float]], *, world: Any) -> dict[str, Any]:
    """Predict."""
    return {"states": actions}


@tool(estimate=lambda rollout, fps=10: Amounts(frames=30))
async def render(rollout: dict[str, Any], fps: int = 10, *, call: Call) -> dict[str, Any]:
    """Render."""
    return {"video": "artifact:0"}
'''

GUARDRAILS = '''\
from agentflow.core.records import Subject, Verdict
from agentflow.core.registry import guardrail


@guardrail(hooks=["input", "output"])
def prompt_injection(subject: Subject) -> Verdict:
    """Look for orders in text."""
    return Verdict.allow()


@guardrail(hooks=["action", "predicted_state"])
def keep_out(subject: Subject, zone: str, margin_m: float = 0.02) -> Verdict:
    """Keep away from a zone."""
    return Verdict.allow()


@guardrail(hooks=["predicted_state"])
def trusted_horizon(subject: Subject) -> Verdict:
    """Stay within trust."""
    return Verdict.allow()
'''

SCORERS = '''\
from agentflow.core.records import Score, Subject
from agentflow.core.registry import scorer


@scorer(lower_is_better=True, unit="m")
def goal_distance(subject: Subject, goal: dict[str, float]) -> Score:
    """Distance to the goal."""
    return Score(value=0.0)


@scorer(lower_is_better=True)
def collision_risk(subject: Subject) -> Score:
    """Risk."""
    return Score(value=0.0)
'''


def _write_project(root: Path, text: str) -> Path:
    for folder, source in (("tools", TOOLS), ("guardrails", GUARDRAILS), ("evals", SCORERS)):
        (root / folder).mkdir(parents=True)
        (root / folder / "robot_arm.py").write_text(source)
    file = root / "workflows.yaml"
    file.write_text(text)
    return file


@pytest.fixture
def design_text() -> str:
    return DESIGN


@pytest.fixture
def design_file(tmp_path: Path) -> Path:
    """The workflow file of a whole project in a folder of its own."""
    return _write_project(tmp_path / "project", DESIGN)
