"""`Report`: where the checks of a file note what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentflow.workflow.expressions import Flaw
from agentflow.workflow.positions import Document, KeyPath, Problems


@dataclass
class Report:
    """Mistakes with their places. ``broken`` are paths that the schema has already refused."""

    document: Document
    problems: Problems
    broken: frozenset[KeyPath] = frozenset()
    secrets: Mapping[str, str] | None = None
    """What is set; None when secrets are not to be checked."""
    expression_parts: int = 0
    """Names, numbers and signs of expressions that were read so far."""

    def add(self, path: KeyPath, message: str, *, key: bool = False) -> None:
        """Note a mistake at a value, or at its key."""
        self.problems.add(self.document.position(path, key=key), message)

    def add_inside(self, path: KeyPath, flaw: Flaw) -> None:
        """Note a mistake at a character of a text value."""
        self.problems.add(self.document.inside(path, flaw.offset), flaw.message)
