"""The tabletop's true simulator in MuJoCo: contacts, Coulomb friction with the table, a position-controlled arm.

Each body slides and turns in the plane and rests on one point contact whose elliptic friction cone and
torsional friction stand for its whole footprint: friction is the same in every direction, which separate
friction losses on x and y are not. The tip follows straight lines between commanded targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentflow.core.amounts import Amounts
from agentflow.core.errors import MissingExtraError, UnsupportedCallError
from agentflow.worldmodel.contract import Floats, Rollout
from agentflow.worldmodel.worlds.tabletop import scene

SUBSTEPS = 20
TIMESTEP = scene.STEP_SECONDS / SUBSTEPS
_FRICTION = 0.35
_ARM_GAIN, _ARM_DAMPING = 2400.0, 60.0


def _body_xml(body: scene.Body) -> str:
    area_radius = body.radius if body.half_x == 0 else math.sqrt(4 * body.half_x * body.half_y / math.pi)
    torsion = 2 / 3 * area_radius
    if body.half_x:
        shape = f'type="box" size="{body.half_x} {body.half_y} 0.03"'
    else:
        shape = f'type="cylinder" size="{body.radius} 0.03"'
    name = body.name.replace(" ", "_")
    return f"""
    <body name="{name}" pos="0 0 0.03">
      <joint name="{name}_x" type="slide" axis="1 0 0"/><joint name="{name}_y" type="slide" axis="0 1 0"/>
      <joint name="{name}_z" type="slide" axis="0 0 1"/><joint name="{name}_r" type="hinge" axis="0 0 1"/>
      <geom {shape} mass="{body.mass}" contype="1" conaffinity="1" friction="0.3 0 0"/>
      <geom type="sphere" size="0.005" pos="0 0 -0.025" mass="0.0001" contype="2" conaffinity="2" condim="4"
            friction="{_FRICTION} {_FRICTION * torsion:.5f} 0" priority="1"/>
    </body>"""


def _servo(joint: str) -> str:
    return (
        f'<general joint="{joint}" gaintype="fixed" gainprm="{_ARM_GAIN}" biastype="affine" '
        f'biasprm="0 -{_ARM_GAIN} -{_ARM_DAMPING}" forcerange="-120 120"/>'
    )


def _model_xml() -> str:
    half, (base_x, base_y), (upper, fore) = scene.TABLE_HALF, scene.BASE, scene.LINKS
    walls = "".join(
        f'<geom type="box" size="{sx} {sy} 0.05" pos="{x} {y} 0.05" contype="1" conaffinity="1" friction="0.3 0 0"/>'
        for x, y, sx, sy in (
            (half + 0.05, 0, 0.05, half + 0.1),
            (-half - 0.05, 0, 0.05, half + 0.1),
            (0, half + 0.05, half + 0.1, 0.05),
            (0, -half - 0.05, half + 0.1, 0.05),
        )
    )
    return f"""
<mujoco model="tabletop">
  <option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" iterations="20" gravity="0 0 -9.81">
    <flag eulerdamp="disable"/>
  </option>
  <default><geom solref="0.01 1" condim="3"/></default>
  <worldbody>
    <geom type="plane" size="1 1 0.1" contype="2" conaffinity="2"/>
    {walls}
    <body name="upper" pos="{base_x} {base_y} 0.2" gravcomp="1">
      <joint name="shoulder" type="hinge" axis="0 0 1" armature="0.1"/>
      <geom type="capsule" fromto="0 0 0 {upper} 0 0" size="0.02" mass="1" contype="0" conaffinity="0"/>
      <body name="fore" pos="{upper} 0 0" gravcomp="1">
        <joint name="elbow" type="hinge" axis="0 0 1" armature="0.05"/>
        <geom type="capsule" fromto="0 0 0 {fore} 0 0" size="0.018" mass="0.6" contype="0" conaffinity="0"/>
        <geom name="tip" type="cylinder" size="{scene.TIP_RADIUS} 0.09" pos="{fore} 0 -0.09" mass="0.1"
              contype="1" conaffinity="1" friction="0.3 0 0"/>
      </body>
    </body>
    {"".join(_body_xml(body) for body in scene.BODIES)}
  </worldbody>
  <actuator>
    {_servo("shoulder")}{_servo("elbow")}
  </actuator>
