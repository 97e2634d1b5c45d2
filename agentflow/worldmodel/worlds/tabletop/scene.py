"""The tabletop's geometry, its state layout in SI units, and scenes as people write them.

State ``[34]``: the tip's x, y (m), vx, vy (m/s) and commanded target x, y (m); then for each body x, y (m),
cos θ, sin θ, vx, vy (m/s), ω (rad/s). Action ``[2]``: displacement of the tip's target in metres per step of
0.1 s. x points right, y away from the arm's base, the origin is the table's centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentflow.core.errors import InvalidInputError
from agentflow.worldmodel.contract import Axis, Floats, Space

STEP_SECONDS = 0.1
TABLE_HALF = 0.5
"""Half the side of the square table, whose rim stands at ±0.5 m."""
BASE = (0.0, -0.65)
LINKS = (0.66, 0.66)
TIP_RADIUS = 0.025
MAX_STEP = 0.04
"""The largest displacement per axis and step (m)."""
MAX_LEAD = 0.06
"""How far the commanded target may run ahead of the tip (m)."""
TIP_LIMIT = TABLE_HALF - TIP_RADIUS


@dataclass(frozen=True)
class Body:
    """A thing on the table: a rectangle with half extents, its corners rounded by ``radius`` (a disc: 0, 0, r)."""

    name: str
    half_x: float
    half_y: float
    radius: float
    mass: float
    colour: tuple[int, int, int]

    @property
    def reach(self) -> float:
        """The radius of the circle around it."""
        return math.hypot(self.half_x, self.half_y) + self.radius


BODIES = (
    Body("red block", 0.06, 0.06, 0.0, 0.30, (205, 62, 52)),
    Body("blue block", 0.09, 0.04, 0.0, 0.30, (52, 106, 196)),
    Body("green disc", 0.0, 0.0, 0.06, 0.25, (62, 158, 88)),
    Body("glass", 0.0, 0.0, 0.04, 0.15, (168, 208, 226)),
)
NAMES = tuple(body.name for body in BODIES)
ENTITIES = ("tip", *NAMES)
GLASS = NAMES.index("glass")
TIP_COLUMNS = 6
BODY_COLUMNS = 7
STATE_SIZE = TIP_COLUMNS + BODY_COLUMNS * len(BODIES)


def _axes() -> tuple[Axis, ...]:
    edge, speed = TABLE_HALF + 0.01, 3.0
    axes = [
        *(Axis(f"tip.{n}", "m", -edge, edge) for n in "xy"),
        *(Axis(f"tip.v{n}", "m/s", -speed, speed) for n in "xy"),
        *(Axis(f"tip.target_{n}", "m", -edge, edge) for n in "xy"),
    ]
    for name in NAMES:
        axes += [Axis(f"{name}.{n}", "m", -edge, edge) for n in "xy"]
        axes += [Axis(f"{name}.{n}", "", -1.0, 1.0) for n in ("cos", "sin")]
        axes += [Axis(f"{name}.v{n}", "m/s", -speed, speed) for n in "xy"]
        axes += [Axis(f"{name}.omega", "rad/s", -60.0, 60.0)]
    return tuple(axes)


STATE_SPACE = Space(_axes())
ACTION_SPACE = Space(tuple(Axis(f"tip.d{n}", "m", -MAX_STEP, MAX_STEP) for n in "xy"))


def body_slice(index: int) -> slice:
    """Return the columns of body ``index`` in a state."""
    start = TIP_COLUMNS + BODY_COLUMNS * index
    return slice(start, start + BODY_COLUMNS)


def positions(states: Floats) -> Floats:
    """Return the positions ``[..., E, 2]`` of all entities (tip first) of ``states[..., D]``."""
    columns = [0, 1] + [c for i in range(len(BODIES)) for c in (body_slice(i).start, body_slice(i).start + 1)]
    return states[..., columns].reshape(*states.shape[:-1], len(ENTITIES), 2)


class Pose(BaseModel):
    """Where a body lies: metres, and degrees counter-clockwise."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    x: float
    y: float
    angle_degrees: float = 0.0


