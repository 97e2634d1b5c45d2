"""The worlds that can be opened by name. Nothing here loads torch before a world is opened."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from agentflow.core import plugins
from agentflow.core.errors import MissingExtraError, UnknownNameError

_WORLDS = {"tabletop": "agentflow.worldmodel.worlds.tabletop.world:TabletopWorld"}
_SIMULATORS = {"tabletop": "agentflow.worldmodel.worlds.tabletop.simulator:TabletopSimulator"}


def names() -> list[str]:
    """Return the names of all worlds, those of other distributions included."""
    return sorted({*_WORLDS, *plugins.offered(plugins.WORLDS)})


def open_world(name: str, *, device: str = "auto", weights: Path | None = None) -> Any:
    """Open a learned world; one of another distribution is called with ``device`` and, where given, ``folder``.

    Raises:
        UnknownNameError: no world has this name.
        MissingExtraError: torch or another package of the extra ``worlds`` is not installed.
        WeightsError: its weights are missing, corrupt or not the card's.
        PluginError: another distribution offers it, and it cannot be imported.
    """
    options: dict[str, Any] = {"device": device}
    if weights is not None:
        options["folder"] = weights
    plugin = plugins.offered(plugins.WORLDS).get(name)
    make = plugin.load() if plugin else _load("world", name, _WORLDS)
    return make(**options)


def open_simulator(name: str) -> Any:
    """Open a world's true simulator; another distribution's world names its own as the attribute ``simulator``.

    Raises:
        UnknownNameError: there is none of this name.
        MissingExtraError: its engine is not installed.
        PluginError: another distribution offers it, and it cannot be imported.
    """
    plugin = plugins.offered(plugins.WORLDS).get(name)
    if plugin is not None and (make := getattr(plugin.load(), "simulator", None)) is not None:
        return make()
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
