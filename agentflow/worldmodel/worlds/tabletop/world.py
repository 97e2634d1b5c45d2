"""`TabletopWorld`: the learned tabletop, calibrated, drawn, and honest about how far it can be trusted."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, WeightsError
from agentflow.worldmodel.backends import weights
from agentflow.worldmodel.calibrate import Calibration
from agentflow.worldmodel.contract import Floats, Rollout
from agentflow.worldmodel.worlds.tabletop import dynamics, pushing, scene, training
from agentflow.worldmodel.worlds.tabletop.task import PushTask

WEIGHTS = Path(__file__).parent / "weights"
TRUST_RADIUS_M = 0.05
"""A step is trusted while every thing's 90 % radius is within this."""
MAX_HORIZON = 50
_BLOCK = 512
_SLACK = 6.0


class TabletopWorld:
    """The learned ensemble behind the world's contract. States are computed; nothing here is simulated."""

    name = "tabletop"
    entities = scene.ENTITIES
    state_space = scene.STATE_SPACE
    action_space = scene.ACTION_SPACE

    def __init__(
        self, device: str = "auto", folder: Path = WEIGHTS, calibration: Calibration | None = None
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = device
        self._card = _read_card(folder)
        self._network = training.new_network(0)
        self.digest = weights.load(
            self._network, folder / "tabletop.safetensors", self._card.get("weights_sha256")
        )
        self._network.to(device).eval().requires_grad_(False)
        self._calibration = calibration or _read_calibration(folder, self._card)
        self._ms_per_step: float | None = None

    def card(self) -> dict[str, Any]:
        """Return the world card."""
        return self._card

    def task(self, goal: dict[str, Any]) -> PushTask:
        """Return a goal (``body``, ``place``, ``avoid``) in this world's terms.

        Raises:
            InvalidInputError: an unknown body, or a place off the table.
        """
        for name in (goal["body"], *goal["avoid"]):
            if name not in scene.NAMES:
                raise InvalidInputError("goal", f"'{name}'", f"one of {', '.join(scene.NAMES)}")
        x, y = goal["place"]
        limit = scene.TABLE_HALF - scene.BODIES[scene.NAMES.index(goal["body"])].reach
        if not (abs(x) <= limit and abs(y) <= limit):
            raise InvalidInputError(
                "goal.place",
                f"({x:.3f}, {y:.3f}) m",
                f"x and y from {-limit:.3f} to {limit:.3f} m: on the table",
            )
        avoid = tuple(scene.NAMES.index(name) for name in goal["avoid"])
        return PushTask(scene.NAMES.index(goal["body"]), (float(x), float(y)), avoid)

    def things(self, state: Floats) -> list[dict[str, Any]]:
        """Return what a goal may name in ``state[34]``; see `scene.describe`."""
        return scene.describe(state)

    def push(self, state: Floats, body: str, place: tuple[float, float], horizon_steps: int) -> Floats:
        """Return the plain push ``[H, 2]`` of ``body`` towards ``place`` (m)."""
        index = np.array([scene.NAMES.index(body)])
        aim = np.array([place], np.float32)
        rng = np.random.default_rng(0)
        one: Floats = pushing.push_paths(state[None], index, aim, horizon_steps, rng, jitter=0.0)[0]
        return one

    def estimate(self, sequences: int, horizon_steps: int) -> Amounts:
        """Return an upper bound of the device time: the best of four calls timed on this machine, and a slack of 6."""
        if self._ms_per_step is None:
            start = np.repeat(scene.encode_scene({})[None], 64, 0)
            moves = np.full((64, 2, 2), 0.01, np.float32)
            taken = []
            for _ in range(4):
                begin = time.perf_counter()
                self._roll(start, moves, None)
                taken.append(time.perf_counter() - begin)
            self._ms_per_step = min(taken) * 1e3 / 2
        blocks = max(1.0, sequences / 64)
        return Amounts(gpu_ms=int(self._ms_per_step * blocks * horizon_steps * _SLACK) + 50)

    def encode(self, observation: dict[str, Any]) -> Floats:
        """Return the state ``[34]`` of a scene description; see `scene.encode_scene`."""
        return scene.encode_scene(observation)

    def predict(self, state: Floats, actions: Floats, *, stop: Callable[[], None] | None = None) -> Rollout:
        """Roll ``actions[B, H, 2]`` out from ``state[34]`` or ``[B, 34]``.

        Raises:
            InvalidInputError: values that are not finite or out of bounds, or a horizon above 50 steps.
        """
        actions = np.asarray(actions, np.float32)
        if actions.ndim != 3 or not 1 <= actions.shape[1] <= MAX_HORIZON:
            raise InvalidInputError(
                "actions", f"shape {actions.shape}", f"[B, H, 2] with H from 1 to {MAX_HORIZON}"
            )
        starts = np.broadcast_to(np.asarray(state, np.float32), (len(actions), scene.STATE_SIZE))
        self.state_space.check("state", starts)
        self.action_space.check("actions", actions)
        parts = [
            self._roll(starts[at : at + _BLOCK], actions[at : at + _BLOCK], stop)
            for at in range(0, len(actions), _BLOCK)
        ]
        members, spread, stirred = (
            np.concatenate([part[i] for part in parts], axis) for i, axis in ((0, 1), (1, 0), (2, 0))
        )
        states = _mean(members)
        states[:, 0] = starts
        if self._calibration is None:
            return Rollout(
                self.name,
                self.entities,
                actions,
                states,
                None,
                None,
                members,
                {"spread": spread, "stirred": stirred},
            )
        radius = np.zeros((len(actions), actions.shape[1] + 1, len(self.entities)), np.float32)
        radius[:, 1:] = self._calibration.radius(spread, stirred)
        beyond = radius[:, 1:].max(-1) > TRUST_RADIUS_M
        trusted = np.where(beyond.any(1), beyond.argmax(1), actions.shape[1])
        return Rollout(self.name, self.entities, actions, states, radius, trusted, members, {})

    def _roll(
        self, starts: Floats, actions: Floats, stop: Callable[[], None] | None
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return member states ``[M, B, H+1, 34]``, spread and "stirred" ``[B, H, E]`` of steps 1..H."""
        network = self._network
        with torch.inference_mode():
            first = torch.from_numpy(np.array(starts)).to(self.device)
            moves = torch.from_numpy(np.array(actions)).to(self.device)
            spread_over = first[None].expand(network.members, -1, -1)
            state = dynamics.unpack(spread_over)
            path, spreads, stirs = [spread_over], [], []
            variance = state.position.new_zeros(state.position.shape[:-1])
            stirred = torch.zeros(state.position.shape[1:3], dtype=torch.bool, device=self.device)
            for step in range(moves.shape[1]):
                if stop is not None:
                    stop()
                move = moves[None, :, step].expand(network.members, -1, -1)
                state, noise = network(state, dynamics.steer(network, state, move))
                variance = variance + noise[..., :2].mean(-1)
                stirred = stirred | (noise[..., 0] > 0).any(0)
                path.append(dynamics.pack(state))
                between = state.position.var(0, unbiased=True).sum(-1) / 2
                spreads.append((between + variance.mean(0)).sqrt())
                stirs.append(stirred)
            spread = torch.stack(spreads, 1).cummax(1).values
            return (
                torch.stack(path, 2).cpu().numpy(),
                spread.cpu().numpy(),
                torch.stack(stirs, 1).cpu().numpy(),
            )

    def render(self, states: Floats, **options: Any) -> Iterator[NDArray[np.uint8]]:
        """Yield frames of ``states[T, 34]``; options as in `draw.render`."""
        from agentflow.worldmodel.worlds.tabletop import draw

        return draw.render(states, device=self.device, **options)


def _mean(members: Floats) -> Floats:
    """Return the members' mean ``[B, T, 34]``; headings are unit vectors again."""
    mean: Floats = members.mean(0)
    for index in range(len(scene.BODIES)):
        columns = mean[..., scene.body_slice(index)]
        size = np.maximum(np.hypot(columns[..., 2], columns[..., 3]), 1e-6)
        columns[..., 2] /= size
        columns[..., 3] /= size
    return mean


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / "card.json"
    if not path.exists() and folder != WEIGHTS:
        return {"name": "tabletop", "kind": "learned", "admitted": False}
    try:
        card: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(str(path), str(error), "the world card that training wrote") from error
    return card


def _read_calibration(folder: Path, card: dict[str, Any]) -> Calibration | None:
    path = folder / "calibration.json"
    if not path.exists() and "calibration_sha256" not in card:
        return None
    calibration = Calibration.load(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != card.get("calibration_sha256", digest):
        raise WeightsError(str(path), f"sha256 {digest}", f"the card's, sha256 {card['calibration_sha256']}")
    return calibration
