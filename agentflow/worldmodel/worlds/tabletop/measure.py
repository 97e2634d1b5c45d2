"""How good the learned tabletop is, on episodes that training never saw, against baselines and the simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agentflow.worldmodel import calibrate
from agentflow.worldmodel.contract import Floats
from agentflow.worldmodel.worlds.tabletop import episodes, scene
from agentflow.worldmodel.worlds.tabletop.simulator import TabletopSimulator
from agentflow.worldmodel.worlds.tabletop.world import TabletopWorld

CALIBRATION_SEED = 51
EVALUATION_SEEDS = (101, 102, 103)
START = 10
"""Windows begin at step 10 of an episode, when something may already move."""
HORIZON = 50
HORIZONS = (1, 10, 25, 50)
MOVED_M = 0.01
KINDS = (0, 1, 1, 1, 2)
"""Kinds that are calibrated apart: the tip, the blocks, the glass."""


def use_threads(threads: int) -> None:
    """Let torch compute on so many threads in this process."""
    torch.set_num_threads(threads)


def windows(count: int, seed: int, threads: int = 2) -> tuple[Floats, Floats]:
    """Return true states ``[N, 51, 34]`` and actions ``[N, 50, 2]`` of fresh episodes, from step 10 on."""
    states, actions = episodes.record(count, seed, threads)
    return states[:, START : START + HORIZON + 1], actions[:, START : START + HORIZON]


def fit_calibration(
    world: TabletopWorld, count: int, seed: int = CALIBRATION_SEED, threads: int = 2
) -> calibrate.Calibration:
    """Return a calibration of ``world`` (built without one) on ``count`` episodes of their own seed."""
    states, actions = windows(count, seed, threads)
    rollout = world.predict(states[:, 0], actions)
    error = _error(rollout.states, states)
    fitted_on = {"episodes": count, "seed": seed, "horizon_steps": HORIZON}
    return calibrate.fit(rollout.meta["spread"], rollout.meta["stirred"], error, KINDS, fitted_on)


def _error(predicted: Floats, true: Floats) -> Floats:
    """Return the position error ``[B, H, E]`` (m) of steps 1..H."""
    error: Floats = np.linalg.norm(scene.positions(predicted)[:, 1:] - scene.positions(true)[:, 1:], axis=-1)
    return error


def predictions(
    world: TabletopWorld,
    count: int = 400,
    seeds: tuple[int, ...] = EVALUATION_SEEDS,
    threads: int = 2,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Return errors, coverage and widths at 1, 10, 25 and 50 steps, over all seeds and per seed.

    "Moved" are blocks (not the glass) that truly lie at least 1 cm from where the window began.
    """
    errors: dict[str, list[Floats]] = {name: [] for name in ("model", "still", "velocity", "floor")}
    moved_parts, radius_parts = [], []
    simulator = TabletopSimulator(threads=threads)
    try:
        for index, seed in enumerate(seeds):
            if on_progress is not None:
                on_progress("predicting held-out episodes", index, len(seeds))
            true, actions = windows(count, seed, threads)
            rollout = world.predict(true[:, 0], actions)
            errors["model"].append(_error(rollout.states, true))
            errors["still"].append(_error(np.repeat(true[:, :1], HORIZON + 1, 1), true))
            errors["velocity"].append(_error(_constant_velocity(true), true))
            shifted = simulator.predict(_shifted(true[:, 0], np.random.default_rng(seed)), actions)
            errors["floor"].append(_error(shifted.states, true))
            moved_parts.append(_moved(true))
            radius_parts.append(
                np.zeros_like(errors["model"][-1]) if rollout.radius90 is None else rollout.radius90[:, 1:]
            )
    finally:
        simulator.close()
    all_errors = {name: np.concatenate(parts)[..., 1:] for name, parts in errors.items()}
    moved, radius = np.concatenate(moved_parts), np.concatenate(radius_parts)[..., 1:]
    blocks = slice(0, scene.GLASS)
    return {
        "episodes": count * len(seeds),
        "seeds": list(seeds),
        "moved_means": f"a block's true position is at least {MOVED_M * 100:g} cm from its start",
        "units": "cm",
        "by_horizon": {
            str(h): _at_horizon(
                {name: values[:, h - 1, blocks] for name, values in all_errors.items()},
                moved[:, h - 1, blocks],
                radius[:, h - 1, blocks],
            )
            for h in HORIZONS
        },
        "median_cm_on_moved_per_seed": {
            str(seed): {
                str(h): _cm(np.median(e[:, h - 1, 1 : 1 + scene.GLASS][m[:, h - 1, blocks]]))
                for h in HORIZONS
            }
            for seed, e, m in zip(seeds, errors["model"], moved_parts, strict=True)
        },
    }


def _at_horizon(errors: dict[str, Floats], moved: NDArray[np.bool_], radius: Floats) -> dict[str, Any]:
    on_moved = {name: values[moved] for name, values in errors.items()}
    inside = errors["model"] <= radius
    return {
        "moved_blocks": int(moved.sum()),
        "blocks": int(moved.size),
        "median": {name: _cm(np.median(values)) for name, values in on_moved.items()},
        "rmse": {name: _cm(np.sqrt(np.mean(np.square(values)))) for name, values in on_moved.items()},
        "rmse_over_floor": round(float(_rms(on_moved["model"]) / max(_rms(on_moved["floor"]), 1e-9)), 2),
        "median_on_still": _cm(np.median(errors["model"][~moved])),
        "coverage90": {
            "all": round(float(inside.mean()), 4),
            "moved": round(float(inside[moved].mean()), 4),
            "still": round(float(inside[~moved].mean()), 4),
        },
        "radius90": {
            "median_on_moved": _cm(np.median(radius[moved])),
            "mean_on_moved": _cm(radius[moved].mean()),
            "median_on_still": _cm(np.median(radius[~moved])),
        },
    }


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _cm(metres: Any) -> float:
    return round(float(metres) * 100, 3)


def _moved(true: Floats) -> NDArray[np.bool_]:
    at = scene.positions(true)[..., 1:, :]
    far: NDArray[np.bool_] = np.linalg.norm(at[:, 1:] - at[:, :1], axis=-1) >= MOVED_M
    return far


def _constant_velocity(true: Floats) -> Floats:
    """Return "everything keeps its velocity until the rim" as states ``[B, 51, 34]``."""
    out = np.repeat(true[:, :1], HORIZON + 1, 1)
    time = np.arange(HORIZON + 1, dtype=np.float32)[None, :, None] * scene.STEP_SECONDS
    for index in range(len(scene.BODIES)):
        start = scene.body_slice(index).start
        reach = scene.TABLE_HALF - scene.BODIES[index].radius
        line = true[:, :1, start : start + 2] + time * true[:, :1, start + 4 : start + 6]
        out[:, :, start : start + 2] = np.clip(line, -reach, reach)
    return out


def _shifted(starts: Floats, rng: np.random.Generator, metres: float = 0.002) -> Floats:
    """Return the starts with every body 2 mm away in a random direction: the simulator's own sensitivity."""
    out = starts.copy()
    for index in range(len(scene.BODIES)):
        angle = rng.uniform(-np.pi, np.pi, len(out))
        columns = out[:, scene.body_slice(index)]
        columns[:, 0] += metres * np.cos(angle)
        columns[:, 1] += metres * np.sin(angle)
    return out
