"""The learned tabletop against MuJoCo: one prediction, batches of all members, and a whole plan.

The rival is `mujoco.rollout`, whose C threads step the same scene on the same cores: one call for a whole batch, with
its controls computed beforehand. Prints JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from agentflow.agent.search import SearchSettings, search
from agentflow.worldmodel.worlds.tabletop import episodes, scene, simulator
from agentflow.worldmodel.worlds.tabletop.task import PushTask
from agentflow.worldmodel.worlds.tabletop.world import TabletopWorld

THREADS = len(os.sched_getaffinity(0))
BATCH, STEPS = 2048, 30


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    work()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def rollout_steps_a_second(starts: np.ndarray, actions: np.ndarray) -> float:
    world = simulator.TabletopSimulator(threads=THREADS)
    physics = world._to_physics(starts.astype(np.float64))
    target, controls = starts[:, 4:6].astype(np.float64), []
    for step in range(actions.shape[1]):
        after = np.clip(target + actions[:, step], -scene.TIP_LIMIT, scene.TIP_LIMIT)
        controls.append(world._controls(target, after))
        target = after
    control = np.concatenate(controls, 1)

    def work() -> None:
        world._rollout.rollout(world._model, world._data, physics, control=control, nstep=control.shape[1])

    taken = seconds(work, 3)
    world.close()
    return len(starts) * actions.shape[1] / taken


def main() -> None:
    torch.set_num_threads(THREADS)
    world = TabletopWorld("cpu")
    states, actions = episodes.record(BATCH // 4, seed=77, threads=THREADS)
    starts = np.concatenate([states[:, k] for k in (0, 10, 20, 30)])
    moves = np.concatenate([actions[:, k : k + STEPS] for k in (0, 10, 20, 30)])
    one = seconds(lambda: world.predict(starts[0], moves[:1, :1]), 50)
    rates = {}
    for batch in (64, 512, 2048):
        taken = seconds(lambda batch=batch: world.predict(starts[:batch], moves[:batch]), 3)
        rates[str(batch)] = round(batch * STEPS / taken)
    rival = rollout_steps_a_second(starts, moves)
    state = scene.encode_scene({"seed": 4})
    place = scene.positions(state)[1] - np.array([0.2, 0.0])
    task = PushTask(0, (float(place[0]), float(place[1])))
    plan = seconds(lambda: search(world, state, task, np.random.default_rng(0), SearchSettings(64, 30, 3)), 5)
    print(
        json.dumps(
            {
                "threads": THREADS,
                "members": 5,
                "one_predict_ms": round(one * 1e3, 2),
                "steps_a_second_all_members": rates,
                "mujoco_rollout_steps_a_second": round(rival),
                "ratio_at_best_batch": round(max(rates.values()) / rival, 2),
                "plan_64x30x3_s": round(plan, 2),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
