"""`agentflow world train tabletop`: record episodes of the simulator, train the ensemble, write its weights."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentflow.worldmodel import train
from agentflow.worldmodel.backends import weights
from agentflow.worldmodel.backends.ensemble import DynamicsEnsemble
from agentflow.worldmodel.contract import Floats
from agentflow.worldmodel.worlds.tabletop import dynamics, episodes, scene

MEMBERS, EDGE_WIDTH, NODE_WIDTH = 5, 96, 128
TRAIN_SEED = 1
"""Seeds of training episodes; calibration and evaluation use others (see `calibration`)."""


def new_network(seed: int) -> DynamicsEnsemble:
    """Return an untrained ensemble of the shipped size."""
    torch.manual_seed(seed)
    return DynamicsEnsemble(dynamics.LAYOUT, MEMBERS, EDGE_WIDTH, NODE_WIDTH)


def lively(states: Floats) -> np.ndarray:
    """Return ``[N, T]``: steps from which a body moves by more than 1 mm within three steps."""
    shift = np.linalg.norm(np.diff(scene.positions(states)[:, :, 1:], axis=1), axis=-1).max(-1) > 1e-3
    soon: np.ndarray = shift.copy()
    for ahead in range(1, 4):
        soon[:, :-ahead] |= shift[:, ahead:]
    return soon


def run(
    folder: Path,
    *,
    minutes: float = 60.0,
    count: int = 16_000,
    seed: int = TRAIN_SEED,
    threads: int = 2,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Train and write ``tabletop.safetensors`` and ``training.json`` into ``folder``; return the latter.

    Args:
        folder: made if it is not there.
        minutes: wall time of the fit, without recording.
        count: episodes of 60 steps.
        seed: of data, weights and windows.
        threads: of the simulator and of torch.
        on_progress: called with what is being done, and how much of how much.
    """

    def say(text: str, done: float, total: float) -> None:
        if on_progress is not None:
            on_progress(text, int(done), int(total))

    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    begin = time.monotonic()
    states, actions = episodes.record(count, seed, threads, lambda n, of: say("recording episodes", n, of))
    recorded = time.monotonic() - begin
    data = hashlib.sha256(states.tobytes() + actions.tobytes()).hexdigest()
    network = new_network(seed)

    def progress(log: train.TrainingLog) -> None:
        second, unroll, loss = log.losses[-1]
        say(f"training, {unroll}-step unroll, loss {loss:.3f}", second, minutes * 60)

    log = train.fit(
        network,
        states,
        actions,
        dynamics.unpack,
        lambda state, action: dynamics.steer(network, state, action),
        seconds=minutes * 60,
        seed=seed,
        interesting=lively(states),
        checkpoint=folder / "checkpoint.safetensors",
        on_progress=progress,
    )
    digest = weights.save(network, folder / "tabletop.safetensors")
    report = {
        "command": f"agentflow world train tabletop --minutes {minutes:g} --episodes {count} --seed {seed}",
        "weights_sha256": digest,
        "data": {
            "engine": "mujoco",
            "episodes": count,
            "steps": int(actions.shape[0] * actions.shape[1]),
            "seed": seed,
            "sha256": data,
        },
        "network": {
            "members": MEMBERS,
            "edge_width": EDGE_WIDTH,
            "node_width": NODE_WIDTH,
            "parameters_per_member": sum(p.numel() for p in network.parameters()) // MEMBERS,
        },
        "seconds": {"recording": round(recorded, 1), "training": round(log.seconds, 1)},
        "updates": log.updates,
        "threads": threads,
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "losses": log.losses[:: max(1, len(log.losses) // 40)],
    }
    (folder / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    return report
