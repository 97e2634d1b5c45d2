"""Planning to 2 cm on the tabletop, closed loop in the true simulator: by the model, the simulator, a rule, at random.

All arms meet the same scenes and goals. The two that predict search equally hard: the same proposals, candidates,
horizon and rounds; only what predicts differs. A scene is solved when the body's centre ends within 2 cm of its
place and the glass was never pushed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agentflow.agent.search import Search, SearchSettings, bounds
from agentflow.evaluation.statistics import paired_difference, wilson
from agentflow.worldmodel.contract import Floats
from agentflow.worldmodel.worlds.tabletop import pushing, scene
from agentflow.worldmodel.worlds.tabletop.task import PushTask, touched

TOLERANCE_M = 0.02
SEED = 5000


@dataclass(frozen=True)
class Protocol:
    """How hard each arm may try."""

    candidates: int = 48
    horizon_steps: int = 30
    rounds: int = 3
    execute_steps: int = 6
    replans: int = 10


@dataclass(frozen=True)
class Case:
    """One scene with its goal."""

    state: Floats
    task: PushTask
    blocked: bool
    """Whether the glass stands in the straight way."""


def cases(count: int, seed: int = SEED) -> list[Case]:
    """Return scenes with goals 15 to 40 cm away; in every second one the glass stands in the straight way."""
    found: list[Case] = []
    index = 0
    while len(found) < count:
        rng = np.random.default_rng([seed, index])
        index += 1
        state = scene.random_state(rng)
        body = len(found) % scene.GLASS
        task = _goal(state, body, rng, wanted=len(found) % 2 == 1)
        if task is not None:
            found.append(Case(state, task, len(found) % 2 == 1))
    return found


def _goal(state: Floats, body: int, rng: np.random.Generator, *, wanted: bool) -> PushTask | None:
    at = scene.positions(state)[1:]
    for _ in range(60):
        place = rng.uniform(-0.36, 0.36, 2)
        free = all(
            np.linalg.norm(place - at[other]) > scene.BODIES[other].reach + scene.BODIES[body].reach + 0.01
            for other in range(len(scene.BODIES))
            if other != body
        )
        if not free or not 0.15 < np.linalg.norm(place - at[body]) < 0.40:
            continue
        task = PushTask(body, (float(place[0]), float(place[1])))
        if task.blocked(state) == wanted:
            return task
    return None


Act = Callable[[list[Case], list[Floats], list[Any], list[np.random.Generator]], Floats]
"""Given cases, their present states and what each remembers, returns the next actions ``[N, k, 2]``."""


def measure(
    world: Any,
    simulator: Any,
    count: int = 100,
    protocol: Protocol = Protocol(),
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Return success rates of the four arms with intervals, and the paired difference of model and simulator."""
    todo = cases(count)
    arms: dict[str, Act] = {
        "model": lambda *args: _searching(world, protocol, *args),
        "simulator": lambda *args: _searching(simulator, protocol, *args),
        "without_model": lambda *args: _rule(protocol, *args),
        "random": lambda *args: _random(protocol, *args),
    }
    solved: dict[str, list[bool]] = {}
    report: dict[str, Any] = {}
    for number, (name, act) in enumerate(arms.items()):
        if on_progress is not None:
            on_progress(f"planning: {name}", number, len(arms))
        distance, glass = _run(todo, simulator, act, protocol)
        solved[name] = [bool(d <= TOLERANCE_M and not g) for d, g in zip(distance, glass, strict=True)]
        low, high = wilson(sum(solved[name]), count)
        report[name] = {
            "solved": sum(solved[name]),
            "of": count,
            "rate": round(sum(solved[name]) / count, 3),
            "interval95": [round(low, 3), round(high, 3)],
            "glass_pushed": int(sum(glass)),
            "median_final_cm": round(float(np.median(distance)) * 100, 2),
            "solved_with_glass_in_the_way": sum(
                s for s, c in zip(solved[name], todo, strict=True) if c.blocked
            ),
        }
    difference, low, high = paired_difference(solved["model"], solved["simulator"])
    return {
        "scenes": count,
        "tolerance_cm": TOLERANCE_M * 100,
        "glass_in_the_way": sum(case.blocked for case in todo),
        "protocol": asdict(protocol),
        "arms": report,
        "model_minus_simulator": {
            "points": round(100 * difference, 1),
            "interval95": [round(100 * low, 1), round(100 * high, 1)],
        },
    }


