"""How plans are measured."""

from typing import Any

import numpy as np

from agentflow import Score, Subject, scorer
from agentflow.worldmodel.worlds.tabletop import scene


@scorer(lower_is_better=True, unit="m")
def far(subject: Subject, goal: dict[str, Any]) -> Score:
    """How far the body lies from its place at the end."""
    rollout = subject.value["rollout"]
    body = 1 + scene.NAMES.index(goal["body"])
    return Score(value=float(np.linalg.norm(scene.positions(rollout.states)[0, -1, body] - goal["place"])))
