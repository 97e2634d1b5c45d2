"""What other distributions offer by entry points: found at once, imported only when it is named.

An entry point's name is the component's name (``crane.lift = acme_crane.tools:lift``); one that leads to a module
(``crane = acme_crane.tools``) offers every component of that module as ``crane.<function>``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agentflow.core.errors import PluginError

TOOLS = "agentflow.tools"
GUARDRAILS = "agentflow.guardrails"
SCORERS = "agentflow.scorers"
WORLDS = "agentflow.worlds"


@dataclass(frozen=True)
class Plugin:
    """One entry point, or several of the same name, of which none can be taken."""

    group: str
    name: str
    entries: tuple[EntryPoint, ...]

    def load(self) -> Any:
        """Import what the entry point leads to.

        Raises:
            PluginError: it cannot be imported, or several distributions offer this name.
        """
        if len(self.entries) > 1:
            raise self.error("several distributions offer this name")
        try:
            return self.entries[0].load()
        except (Exception, SystemExit) as error:
            raise self.error(f"{type(error).__name__}: {error}") from error

    def error(self, reason: str) -> PluginError:
        """Return the error that says why this plug-in cannot be used."""
        owners = [
            f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value for entry in self.entries
        ]
        return PluginError(self.group, self.name, self.entries[0].value, owners, reason)


def offered(group: str) -> Mapping[str, Plugin]:
    """Return the plug-ins of a group by name; nothing of them is imported."""
    return _found(tuple(sys.path)).get(group, {})


@lru_cache(maxsize=4)
def _found(path: tuple[str, ...]) -> Mapping[str, Mapping[str, Plugin]]:
    """Return the plug-ins that lie on a path, by group and name."""
    everything = entry_points()
    found: dict[str, dict[str, Plugin]] = defaultdict(dict)
    for group in (TOOLS, GUARDRAILS, SCORERS, WORLDS):
        same: dict[str, list[EntryPoint]] = defaultdict(list)
        for entry in everything.select(group=group):
            same[entry.name].append(entry)
        for name, entries in sorted(same.items()):
            found[group][name] = Plugin(group, name, tuple(entries))
    return dict(found)