def _run(todo: list[Case], simulator: Any, act: Act, protocol: Protocol) -> tuple[Floats, np.ndarray]:
    """Execute an arm in the simulator, all scenes side by side; a scene that is solved is left alone."""
    states = [case.state for case in todo]
    memory: list[Any] = [None] * len(todo)
    rngs = [np.random.default_rng([SEED, 1, index]) for index in range(len(todo))]
    pushed = np.zeros(len(todo), bool)
    for _ in range(protocol.replans):
        open_ = [i for i, c in enumerate(todo) if float(c.task.distance(states[i])) > 0.6 * TOLERANCE_M]
        if not open_:
            break
        kept = [memory[i] for i in open_]
        actions = act([todo[i] for i in open_], [states[i] for i in open_], kept, [rngs[i] for i in open_])
        truth = simulator.predict(np.stack([states[i] for i in open_]), actions)
        for row, i in enumerate(open_):
            states[i], memory[i] = truth.states[row, -1], kept[row]
        pushed[open_] |= touched(truth.states)
    distance = np.array([float(c.task.distance(s)) for c, s in zip(todo, states, strict=True)], np.float32)
    return distance, pushed


def _searching(
    world: Any,
    protocol: Protocol,
    todo: list[Case],
    states: list[Floats],
    memory: list[Any],
    rngs: list[np.random.Generator],
) -> Floats:
    settings = SearchSettings(protocol.candidates, protocol.horizon_steps, protocol.rounds)
    low, high = bounds(world)
    searches = [
        Search(state, case.task, rng, settings, low, high)
        for case, state, rng in zip(todo, states, rngs, strict=True)
    ]
    for turn in range(protocol.rounds):
        asked = [
            one.ask([("last plan", left)] if turn == 0 and left is not None else [])
            for one, left in zip(searches, memory, strict=True)
        ]
        starts = np.repeat(np.stack(states), protocol.candidates, 0)
        rollout = world.predict(starts, np.concatenate([batch for batch, _ in asked]))
        for index, (one, (_, names)) in enumerate(zip(searches, asked, strict=True)):
            one.tell(rollout.span(index * protocol.candidates, (index + 1) * protocol.candidates), names)
    chosen = np.stack([one.pool.actions[0] for one in searches if one.pool is not None])
    for index in range(len(memory)):
        memory[index] = chosen[index, protocol.execute_steps :]
    return chosen[:, : protocol.execute_steps]


def _rule(
    protocol: Protocol,
    todo: list[Case],
    states: list[Floats],
    memory: list[Any],
    rngs: list[np.random.Generator],
) -> Floats:
    """Push straight towards the place, seen anew at each replan, without predicting anything."""
    bodies = np.array([case.task.body for case in todo])
    places = np.array([case.task.place for case in todo], np.float32)
    actions = pushing.push_paths(
        np.stack(states), bodies, places, protocol.horizon_steps, np.random.default_rng(0), jitter=0.0
    )
    return actions[:, : protocol.execute_steps]


def _random(
    protocol: Protocol,
    todo: list[Case],
    states: list[Floats],
    memory: list[Any],
    rngs: list[np.random.Generator],
) -> Floats:
    """Take any of the proposals."""
    picked = [
        case.task.propose(state, 2, protocol.horizon_steps, rng)[1]
        for case, state, rng in zip(todo, states, rngs, strict=True)
    ]
    return np.stack(picked)[:, : protocol.execute_steps]
