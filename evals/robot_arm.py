"""The robot arm's scorers: how near a plan comes to its goal, and how likely it touches what it must not."""

from typing import Any

from agentflow import Score, Subject, scorer
from agentflow.worldmodel.worlds.tabletop import scene
from agentflow.worldmodel.worlds.tabletop.task import PushTask


def _task(goal: dict[str, Any]) -> PushTask:
    avoid = tuple(scene.NAMES.index(name) for name in goal["avoid"])
    return PushTask(scene.NAMES.index(goal["body"]), tuple(goal["place"]), avoid)


@scorer(lower_is_better=True, unit="m")
def goal_distance(subject: Subject, goal: dict[str, Any]) -> Score:
    """How far the body lies from its place at the end, with the radius that holds the truth with 90 %."""
    rollout = subject.value["rollout"]
    task = _task(goal)
    left = float(task.distance(rollout.states[0, -1]))
    if rollout.radius90 is None:
        return Score(value=left)
    radius = float(rollout.radius90[0, -1, 1 + task.body])
    return Score(value=left, low=max(0.0, left - radius), high=left + radius)


@scorer(lower_is_better=True)
def collision_risk(subject: Subject, goal: dict[str, Any]) -> Score:
    """How likely anything touches what the goal avoids, from the calibrated radius; the worst step counts."""
    return Score(value=float(_task(goal).risk(subject.value["rollout"])[0]))
