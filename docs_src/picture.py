"""Draw the README's picture from a run of the demo: ``python docs_src/picture.py``."""

from __future__ import annotations

from pathlib import Path

from agentflow import Agentflow, Rollout
from agentflow.worldmodel.video import write_png
from agentflow.worldmodel.worlds.tabletop import draw

ROOT = Path(__file__).parent.parent
GOAL = "push the red block 20 cm to the left, keep away from the glass"

with Agentflow.open(ROOT / "workflows.yaml") as flow:
    result = flow.run("plan_push", goal=GOAL)
    best = result.steps["choose"]["output"]["best"]
    goal = result.steps["plan"]["output"]["goal"]
    rollout = Rollout.from_bytes(flow.workshop.artifacts.path(best["rollout"]["artifact"]).read_bytes())

if rollout.radius90 is None or rollout.trusted_steps is None:
    raise SystemExit("the rollout has no calibrated uncertainty to draw")
sheet = draw.contact_sheet(
    rollout.states[0],
    times=4,
    radius90=rollout.radius90[0],
    trusted_steps=int(rollout.trusted_steps[0]),
    goal=goal["place"],
    goal_body=goal["body"],
    size=(360, 360),
)
write_png(sheet, ROOT / "docs/images/prediction.png")
