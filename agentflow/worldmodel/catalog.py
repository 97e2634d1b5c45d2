"""The worlds that can be opened by name. Nothing here loads torch before a world is opened."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from agentflow.core.errors import MissingExtraError, UnknownNameError

ENTRY_POINTS = "agentflow.worlds"
_WORLDS = {"tabletop": "agentflow.worldmodel.worlds.tabletop.world:TabletopWorld"}
_SIMULATORS = {"tabletop": "agentflow.worldmodel.worlds.tabletop.simulator:TabletopSimulator"}


def names() -> list[str]:
    """Return the names of all worlds, those of other distributions included."""
    return sorted({*_WORLDS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})


def open_world(name: str, *, device: str = "auto", weights: Path | None = None) -> Any:
    """Open a learned world.

    Raises:
        UnknownNameError: no world has this name.
        MissingExtraError: torch or another package of the extra ``worlds`` is not installed.
        WeightsError: its weights are missing, corrupt or not the card's.
    """
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            return entry.load()(device=device)
    options: dict[str, Any] = {"device": device}
    if weights is not None:
        options["folder"] = weights
    return _load("world", name, _WORLDS)(**options)


def open_simulator(name: str) -> Any:
    """Open a world's true simulator.

    Raises:
        UnknownNameError: there is none of this name.
        MissingExtraError: its engine is not installed.
    """
    return _load("simulator", name, _SIMULATORS)()


def _load(what: str, name: str, known: dict[str, str]) -> Any:
    if name not in known:
        raise UnknownNameError(what, name, known)
    # threads that spin while they wait cost more than they win as soon as anything else runs on the machine
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    module, _, attribute = known[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("agentflow"):
            raise
        raise MissingExtraError(f"the {what} '{name}'", "worlds", error.name or "torch") from error
