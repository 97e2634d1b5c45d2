"""What "reach the goal" means on the tabletop: places, clearances to the glass, risk, and what to try."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentflow.worldmodel.contract import Floats, Rollout
from agentflow.worldmodel.worlds.tabletop import pushing, scene

RADIUS_TO_SIGMA = 1 / math.sqrt(2 * math.log(10))
"""Turns the radius that holds 90 % of a round Gaussian into its σ."""
_COMFORT = 0.012


@dataclass(frozen=True)
class PushTask:
    """Bring ``body``'s centre to ``place`` (m) without touching what is in ``avoid``."""

    body: int
    place: tuple[float, float]
    avoid: tuple[int, ...] = (scene.GLASS,)

    def propose(self, state: Floats, count: int, horizon_steps: int, rng: np.random.Generator) -> Floats:
        """Return actions ``[count, H, 2]``: "do nothing" first, then pushes, straight and by way of a detour."""
        rows = np.repeat(state[None], count, 0)
        bodies = np.full(count, self.body, np.int64)
        places = np.repeat(np.array(self.place, np.float32)[None], count, 0)
        centre = scene.positions(state)[1 + self.body]
        detour = rng.random(count) < (0.6 if self.blocked(state) else 0.15)
        halfway = (centre + places) / 2 + rng.normal(0, 0.12, (count, 2))
        places = np.where(detour[:, None], halfway, places).astype(np.float32)
        actions = pushing.push_paths(rows, bodies, places, horizon_steps, rng)
        actions[0] = 0.0
        return actions

    def blocked(self, state: Floats) -> bool:
        """Whether a thing to avoid stands near the straight line from the body to its place."""
        at = scene.positions(state)
        start, end = at[1 + self.body], np.array(self.place)
        return any(
            _segment_distance(at[1 + other], start, end)
            < scene.BODIES[self.body].reach + scene.BODIES[other].reach + 0.02
            for other in self.avoid
        )

    def distance(self, states: Floats) -> Floats:
        """Return how far ``states[..., 34]`` are from the goal (m): from the body's centre to its place."""
        away: Floats = np.linalg.norm(
            scene.positions(states)[..., 1 + self.body, :] - np.array(self.place, np.float32), axis=-1
        )
        return away

    def remaining(self, states: Floats) -> Floats:
        """Return the way that is left (m), led round the things to avoid that stand in it."""
        left = self.distance(states)
        at = scene.positions(states)
        start = at[..., 1 + self.body, :]
        end = np.array(self.place, np.float32)
        for other in self.avoid:
            round_it = scene.BODIES[self.body].reach + scene.BODIES[other].reach + 0.01
            near = _segment_distance(at[..., 1 + other, :], start, end)
            left = left + 0.8 * np.clip(round_it - near, 0.0, None) * (left > 0.02)
        return left

    def risk(self, rollout: Rollout) -> Floats:
        """Return ``[B]``: the probability that something to avoid is touched, by the calibrated radius.

        At each step the clearance of tip and bodies is held against σ of both; the worst step counts. Without
        a radius (a simulator) it is 0 or 1.
        """
        worst = np.zeros(rollout.states.shape[0], np.float32)
        for other in self.avoid:
            gaps = clearance(rollout.states, other)
            if rollout.radius90 is None:
                chance = (gaps < 0).astype(np.float32)
            else:
                own = rollout.radius90[..., 1 + other : 2 + other]
                others = np.delete(rollout.radius90, 1 + other, axis=-1)
                sigma = RADIUS_TO_SIGMA * np.sqrt(np.square(others) + np.square(own))
                chance = _normal_tail(gaps / np.maximum(sigma, 1e-4))
            worst = np.maximum(worst, chance[:, 1:].max((1, 2)))
            index = 1 + other
            shift = scene.positions(rollout.states)[..., index, :]
            pushed = np.linalg.norm(shift - shift[:, :1], axis=-1).max(-1) > 1e-3
            worst = np.maximum(worst, pushed.astype(np.float32))
        return worst

    def objective(self, rollout: Rollout, state: Floats) -> dict[str, Floats]:
        """Return what a search weighs, each ``[B]``: goal (m), risk, uncertainty (m), effort (m), approach (m)."""
        end = rollout.states[:, -1]
        radius = (
            np.zeros(len(end), np.float32)
            if rollout.radius90 is None
            else rollout.radius90[:, -1, 1 + self.body]
        )
        crowding = np.zeros(len(end), np.float32)
        for other in self.avoid:
            gaps = clearance(rollout.states, other).min((1, 2))
            crowding = np.maximum(crowding, np.clip(_COMFORT - gaps, 0.0, 0.05))
        behind = self._approach(end)
        return {
            "goal": self.remaining(end),
            "risk": self.risk(rollout),
            "uncertainty": radius,
            "effort": np.linalg.norm(rollout.actions, axis=-1).sum(-1),
            "crowding": crowding,
            "approach": behind,
        }

    def _approach(self, states: Floats) -> Floats:
        """Return how far the tip is from where it could push on; nothing once the body is at its place."""
        at = scene.positions(states)
        centre, tip = at[..., 1 + self.body, :], at[..., 0, :]
        way = np.array(self.place, np.float32) - centre
        length = np.linalg.norm(way, axis=-1, keepdims=True)
        stand = centre - way / np.maximum(length, 1e-6) * (scene.BODIES[self.body].reach + scene.TIP_RADIUS)
        off = np.linalg.norm(tip - stand, axis=-1)
        scaled: Floats = off * np.clip(length[..., 0] / 0.05, 0.0, 1.0)
        return scaled

    def cost(self, terms: dict[str, Floats]) -> Floats:
        """Return the one number ``[B]`` that a search lowers: metres, with risk as heavy as 0.5 m."""
        return (
            terms["goal"]
            + 0.5 * terms["risk"]
            + 2.0 * terms["crowding"]
            + 0.05 * terms["uncertainty"]
            + 0.03 * terms["approach"]
            + 0.001 * terms["effort"]
        )


