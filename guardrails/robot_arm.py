"""The robot arm's guardrails: places that neither the arm nor anything it pushes may come to."""

from typing import Any

import numpy as np

from agentflow import Rollout, Subject, Verdict, guardrail
from agentflow.worldmodel.worlds.tabletop import scene, task


@guardrail(hooks=["action", "predicted_state"])
def keep_out(subject: Subject, zone: str, margin_m: float = 0.005) -> Verdict:
    """Deny a tip path that sweeps through the zone, and a prediction in which anything comes too near it."""
    gap, what = gap_to(index_of(zone), subject.value)
    seen = {"gap_m": round(gap, 4), "margin_m": margin_m}
    if gap < margin_m:
        return Verdict.deny(f"{what} comes within {gap * 100:.1f} cm of the {zone}", **seen)
    return Verdict.allow(f"{what} stays {gap * 100:.1f} cm clear of the {zone}", **seen)


def gap_to(other: int, value: dict[str, Any]) -> tuple[float, str]:
    """Return the smallest gap (m) to a body, and of what.

    Before the prediction the commanded path is checked, between its points too; afterwards the edge of every body
    at every predicted step. How likely a touch is, given the uncertainty, is the scorer `collision_risk`'s business.
    """
    if (rollout := value.get("rollout")) is not None:
        return predicted_gap(rollout, other), "a body or the tip"
    state = scene.encode_scene(value["scene"])
    return swept_gap(state, np.asarray(value["actions"], float), other), "the commanded path"


def index_of(zone: str) -> int:
    """Return which body a zone is; one that is not there cannot be judged, and so blocks."""
    if zone not in scene.NAMES:
        raise ValueError(f"there is no zone '{zone}'; there are {', '.join(scene.NAMES)}")
    return scene.NAMES.index(zone)


def predicted_gap(rollout: Rollout, other: int) -> float:
    """Return the smallest gap (m) to the disc ``other`` over all predicted steps; none where it is pushed at all."""
    gap = float(task.clearance(rollout.states, other).min())
    at = scene.positions(rollout.states)[:, :, 1 + other]
    pushed = np.linalg.norm(at - at[:, :1], axis=-1).max() > 1e-3
    return min(gap, 0.0) if pushed else gap


def swept_gap(state: np.ndarray, actions: np.ndarray, other: int) -> float:
    """Return the gap (m) between the disc ``other`` and the tip's whole commanded path, segment by segment."""
    limit = scene.TIP_LIMIT
    path = np.clip(state[4:6] + np.concatenate([np.zeros((1, 2)), np.cumsum(actions, 0)]), -limit, limit)
    disc = scene.positions(state)[1 + other]
    start, along = path[:-1], np.diff(path, axis=0)
    share = ((disc - start) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-12)
    nearest = start + along * np.clip(share, 0, 1)[:, None]
    return float(np.linalg.norm(nearest - disc, axis=-1).min()) - scene.TIP_RADIUS - scene.BODIES[other].reach
