"""`agentflow world evaluate tabletop`: calibrate, measure on what training never saw, write the card."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agentflow.core.errors import WeightsError
from agentflow.evaluation import planning
from agentflow.worldmodel.worlds.tabletop import measure, scene
from agentflow.worldmodel.worlds.tabletop.simulator import TabletopSimulator
from agentflow.worldmodel.worlds.tabletop.world import MAX_HORIZON, TRUST_RADIUS_M, WEIGHTS, TabletopWorld

CALIBRATION_EPISODES = 4000
_FULL = planning.Protocol()


def run(
    folder: Path | None = None,
    *,
    episodes: int = 400,
    scenes: int = 100,
    threads: int = 2,
    calibration_episodes: int = CALIBRATION_EPISODES,
    protocol: planning.Protocol = _FULL,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Write ``calibration.json`` and ``card.json`` beside the weights in ``folder`` and return the card.

    Args:
        folder: holds ``tabletop.safetensors`` and ``training.json``; by default the shipped weights.
        episodes: held-out episodes for each of three seeds.
        scenes: planning scenes.
        threads: of torch and of the simulator.
        calibration_episodes: episodes of their own seed that the radius is fitted on.
        protocol: how hard the planning arms search.
        on_progress: called with what is being done, and how much of how much.

    Raises:
        WeightsError: the weights are missing or are not loadable.
    """
    folder = folder or WEIGHTS
    measure.use_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for name in ("tabletop.safetensors", "training.json"):
            try:
                shutil.copy(folder / name, work / name)
            except OSError as error:
                raise WeightsError(
                    str(folder / name), str(error), "what `agentflow world train` wrote"
                ) from error
        card = _measured(work, episodes, scenes, threads, calibration_episodes, protocol, on_progress)
        for name in ("calibration.json", "card.json"):
            shutil.move(work / name, folder / name)
    return card


def _measured(
    folder: Path,
    episodes: int,
    scenes: int,
    threads: int,
    calibration_episodes: int,
    protocol: planning.Protocol,
    on_progress: Callable[[str, int, int], None] | None,
) -> dict[str, Any]:
    begin = time.monotonic()
    training = _training(folder)
    base = {
        "name": "tabletop",
        "kind": "learned",
        "version": 1,
        "weights_sha256": hashlib.sha256((folder / "tabletop.safetensors").read_bytes()).hexdigest(),
    }
    _write(folder / "card.json", base)
    if on_progress is not None:
        on_progress("calibrating", 0, 1)
    raw = TabletopWorld("cpu", folder)
    measure.fit_calibration(raw, calibration_episodes, threads=threads).save(folder / "calibration.json")
    world = TabletopWorld("cpu", folder)
    predictions = measure.predictions(world, episodes, threads=threads, on_progress=on_progress)
    simulator = TabletopSimulator(threads=threads)
    try:
        plans = planning.measure(world, simulator, scenes, protocol, on_progress)
    finally:
        simulator.close()
    card = {
        **base,
        "calibration_sha256": hashlib.sha256((folder / "calibration.json").read_bytes()).hexdigest(),
        "supports": ["encode", "predict", "render", "task"],
        "state": [[a.name, a.unit, a.low, a.high] for a in scene.STATE_SPACE.axes],
        "actions": [[a.name, a.unit, a.low, a.high] for a in scene.ACTION_SPACE.axes],
        "step_seconds": scene.STEP_SECONDS,
        "entities": list(scene.ENTITIES),
        "largest_horizon_steps": MAX_HORIZON,
        "trusted_while_radius90_m_within": TRUST_RADIUS_M,
        "training": training,
        "learned_from": "states of the MuJoCo simulator; frames are drawn from predicted states",
        "evaluation": {
            "command": f"agentflow world evaluate tabletop --episodes {episodes} --scenes {scenes}",
            "seconds": round(time.monotonic() - begin),
            "predictions": predictions,
            "planning": plans,
        },
    }
    card["admitted"] = admitted(card)
    card["below_its_aims"] = shortfalls(card)
    _write(folder / "card.json", card)
    return card


def admitted(card: dict[str, Any]) -> bool:
    """Return whether the model beats "nothing changes" and "constant velocity", and planning without a model."""
    rows = card["evaluation"]["predictions"]["by_horizon"].values()
    better = all(
        row["median"]["model"] < min(row["median"]["still"], row["median"]["velocity"])
        and row["rmse"]["model"] < min(row["rmse"]["still"], row["rmse"]["velocity"])
        for row in rows
    )
    arms = card["evaluation"]["planning"]["arms"]
    return bool(better and arms["model"]["interval95"][0] > arms["without_model"]["interval95"][1])


def shortfalls(card: dict[str, Any]) -> list[str]:
    """Return where the model stands below its aims, in words; an empty list where it does not."""
    rows = card["evaluation"]["predictions"]["by_horizon"]
    found = []
    for steps, aim in (("10", 1.2), ("25", 2.0), ("50", 3.5)):
        if rows[steps]["median"]["model"] > aim:
            found.append(f"median error at {steps} steps {rows[steps]['median']['model']} cm > {aim} cm")
    if rows["25"]["rmse_over_floor"] > 2:
        found.append(
            f"RMSE at 25 steps {rows['25']['rmse_over_floor']} × the simulator's own divergence > 2 ×"
        )
    for steps, row in rows.items():
        baseline = min(row["rmse"]["still"], row["rmse"]["velocity"])
        if row["rmse"]["model"] > baseline / 2:
            found.append(f"RMSE at {steps} steps above half of the better baseline")
        if not 0.88 <= row["coverage90"]["all"] <= 0.92:
            found.append(f"coverage at {steps} steps {row['coverage90']['all']:.1%}, not 88 to 92 %")
        if row["coverage90"]["moved"] < 0.85:
            found.append(f"coverage of moved blocks at {steps} steps {row['coverage90']['moved']:.1%} < 85 %")
    gap = card["evaluation"]["planning"]["model_minus_simulator"]
    if gap["points"] < -5:
        found.append(f"planning {-gap['points']} points below planning in the simulator, more than 5")
    elif gap["interval95"][0] < -5:
        found.append(
            f"planning is within 5 points of the simulator, but the interval {gap['interval95']} does not show it"
        )
    return found


def _training(folder: Path) -> dict[str, Any]:
    path = folder / "training.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(str(path), str(error), "the report that `agentflow world train` wrote") from error
    return report


def _write(path: Path, card: dict[str, Any]) -> None:
    def plain(value: Any) -> Any:
        return value.item() if isinstance(value, np.generic) else str(value)

    path.write_text(json.dumps(card, indent=1, default=plain) + "\n")