class Scene(BaseModel):
    """A start: drawn from ``seed``, or with the named bodies and the tip placed by hand."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    seed: int = Field(default=0, ge=0)
    bodies: dict[str, Pose] = Field(default_factory=dict)
    tip: Pose | None = None


def _clearance(a: Floats, reach_a: float, b: Floats, reach_b: float) -> float:
    return float(np.hypot(*(a - b))) - reach_a - reach_b


def random_state(rng: np.random.Generator, spread: float = 0.36) -> Floats:
    """Return a state at rest: bodies apart from each other, the tip clear of all."""
    placed: list[tuple[Floats, float]] = []
    state = np.zeros(STATE_SIZE, np.float32)

    def place(reach: float, limit: float) -> Floats:
        for _ in range(10_000):
            at = rng.uniform(-limit, limit, 2).astype(np.float32)
            if all(_clearance(at, reach, other, radius) > 0.01 for other, radius in placed):
                placed.append((at, reach))
                return at
        raise InvalidInputError("scene", "no free place", "fewer or smaller bodies")  # pragma: no cover

    for index, body in enumerate(BODIES):
        columns = state[body_slice(index)]
        columns[:2] = place(body.reach, spread)
        angle = rng.uniform(-math.pi, math.pi)
        columns[2:4] = math.cos(angle), math.sin(angle)
    state[0:2] = place(TIP_RADIUS, 0.45)
    state[4:6] = state[0:2]
    return state


def encode_scene(observation: dict[str, Any]) -> Floats:
    """Return the state ``[34]`` of a scene description.

    Raises:
        InvalidInputError: an unknown body, a value that is no finite number, a place outside the table, or
            two things in one place.
    """
    try:
        scene = Scene.model_validate(observation)
    except ValidationError as error:
        first = error.errors()[0]
        where = "scene" + "".join(f".{part}" for part in first["loc"])
        raise InvalidInputError(where, repr(first.get("input")), first["msg"].lower()) from error
    unknown = [name for name in scene.bodies if name not in NAMES]
    if unknown:
        raise InvalidInputError("scene.bodies", f"'{unknown[0]}'", ", ".join(NAMES))
    state = random_state(np.random.default_rng(scene.seed))
    for name, pose in scene.bodies.items():
        columns = state[body_slice(NAMES.index(name))]
        columns[:2] = _on_table(f"scene.bodies.{name}", pose, BODIES[NAMES.index(name)].reach)
        angle = math.radians(pose.angle_degrees)
        columns[2:4] = math.cos(angle), math.sin(angle)
    if scene.tip is not None:
        state[0:2] = state[4:6] = _on_table("scene.tip", scene.tip, TIP_RADIUS)
    if scene.bodies or scene.tip is not None:
        _refuse_overlaps(state)
    return state


def _on_table(where: str, pose: Pose, reach: float) -> tuple[float, float]:
    limit = TABLE_HALF - reach
    for axis, value in (("x", pose.x), ("y", pose.y)):
        if abs(value) > limit:
            raise InvalidInputError(
                f"{where}.{axis}", f"{value:g} m", f"from {-limit:.3f} to {limit:.3f} m: on the table"
            )
    return pose.x, pose.y


def _refuse_overlaps(state: Floats) -> None:
    at = positions(state)
    reach = (TIP_RADIUS, *(body.reach for body in BODIES))
    for i in range(len(ENTITIES)):
        for j in range(i):
            if _clearance(at[i], reach[i], at[j], reach[j]) < 0:
                raise InvalidInputError(
                    "scene", f"{ENTITIES[j]} and {ENTITIES[i]} in one place", "bodies that do not overlap"
                )


def describe(state: Floats) -> list[dict[str, Any]]:
    """Return what stands on the table: name, position (m), reach (m), and whether it may be pushed."""
    at = positions(state)
    return [
        {
            "name": body.name,
            "at": (round(float(at[1 + index, 0]), 4), round(float(at[1 + index, 1]), 4)),
            "reach": body.reach,
            "movable": index != GLASS,
            "synonyms": _SYNONYMS[body.name],
        }
        for index, body in enumerate(BODIES)
    ]


_SYNONYMS = {
    "red block": ("red square", "red cube", "square"),
    "blue block": ("blue bar", "bar"),
    "green disc": ("green disk", "green puck", "disk", "puck"),
    "glass": ("cup",),
}