</mujoco>"""


def joint_angles(at: NDArray[Any]) -> NDArray[Any]:
    """Return shoulder and elbow angles ``[..., 2]`` (rad) that put the tip at ``at[..., 2]``, elbow to the right."""
    upper, fore = scene.LINKS
    x, y = at[..., 0] - scene.BASE[0], at[..., 1] - scene.BASE[1]
    squared = np.clip(x * x + y * y, 1e-6, (upper + fore) ** 2 - 1e-6)
    elbow = np.arccos(np.clip((squared - upper**2 - fore**2) / (2 * upper * fore), -1, 1))
    shoulder = np.arctan2(y, x) - np.arctan2(fore * np.sin(elbow), upper + fore * np.cos(elbow))
    return np.stack([shoulder, elbow], -1)


def next_target(tip: NDArray[Any], target: NDArray[Any], action: NDArray[Any]) -> NDArray[Any]:
    """Return the commanded target after an action: on the table, at most `MAX_LEAD` ahead of the tip."""
    step = np.clip(action, -scene.MAX_STEP, scene.MAX_STEP)
    wanted = np.clip(target + step, -scene.TIP_LIMIT, scene.TIP_LIMIT)
    lead = wanted - tip
    length = np.linalg.norm(lead, axis=-1, keepdims=True)
    led: NDArray[Any] = tip + lead * np.minimum(1.0, scene.MAX_LEAD / np.maximum(length, 1e-9))
    return led


class TabletopSimulator:
    """MuJoCo as a world: the reference that a learned model is measured against. No uncertainty."""

    name = "tabletop.simulator"
    entities = scene.ENTITIES
    state_space = scene.STATE_SPACE
    action_space = scene.ACTION_SPACE

    def __init__(self, threads: int = 1) -> None:
        try:
            import mujoco
            from mujoco import rollout
        except ImportError as error:
            raise MissingExtraError("the tabletop's simulator", "worlds", "mujoco") from error
        self._mujoco = mujoco
        self._model = mujoco.MjModel.from_xml_string(_model_xml())
        self._data = [mujoco.MjData(self._model) for _ in range(threads)]
        self._rollout = rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._state_size = mujoco.mj_stateSize(self._model, mujoco.mjtState.mjSTATE_FULLPHYSICS)

    def close(self) -> None:
        """Stop the simulator's threads."""
        self._rollout.close()

    def card(self) -> dict[str, Any]:
        """Return what this simulator is."""
        return {
            "name": self.name,
            "kind": "simulator",
            "engine": f"mujoco {self._mujoco.__version__}",
            "step_seconds": scene.STEP_SECONDS,
            "entities": list(self.entities),
        }

    def estimate(self, sequences: int, horizon_steps: int) -> Amounts:
        """Return nothing: a simulator runs on the CPU and draws on no budget but the clock."""
        return Amounts()

    def encode(self, observation: dict[str, Any]) -> Floats:
        """Return the state of a scene description; see `scene.encode_scene`."""
        return scene.encode_scene(observation)

    def render(self, *_: Any, **__: Any) -> Any:
        """Refuse: the learned world draws states, whoever computed them."""
        raise UnsupportedCallError(self.name, "render", ("encode", "predict"))

    def predict(self, state: Floats, actions: Floats, *, stop: Callable[[], None] | None = None) -> Rollout:
        """Simulate ``actions[B, H, 2]`` from ``state[34]`` or ``[B, 34]``; sequences run side by side in C."""
        actions = np.asarray(actions, np.float32)
        batch, horizon, _ = actions.shape
        states = np.empty((batch, horizon + 1, scene.STATE_SIZE), np.float32)
        states[:, 0] = state
        physics = self._to_physics(states[:, 0].astype(np.float64))
        target = states[:, 0, 4:6].astype(np.float64)
        warm: NDArray[Any] | None = None
        for step in range(horizon):
            if stop is not None:
                stop()
            tip = states[:, step, 0:2].astype(np.float64)
            after = next_target(tip, target, actions[:, step].astype(np.float64))
            control = self._controls(target, after)
            path, _ = self._rollout.rollout(
                self._model, self._data, physics, control=control, nstep=SUBSTEPS, initial_warmstart=warm
            )
            physics = path[:, -1]
            target = after
            states[:, step + 1] = self._from_physics(physics, target)
        return Rollout(self.name, self.entities, actions, states)

    def _controls(self, before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
        share = (np.arange(1, SUBSTEPS + 1) / SUBSTEPS)[None, :, None]
        angles = joint_angles(before[:, None] * (1 - share) + after[:, None] * share)
        first = joint_angles(before)[:, None]
        speed = np.diff(np.concatenate([first, angles], 1), axis=1) / TIMESTEP
        feed_forward: NDArray[Any] = angles + speed * (_ARM_DAMPING / _ARM_GAIN)
        return feed_forward

    def _to_physics(self, states: NDArray[Any]) -> NDArray[Any]:
        count = len(states)
        nq = self._model.nq
        q, v = np.zeros((count, nq)), np.zeros((count, self._model.nv))
        q[:, 0:2] = joint_angles(states[:, 0:2])
        nudge = 1e-4
        for axis in range(2):  # joint speeds from the tip's velocity, by the inverse map's slope
            shift = np.zeros(2)
            shift[axis] = nudge
            slope = (joint_angles(states[:, 0:2] + shift) - joint_angles(states[:, 0:2] - shift)) / (
                2 * nudge
            )
            v[:, 0:2] += slope * states[:, 2 + axis : 3 + axis]
        for index in range(len(scene.BODIES)):
            columns = states[:, scene.body_slice(index)]
            at = 2 + 4 * index
            q[:, at : at + 2] = columns[:, 0:2]
            q[:, at + 2] = 0.0
            q[:, at + 3] = np.arctan2(columns[:, 3], columns[:, 2])
            v[:, at : at + 2] = columns[:, 4:6]
            v[:, at + 3] = columns[:, 6]
        return np.concatenate([np.zeros((count, 1)), q, v], 1)

    def _from_physics(self, physics: NDArray[Any], target: NDArray[Any]) -> Floats:
        nq = self._model.nq
        q, v = physics[:, 1 : 1 + nq], physics[:, 1 + nq : 1 + nq + self._model.nv]
        out = np.empty((len(physics), scene.STATE_SIZE), np.float32)
        upper, fore = scene.LINKS
        a, b = q[:, 0], q[:, 0] + q[:, 1]
        da, db = v[:, 0], v[:, 0] + v[:, 1]
        out[:, 0] = scene.BASE[0] + upper * np.cos(a) + fore * np.cos(b)
        out[:, 1] = scene.BASE[1] + upper * np.sin(a) + fore * np.sin(b)
        out[:, 2] = -upper * np.sin(a) * da - fore * np.sin(b) * db
        out[:, 3] = upper * np.cos(a) * da + fore * np.cos(b) * db
        out[:, 4:6] = target
        for index in range(len(scene.BODIES)):
            at = 2 + 4 * index
            columns = out[:, scene.body_slice(index)]
            columns[:, 0:2] = q[:, at : at + 2]
            columns[:, 2] = np.cos(q[:, at + 3])
            columns[:, 3] = np.sin(q[:, at + 3])
            columns[:, 4:6] = v[:, at : at + 2]
            columns[:, 6] = v[:, at + 3]
        return out
