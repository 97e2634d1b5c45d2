"""Pushes worth trying: tip paths that go round the things on the table, then push a body towards a place.

They seed the planner's search and, aimed at random, they make the contact-rich episodes that the model
learns from. A path slides round each body's circle (reach + tip radius + margin) instead of through it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentflow.worldmodel.contract import Floats
from agentflow.worldmodel.worlds.tabletop import scene

_SPEED = scene.MAX_STEP
_REACH = np.array([body.reach for body in scene.BODIES])


def push_paths(
    state: Floats,
    body: NDArray[np.int64],
    place: Floats,
    horizon_steps: int,
    rng: np.random.Generator,
    *,
    jitter: float = 1.0,
) -> Floats:
    """Return actions ``[N, H, 2]`` (m per step) that push ``body[N]`` towards ``place[N, 2]``.

    Args:
        state: ``[N, 34]``, one start for each.
        body: the index of the body that each pushes.
        place: where its centre should come to lie (m).
        horizon_steps: H; a path that is done earlier ends in rest.
        rng: draws the angle, offset, length and speed of each push.
        jitter: 0 gives the plain push; 1 spreads angles by about 17 degrees.
    """
    count = len(state)
    rows = np.arange(count)
    at = scene.positions(state).astype(np.float64)
    centres, tip = at[:, 1:], at[:, 0].copy()
    centre = centres[rows, body]
    heading = np.arctan2(place[:, 1] - centre[:, 1], place[:, 0] - centre[:, 0])
    angle = heading + jitter * rng.normal(0, 0.3, count)
    along = np.stack([np.cos(angle), np.sin(angle)], -1)
    side = np.stack([-along[:, 1], along[:, 0]], -1) * (jitter * rng.normal(0, 0.018, count))[:, None]
    depth = _support(state, body, angle) + scene.TIP_RADIUS
    start = centre + side - along * (depth + 0.015)[:, None]
    distance = np.linalg.norm(place - centre, axis=-1)
    length = distance * (1 + jitter * rng.normal(0, 0.08, count)) + jitter * rng.normal(0, 0.008, count)
    end = centre + side + along * (np.maximum(length, 0.0) - depth)[:, None]
    start, end = (np.clip(p, -scene.TIP_LIMIT, scene.TIP_LIMIT) for p in (start, end))
    speed = _SPEED * np.clip(1 - jitter * np.abs(rng.normal(0, 0.25, count)), 0.3, 1.0)
    margin = 0.004 + 0.02 * rng.random(count)
    turn = rng.choice([-1.0, 1.0], count)
    pushing = np.zeros(count, bool)
    actions = np.zeros((count, horizon_steps, 2), np.float32)
    circles = _REACH[None] + scene.TIP_RADIUS + margin[:, None]
    for step in range(horizon_steps):
        goal = np.where(pushing[:, None], end, start)
        pull = goal - tip
        left = np.linalg.norm(pull, axis=-1, keepdims=True)
        move = pull * np.minimum(1.0, speed[:, None] / np.maximum(left, 1e-9))
        around = _slide_round(tip, move, centres, circles, turn, start)
        move = np.where(pushing[:, None], move, around)
        actions[:, step] = move
        tip = np.clip(tip + move, -scene.TIP_LIMIT, scene.TIP_LIMIT)
        pushing |= np.linalg.norm(start - tip, axis=-1) < 0.004
    return np.clip(actions, -scene.MAX_STEP, scene.MAX_STEP)


def _support(state: Floats, body: NDArray[np.int64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each body reaches from its centre against ``angle``, met head-on."""
    out = np.empty(len(state))
    for index, shape in enumerate(scene.BODIES):
        rows = body == index
        columns = state[rows][:, scene.body_slice(index)]
        local = angle[rows] - np.arctan2(columns[:, 3], columns[:, 2])
        cos, sin = np.abs(np.cos(local)), np.abs(np.sin(local))
        with np.errstate(divide="ignore"):
            ray = np.minimum(shape.half_x / np.maximum(cos, 1e-6), shape.half_y / np.maximum(sin, 1e-6))
        out[rows] = ray + shape.radius
    return out


def _slide_round(
    tip: NDArray[np.float64],
    move: NDArray[np.float64],
    centres: NDArray[np.float64],
    circles: NDArray[np.float64],
    turn: NDArray[np.float64],
    goal: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Turn moves that would enter a body's circle along its rim."""
    out = move.copy()
    length = np.linalg.norm(move, axis=-1)
    for index in range(centres.shape[1]):
        offset = tip - centres[:, index]
        apart = np.linalg.norm(offset, axis=-1)
        normal = offset / np.maximum(apart, 1e-9)[:, None]
        radius = np.minimum(circles[:, index], np.linalg.norm(goal - centres[:, index], axis=-1) - 0.002)
        inward = -(out * normal).sum(-1)
        enters = (inward > 0) & (apart - inward < radius)
        tangent = np.stack([-normal[:, 1], normal[:, 0]], -1)
        to_goal = goal - centres[:, index]
        cross = normal[:, 0] * to_goal[:, 1] - normal[:, 1] * to_goal[:, 0]
        sense = np.where(np.abs(cross) > 0.02, np.sign(cross), turn)
        rim = (
            tangent * sense[:, None] * length[:, None]
            + normal * np.clip(radius - apart, -0.02, 0.02)[:, None]
        )
        scaled = rim * (length / np.maximum(np.linalg.norm(rim, axis=-1), 1e-9))[:, None]
        out = np.where(enters[:, None], scaled, out)
    return out