def clearance(states: Floats, other: int) -> Floats:
    """Return ``[..., 4]``: gaps (m) from the tip and each other body to the disc ``other`` of ``states[..., 34]``."""
    at = scene.positions(states)
    disc = at[..., 1 + other, :]
    size = scene.BODIES[other].reach
    gaps = [np.linalg.norm(at[..., 0, :] - disc, axis=-1) - scene.TIP_RADIUS - size]
    for index, body in enumerate(scene.BODIES):
        if index == other:
            continue
        columns = states[..., scene.body_slice(index)]
        offset = disc - columns[..., 0:2]
        cos, sin = columns[..., 2], columns[..., 3]
        x = np.abs(offset[..., 0] * cos + offset[..., 1] * sin) - body.half_x
        y = np.abs(offset[..., 1] * cos - offset[..., 0] * sin) - body.half_y
        outside = np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0)
        gaps.append(outside - body.radius - size)
    stacked: Floats = np.stack(gaps, -1)
    return stacked


def touched(states: Floats, other: int = scene.GLASS) -> NDArray[np.bool_]:
    """Return ``[B]``: whether, in true ``states[B, T, 34]``, ``other`` was pushed by more than 1 mm."""
    at = scene.positions(states)[..., 1 + other, :]
    pushed: NDArray[np.bool_] = np.linalg.norm(at - at[:, :1], axis=-1).max(-1) > 1e-3
    return pushed


def _segment_distance(point: Any, start: Any, end: Any) -> Any:
    along = end - start
    share = ((point - start) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-9)
    closest = start + along * np.clip(share, 0.0, 1.0)[..., None]
    return np.linalg.norm(point - closest, axis=-1)


def _normal_tail(z: Floats) -> Floats:
    """Return P(Z > z) of a standard normal, to 1.5e-7 (Abramowitz and Stegun 7.1.26)."""
    x = np.abs(z) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * poly * np.exp(-x * x)
    both: Floats = np.where(z >= 0, tail, 1 - tail).astype(np.float32)
    return both
