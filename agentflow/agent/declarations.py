"""Tools as a language model is told of them. Light to import: the check of a file needs it too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from agentflow.core.errors import InvalidInputError
from agentflow.core.registry import ToolSpec


def by_wire_name(tools: Iterable[ToolSpec]) -> Mapping[str, ToolSpec]:
    """Return tools by the names that endpoints take, which have no dot.

    Raises:
        InvalidInputError: two tools would be one to a model.
    """
    named: dict[str, ToolSpec] = {}
    for spec in tools:
        other = named.setdefault(spec.name.replace(".", "_"), spec)
        if other is not spec:
            raise InvalidInputError(
                "agent.tools", f"'{other.name}' and '{spec.name}', which a model cannot tell apart",
                "tools whose names differ in more than dots and underscores",
            )  # fmt: skip
    return named


def declaration(name: str, spec: ToolSpec) -> dict[str, Any]:
    """Return a tool as OpenAI-compatible endpoints want it declared.

    Raises:
        InvalidInputError: one of its inputs is nothing that a model could write.
    """
    properties = {key: _schema(spec, key) for key in spec.inputs}
    required = [key for key, parameter in spec.inputs.items() if parameter.default is parameter.empty]
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": spec.description,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }


def _schema(spec: ToolSpec, key: str) -> dict[str, Any]:
    try:
        return TypeAdapter(spec.hints.get(key, Any)).json_schema()
    except PydanticUserError as error:
        raise InvalidInputError(
            "agent.tools",
            f"'{spec.name}', whose input '{key}' no model can write",
            "tools whose inputs are JSON",
        ) from error
