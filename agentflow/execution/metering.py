"""A world as a tool is given it: every prediction is timed, booked, and stopped at the call's hold."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentflow.core.amounts import Amounts
from agentflow.core.errors import StepFailedError
from agentflow.core.protocols import Meter
from agentflow.worldmodel.contract import Floats, Rollout, WorldModel


class CallMeter(Meter):
    """The meter of one call, which refuses everything once the call was cut off."""

    def require(self, amounts: Amounts) -> None:
        """Refuse amounts that do not fit into what is left, and everything once the call was cut off.

        Raises:
            BudgetExceededError: they do not fit; nothing was charged.
            StepFailedError: the call was cut off.
        """
        if self.cut_off:
            raise StepFailedError(self.scope, "it was cut off")
        super().require(amounts)


class MeteredWorld:
    """A world whose device time and frames are charged to one call's meter.

    A prediction is stopped between two of its steps when the hold is used up, so it can pass the hold by no
    more than one step of the model. A world with prices of its own (``gpu_ms_per_predict``, ``gpu_ms_per_frame``) is
    charged those instead of the time that it takes.
    """

    def __init__(self, world: Any, meter: Meter) -> None:
        self._world, self._meter = world, meter
        self.name, self.entities = world.name, world.entities
        self.state_space, self.action_space = world.state_space, world.action_space

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def predict(self, state: Floats, actions: Floats, *, stop: Callable[[], None] | None = None) -> Rollout:
        """Predict as the world does, within the hold.

        Raises:
            BudgetExceededError: the hold was used up on the way.
        """
        begin = time.perf_counter()
        learned = self._world.card().get("kind") != "simulator"
        price = getattr(self._world, "gpu_ms_per_predict", None)

        def used() -> Amounts:
            return Amounts(gpu_ms=0 if not learned else _milliseconds(begin) if price is None else price)

        def watch() -> None:
            if stop is not None:
                stop()
            self._meter.require(used())

        try:
            rollout: Rollout = self._world.predict(state, actions, stop=watch)
            return rollout
        finally:
            self._meter.charge(used())

    def render(self, states: Floats, **options: Any) -> Iterator[NDArray[np.uint8]]:
        """Draw as the world does; each frame is charged before it is handed on, and refused beyond the hold."""
        begin = time.perf_counter()
        frames = self._world.render(states, **options)
        price = getattr(self._world, "gpu_ms_per_frame", None)
        for frame in frames:
            took = _milliseconds(begin) if price is None else price
            self._meter.require(Amounts(frames=1))
            self._meter.charge(Amounts(frames=1, gpu_ms=took))
            yield frame
            begin = time.perf_counter()


def _milliseconds(begin: float) -> int:
    return math.ceil((time.perf_counter() - begin) * 1e3)


def metered(world: WorldModel, meter: Meter) -> Any:
    """Return ``world`` as a call may use it."""
    return MeteredWorld(world, meter)
