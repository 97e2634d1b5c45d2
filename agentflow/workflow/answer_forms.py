"""`answer_form`: a declared type as what a language model is asked for, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from agentflow.workflow.checked_values import check_value
from agentflow.workflow.type_schema import json_schema_of
from agentflow.workflow.type_specs import TypeSpec
from agentflow.workflow.types import Type, map_of

WHERE = "your answer"
"""What an answer is called in the message that its model gets."""
_ALONE = "answer"


@dataclass(frozen=True)
class AnswerForm:
    """The JSON schema of an answer, None where it is text; ``read`` returns the value, or raises what is wrong."""

    schema: dict[str, Any] | None
    read: Callable[[Any], Any]


def answer_form(spec: TypeSpec) -> AnswerForm:
    """Return what a model is asked for: an object as it is, text as text, anything else as an object's one field."""
    declared = spec.to_type()
    if _is_text(declared):
        return AnswerForm(None, lambda text: check_value(text, declared, WHERE))
    schema = _described(json_schema_of(declared), spec)
    if declared.kind == "map" and not declared.nullable:
        return AnswerForm(schema, lambda value: check_value(value, declared, WHERE))
    wrapped = replace(map_of({_ALONE: declared}), strict=True)
    schema = json_schema_of(wrapped) | {"properties": {_ALONE: schema}}
    return AnswerForm(schema, lambda value: check_value(value, wrapped, WHERE)[_ALONE])


def _is_text(declared: Type) -> bool:
    free = declared.limits is None or declared.limits.enum is None
    return declared.kind == "string" and free and not declared.nullable


def _described(schema: dict[str, Any], spec: TypeSpec) -> dict[str, Any]:
    """Return a type's schema with what the file says of it and of its parts, which a model reads."""
    if "anyOf" in schema:
        first, *others = schema["anyOf"]
        return {"anyOf": [_described(first, spec), *others]}
    changed: dict[str, Any] = {"description": spec.description} if spec.description else {}
    if spec.items is not None:
        changed["items"] = _described(schema["items"], spec.items)
    if spec.fields is not None:
        inner = {name: _described(schema["properties"][name], each) for name, each in spec.fields.items()}
        changed["properties"] = inner
    if spec.values is not None:
        changed["additionalProperties"] = _described(schema["additionalProperties"], spec.values)
    return {**schema, **changed}
