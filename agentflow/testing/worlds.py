"""`FakeWorld`: a world model of point masses with exact dynamics, and errors and costs that a test sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError
from agentflow.worldmodel.contract import Axis, Floats, Rollout, Space

HALF_M = 0.5
"""Half the side of the square that everything stays in."""
REACH_M = 0.05
"""How far the tip keeps a body away from itself."""
MAX_STEP_M = 0.04
"""The largest displacement of the tip, per axis and step."""
BODIES = {
    "red block": (0.1, 0.0),
    "blue block": (-0.25, 0.3),
    "green disc": (0.3, 0.3),
    "glass": (-0.3, -0.3),
}
TIP = (0.4, -0.4)
RADIUS90 = math.sqrt(2 * math.log(10))
"""The radius that holds 90 % of a round Gaussian, in units of its σ."""
_SUBSTEPS = 4
_COLOURS = {"red": (200, 60, 50), "blue": (60, 90, 200), "green": (60, 160, 90)}


@dataclass(eq=False)
class FakeWorld:
    """A world model without a network: a tip pushes point masses, which never overlap with it and never slide on.

    State ``[2 + 2 N]``: the tip's x, y, then each body's (m). Action ``[2]``: the tip's displacement (m). What is in
    ``fixed`` is never moved. Scenes are written as the tabletop's: ``{"bodies": {name: {x, y}}, "tip": {x, y}}``.
    Predictions are exact but for the errors that are set; a simulator without them is `truth`.

    Attributes:
        name: by which rollouts name it.
        bodies: where each stands (m) where a scene does not say.
        fixed: bodies that cannot be moved, and must not be touched.
        bias_m: added to all predicted body positions, per step (m).
        noise_m: σ of a Gaussian error of each predicted body position (m); its 90 % radius is then known, and given.
        seed: of the noise.
        fail_at: the step from 1 at which `predict` raises ``failure``.
        failure: what it raises.
        trusted_steps: the trusted horizon that every rollout claims; None claims none.
        gpu_ms_per_predict: what a prediction costs, whatever time it takes.
        gpu_ms_per_frame: what a frame costs.
        estimated_gpu_ms: what `estimate` says; by default what a prediction costs.
    """

    name: str = "tabletop"
    bodies: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(BODIES))
    fixed: Sequence[str] = ("glass",)
    bias_m: tuple[float, float] = (0.0, 0.0)
    noise_m: float = 0.0
    seed: int = 0
    fail_at: int | None = None
    failure: Exception = field(default_factory=lambda: RuntimeError("the fake world fails here"))
    trusted_steps: int | None = None
    gpu_ms_per_predict: int = 0
    gpu_ms_per_frame: int = 0
    estimated_gpu_ms: int | None = None

    def __post_init__(self) -> None:
        self.entities: tuple[str, ...] = ("tip", *self.bodies)
        self.predictions: list[tuple[int, int]] = []
        """Sequences and steps of each prediction so far."""
        inside = [Axis(f"{each}.{axis}", "m", -HALF_M, HALF_M) for each in self.entities for axis in "xy"]
        self.state_space = Space(tuple(inside))
        self.action_space = Space(tuple(Axis(f"tip.d{axis}", "m", -MAX_STEP_M, MAX_STEP_M) for axis in "xy"))

    @property
    def truth(self) -> FakeWorld:
        """The same world without errors and costs, to serve as its simulator."""
        exact = FakeWorld(name=self.name, bodies=self.bodies, fixed=self.fixed)
        exact.kind = "simulator"
        return exact

    kind = "fake"

    def card(self) -> dict[str, Any]:
        """Return a card that says that it is a fake."""
        return {
            "name": self.name,
            "kind": self.kind,
            "fake": True,
            "admitted": False,
            "summary": "A fake for tests: exact point masses, with errors and costs that a test sets.",
            "step_seconds": 0.1,
        }

    def close(self) -> None:
        """Nothing is open."""

    def estimate(self, sequences: int, horizon_steps: int) -> Amounts:
        """Return what a prediction costs, or what the test says instead."""
        said = self.estimated_gpu_ms
        return Amounts(gpu_ms=self.gpu_ms_per_predict if said is None else said)

    def encode(self, observation: dict[str, Any]) -> Floats:
        """Return the state of a scene; what it does not name stands where this world puts it."""
        given = observation.get("bodies", {})
        for name in given:
            if name not in self.bodies:
                raise InvalidInputError("scene.bodies", f"'{name}'", ", ".join(self.bodies))
        tip = observation.get("tip", {"x": TIP[0], "y": TIP[1]})
        places = [(tip["x"], tip["y"])]
        for name, (x, y) in self.bodies.items():
            places.append((given.get(name, {}).get("x", x), given.get(name, {}).get("y", y)))
        state = np.array(places, np.float32).reshape(-1)
        self.state_space.check("scene", state)
        return state

    def predict(self, state: Floats, actions: Floats, *, stop: Callable[[], None] | None = None) -> Rollout:
        """Roll ``actions[B, H, 2]`` out; see `WorldModel.predict`."""
        actions = np.asarray(actions, np.float32)
        self.action_space.check("actions", actions)
        count, horizon = actions.shape[:2]
        self.predictions.append((count, horizon))
        at = np.broadcast_to(np.asarray(state, np.float32), (count, len(self.state_space))).copy()
        path = [at]
        for step in range(1, horizon + 1):
            if stop is not None:
                stop()
            if step == self.fail_at:
                raise self.failure
            at = self._moved(at, actions[:, step - 1])
            path.append(at)
        states = np.stack(path, 1)
        self._err(states)
        radius = None
        if self.noise_m:
            radius = np.zeros((count, horizon + 1, len(self.entities)), np.float32)
            radius[:, 1:, 1:] = RADIUS90 * self.noise_m
        trusted = None if self.trusted_steps is None else np.full(count, min(self.trusted_steps, horizon))
        return Rollout(self.name, self.entities, actions, states, radius, trusted)

    def _moved(self, state: Floats, action: Floats) -> Floats:
        at = state.reshape(len(state), -1, 2).copy()
        movable = np.array([name not in self.fixed for name in self.bodies])
        for _ in range(_SUBSTEPS):
            at[:, 0] = np.clip(at[:, 0] + action / _SUBSTEPS, -HALF_M, HALF_M)
            away = at[:, 1:] - at[:, :1]
            gap = np.linalg.norm(away, axis=-1, keepdims=True)
            pushed = at[:, :1] + away / np.maximum(gap, 1e-6) * REACH_M
            touched = (gap < REACH_M) & movable[None, :, None]
            at[:, 1:] = np.clip(np.where(touched, pushed, at[:, 1:]), -HALF_M, HALF_M)
        moved: Floats = at.reshape(len(state), -1)
        return moved

    def _err(self, states: Floats) -> None:
        count, length = states.shape[:2]
        bodies = states.reshape(count, length, -1, 2)[:, 1:, 1:]
        bodies += (
            np.array(self.bias_m, np.float32) * np.arange(1, length, dtype=np.float32)[None, :, None, None]
        )
        if self.noise_m:
            bodies += (
                np.random.default_rng(self.seed).normal(0, self.noise_m, bodies.shape).astype(np.float32)
            )

    def render(
        self, states: Floats, *, size: int | tuple[int, int] = 48, subframes: int = 1, **_: Any
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield frames ``[height, width, 3]``: a square for each thing, ``subframes`` a step and one for the start."""
        height, width = (size, size) if isinstance(size, int) else size
        for index in range((len(states) - 1) * subframes + 1):
            frame = np.full((height, width, 3), 240, np.uint8)
            for name, (x, y) in zip(self.entities, states[index // subframes].reshape(-1, 2), strict=True):
                column, row = int((x + HALF_M) * (width - 1)), int((HALF_M - y) * (height - 1))
                frame[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = _COLOURS.get(
                    name.split()[0], 60
                )
            yield frame

    # What an agent step asks of a world beyond the contract

    def things(self, state: Floats) -> list[dict[str, Any]]:
        """Return what a goal may name: name, position (m), reach (m), and whether it may be pushed."""
        return [
            {
                "name": name,
                "at": self._at(state, name),
                "reach": REACH_M / 2,
                "movable": name not in self.fixed,
            }
            for name in self.bodies
        ]

    def _at(self, state: Floats, name: str) -> tuple[float, float]:
        index = 2 * self.entities.index(name)
        return round(float(state[index]), 4), round(float(state[index + 1]), 4)

    def push(self, state: Floats, body: str, place: tuple[float, float], horizon_steps: int) -> Floats:
        """Return the plain push ``[H, 2]`` of ``body`` towards ``place`` (m)."""
        return FakeTask(self, body, place, ()).path(state, np.zeros(2), horizon_steps)

    def task(self, goal: dict[str, Any]) -> FakeTask:
        """Return a goal (``body``, ``place``, ``avoid``) in this world's terms."""
        for name in (goal["body"], *goal["avoid"]):
            if name not in self.bodies:
                raise InvalidInputError("goal", f"'{name}'", f"one of {', '.join(self.bodies)}")
        return FakeTask(self, goal["body"], tuple(goal["place"]), tuple(goal["avoid"]))


@dataclass(frozen=True)
class FakeTask:
    """Bring ``body`` to ``place`` (m) without the tip or a body coming near what is in ``avoid``."""

    world: FakeWorld
    body: str
    place: tuple[float, float]
    avoid: tuple[str, ...]

    def path(self, state: Floats, aside: Floats, horizon_steps: int) -> Floats:
        """Return actions ``[H, 2]``: behind the body by way of a point ``aside`` of there (m), then to the place."""
        start = np.array(self.world._at(state, self.body))
        way = np.array(self.place) - start
        ahead = way / max(float(np.linalg.norm(way)), 1e-6)
        stand = start - ahead * (REACH_M + 0.01)
        at, actions = state[:2].astype(float), np.zeros((horizon_steps, 2), np.float32)
        goals = [stand + aside, stand, np.array(self.place) - ahead * REACH_M]
        for step in range(horizon_steps):
            while goals and np.linalg.norm(goals[0] - at) < 1e-4:
                goals.pop(0)
            if not goals:
                break
            actions[step] = np.clip(goals[0] - at, -MAX_STEP_M, MAX_STEP_M)
            at = at + actions[step]
        return actions

    def propose(self, state: Floats, count: int, horizon_steps: int, rng: np.random.Generator) -> Floats:
        """Return actions ``[count, H, 2]``: "do nothing" first, then pushes."""
        asides = rng.normal(0, 0.1, (count, 2))
        asides[1:2] = 0.0
        return np.stack(
            [
                np.zeros((horizon_steps, 2), np.float32),
                *(self.path(state, each, horizon_steps) for each in asides[1:]),
            ]
        )

    def distance(self, states: Floats) -> Floats:
        """Return how far ``states[..., D]`` are from the goal (m)."""
        index = 2 * self.world.entities.index(self.body)
        away: Floats = np.linalg.norm(
            states[..., index : index + 2] - np.array(self.place, np.float32), axis=-1
        )
        return away

    def objective(self, rollout: Rollout, state: Floats) -> dict[str, Floats]:
        """Return each ``[B]``: goal (m), risk (0 or 1), effort (m)."""
        at = rollout.states.reshape(*rollout.states.shape[:2], -1, 2)
        risk = np.zeros(len(at), np.float32)
        for name in self.avoid:
            index = self.world.entities.index(name)
            others = np.delete(at, index, axis=2)
            gaps = np.linalg.norm(others - at[:, :, index : index + 1], axis=-1)
            risk = np.maximum(risk, (gaps[:, 1:].min((1, 2)) < REACH_M).astype(np.float32))
        effort = np.linalg.norm(rollout.actions, axis=-1).sum(-1)
        return {"goal": self.distance(rollout.states[:, -1]), "risk": risk, "effort": effort}

    def cost(self, terms: dict[str, Floats]) -> Floats:
        """Return what a search lowers, ``[B]``."""
        return terms["goal"] + 0.5 * terms["risk"] + 0.001 * terms["effort"]
