"""Episodes of the true simulator for training, calibration and evaluation: aimed and aimless pushes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agentflow.worldmodel.contract import Floats
from agentflow.worldmodel.worlds.tabletop import pushing, scene
from agentflow.worldmodel.worlds.tabletop.simulator import TabletopSimulator

LEGS = 4
LEG_STEPS = 15
STEPS = LEGS * LEG_STEPS
_BLOCK = 512


def record(
    episodes: int,
    seed: int,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats, Floats]:
    """Return states ``[N, 61, 34]`` and actions ``[N, 60, 2]`` of N episodes.

    Each has four legs. A leg is a push at a random body (glass included) towards a random place, sometimes
    beyond the rim, or a smooth random walk; noise lies over all of them.
    """
    rng = np.random.default_rng(seed)
    simulator = TabletopSimulator(threads=threads)
    states = np.empty((episodes, STEPS + 1, scene.STATE_SIZE), np.float32)
    actions = np.empty((episodes, STEPS, 2), np.float32)
    try:
        for first in range(0, episodes, _BLOCK):
            rows = slice(first, min(first + _BLOCK, episodes))
            count = rows.stop - rows.start
            start = np.stack([scene.random_state(rng, spread=0.40) for _ in range(count)])
            states[rows, 0] = start
            body, place = _aims(count, rng)
            for leg in range(LEGS):
                if leg == LEGS // 2:
                    body, place = _aims(count, rng)
                span = slice(leg * LEG_STEPS, (leg + 1) * LEG_STEPS)
                chosen = _leg(start, body, place, rng)
                rollout = simulator.predict(start, chosen)
                actions[rows, span] = chosen
                states[rows, span.start + 1 : span.stop + 1] = rollout.states[:, 1:]
                start = rollout.states[:, -1]
            if on_progress is not None:
                on_progress(rows.stop, episodes)
    finally:
        simulator.close()
    return states, actions


def _aims(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    body = rng.choice(len(scene.BODIES), count, p=[0.3, 0.3, 0.28, 0.12])
    return body, rng.uniform(-0.5, 0.5, (count, 2))


def _leg(state: Floats, body: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> Floats:
    count = len(state)
    pushes = pushing.push_paths(state, body, place, LEG_STEPS, rng, jitter=1.2)
    drift = rng.normal(0, 0.02, (count, 1, 2)) + np.cumsum(rng.normal(0, 0.006, (count, LEG_STEPS, 2)), 1)
    walking = rng.random(count) < 0.12
    moves = np.where(walking[:, None, None], drift, pushes)
    shaking = (rng.random(count) < 0.5)[:, None, None]
    moves = moves + shaking * rng.normal(0, 0.004, moves.shape)
    return np.clip(moves, -scene.MAX_STEP, scene.MAX_STEP).astype(np.float32)


def moved(states: Floats, metres: float = 0.01) -> np.ndarray:
    """Return ``[N, T, bodies]``: whether each body lies at least ``metres`` from where it started."""
    at = scene.positions(states)[:, :, 1:]
    far: np.ndarray = np.linalg.norm(at - at[:, :1], axis=-1) > metres
    return far
