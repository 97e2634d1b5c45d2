"""`json_schema_of`: a declared type as JSON Schema, for a language model's answer or a form."""

from __future__ import annotations

from typing import Any

from agentflow.workflow.types import Type

_NAMES = {
    "null": "null", "bool": "boolean", "int": "integer", "double": "number", "number": "number", "string": "string",
    "list": "array", "map": "object",
}  # fmt: skip


def json_schema_of(declared: Type) -> dict[str, Any]:
    """Return the JSON schema of the values that fit a type."""
    if declared.kind == "any":
        return {}
    schema: dict[str, Any] = {"type": _NAMES[declared.kind]}
    if declared.kind == "list" and declared.item is not None:
        schema["items"] = json_schema_of(declared.item)
    if declared.kind == "map":
        schema |= _map_schema(declared)
    schema |= _limits(declared)
    if declared.name:
        schema["title"] = declared.name
    return {"anyOf": [schema, {"type": "null"}]} if declared.nullable else schema


def _map_schema(declared: Type) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "properties": {name: json_schema_of(inner) for name, inner in declared.fields.items()},
        "required": [name for name in declared.fields if name not in declared.optional],
    }
    schema["additionalProperties"] = False if declared.value is None else json_schema_of(declared.value)
    for name, default in declared.defaults.items():
        schema["properties"][name]["default"] = default
    return schema


def _limits(declared: Type) -> dict[str, Any]:
    if declared.limits is None:
        return {}
    of_lists = declared.kind == "list"
    said = {
        "minimum": declared.limits.minimum,
        "maximum": declared.limits.maximum,
        "minItems" if of_lists else "minLength": declared.limits.min_length,
        "maxItems" if of_lists else "maxLength": declared.limits.max_length,
        "enum": None if declared.limits.enum is None else list(declared.limits.enum),
    }
    return {key: value for key, value in said.items() if value is not None}
