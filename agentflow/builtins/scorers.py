"""Scorers in the box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentflow.core.records import Score, Subject
from agentflow.core.registry import scorer


@scorer(lower_is_better=False)
def field_value(subject: Subject, path: str) -> Score:
    """Score a number that stands in the value itself, under a dotted path."""
    found: Any = subject.value
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return Score.unscored(f"there is no '{path}'")
        found = found[part]
    if isinstance(found, bool) or not isinstance(found, int | float):
        return Score.unscored(f"'{path}' is no number")
    return Score(value=float(found))
