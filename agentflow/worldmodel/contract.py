"""`WorldModel`, `Rollout`, `StateSpace`: what every world, learned or simulated, says and does.

States and actions are float arrays with named columns in SI units. Nothing here needs torch.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError

Floats = NDArray[Any]
"""An array of float32; typed loosely, since numpy's arithmetic is."""


@dataclass(frozen=True)
class Axis:
    """One column of a state or action: its name, unit and bounds."""

    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class Space:
    """The named columns of a state or an action."""

    axes: tuple[Axis, ...]

    def __len__(self) -> int:
        return len(self.axes)

    def check(self, where: str, values: Floats) -> None:
        """Refuse values ``[..., len(self)]`` that are not finite or out of bounds.

        Raises:
            InvalidInputError: names the first offending column, its value and bounds.
        """
        if values.shape[-1:] != (len(self),):
            raise InvalidInputError(where, f"shape {values.shape}", f"{len(self)} columns last")
        flat = values.reshape(-1, len(self))
        low = np.array([axis.low for axis in self.axes]) - 1e-6
        high = np.array([axis.high for axis in self.axes]) + 1e-6
        bad = ~np.isfinite(flat) | (flat < low) | (flat > high)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            axis = self.axes[column]
            raise InvalidInputError(
                f"{where}, {axis.name}",
                f"{flat[row, column]:g}",
                f"a finite number from {axis.low:g} to {axis.high:g} {axis.unit}".rstrip(),
            )


@dataclass(frozen=True)
class Rollout:
    """Predicted states for B sequences of H actions.

    ``states[B, H+1, D]`` start with the given state. ``radius90[B, H+1, E]`` is, for each of the world's E
    ``entities``, the radius in metres that holds its true position with 90 % probability: calibrated, or
    None. ``trusted_steps[B]`` counts the leading steps whose radius stays within the card's bound.
    ``members[M, B, H+1, D]`` are the ensemble's own rollouts, where kept. A simulator has neither.
    """

    world: str
    entities: tuple[str, ...]
    actions: Floats
    states: Floats
    radius90: Floats | None = None
    trusted_steps: NDArray[np.int64] | None = None
    members: Floats | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def horizon(self) -> int:
        """The number of steps H."""
        return int(self.actions.shape[1])

    def pick(self, index: int) -> Rollout:
        """Return one of the B sequences as a rollout of its own."""
        return self.rows(slice(index, index + 1))

    def span(self, first: int, last: int) -> Rollout:
        """Return the sequences from ``first`` up to, not including, ``last``."""
        return self.rows(slice(first, last))

    def rows(self, at: slice | NDArray[np.int64]) -> Rollout:
        """Return some of the B sequences, in the order of ``at``."""
        return Rollout(
            self.world,
            self.entities,
            self.actions[at],
            self.states[at],
            None if self.radius90 is None else self.radius90[at],
            None if self.trusted_steps is None else self.trusted_steps[at],
            None if self.members is None else self.members[:, at],
            self.meta,
        )

    @classmethod
    def joined(cls, a: Rollout, b: Rollout) -> Rollout:
        """Return the sequences of both, which have one horizon and one world."""

        def both(x: NDArray[Any] | None, y: NDArray[Any] | None, axis: int = 0) -> Any:
            return None if x is None or y is None else np.concatenate([x, y], axis)

        return cls(
            a.world,
            a.entities,
            both(a.actions, b.actions),
            both(a.states, b.states),
            both(a.radius90, b.radius90),
            both(a.trusted_steps, b.trusted_steps),
            both(a.members, b.members, 1),
            a.meta,
        )

    def to_bytes(self) -> bytes:
        """Return the rollout as an ``.npz`` file without pickles."""
        arrays: dict[str, Any] = {"actions": self.actions, "states": self.states}
        for name in ("radius90", "trusted_steps", "members"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        buffer = io.BytesIO()
        np.savez(buffer, world=np.array(self.world), entities=np.array(self.entities), **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Rollout:
        """Return what `to_bytes` kept.

        Raises:
            InvalidInputError: the bytes are not a rollout.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return cls(
                    str(file["world"]),
                    tuple(str(name) for name in file["entities"]),
                    file["actions"],
                    file["states"],
                    file.get("radius90"),
                    file.get("trusted_steps"),
                    file.get("members"),
                )
        except (OSError, ValueError, KeyError) as error:
            raise InvalidInputError(
                "rollout", f"bytes that are not one ({error})", "an .npz that agentflow wrote"
            ) from error


@runtime_checkable
class WorldModel(Protocol):
    """A learned model of a world, or its simulator (then without uncertainty).

    An unsupported call raises ``UnsupportedCallError``; the card says what is supported.
    """

    name: str
    entities: tuple[str, ...]
    state_space: Space
    action_space: Space

    def card(self) -> dict[str, Any]:
        """Return the world card: spaces, horizon, digest, what it can do, how it was evaluated."""
        ...

    def estimate(self, sequences: int, horizon_steps: int) -> Amounts:
        """Return an upper bound of what `predict` costs for B sequences of H steps."""
        ...

    def encode(self, observation: dict[str, Any]) -> Floats:
        """Return the state ``[D]`` of an observation (here: a scene description).

        Raises:
            InvalidInputError: the scene is impossible, out of bounds or not finite.
        """
        ...

    def predict(self, state: Floats, actions: Floats, *, stop: Callable[[], None] | None = None) -> Rollout:
        """Roll ``actions[B, H, A]`` out from ``state[D]`` or ``[B, D]``.

        Args:
            state: the start, one for all or one each.
            actions: what is done at each step.
            stop: called between steps; raises when the caller's hold is used up.
        """
        ...


class RenderableWorld(Protocol):
    """A world that draws its states."""

    def render(
        self,
        states: Floats,
        *,
        radius90: Floats | None = None,
        trusted_steps: int | None = None,
        goal: Sequence[float] | None = None,
        goal_body: str | None = None,
        size: tuple[int, int] = (480, 480),
        subframes: int = 3,
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield frames ``[height, width, 3]`` (sRGB) of ``states[T, D]``, one at a time."""
        ...
