"""A component's inputs as its annotations want them. Light to import: worker processes need it too."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentflow.core.errors import InvalidInputError
from agentflow.core.registry import ScorerSpec, ToolSpec
from agentflow.worldmodel.contract import Rollout


def typed_inputs(spec: ToolSpec | ScorerSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs as the function's annotations want them.

    Raises:
        InvalidInputError: an unknown, missing or unfitting input; names the component and the input.
    """
    for name in given:
        if name not in spec.inputs:
            raise InvalidInputError(spec.name, f"unknown input '{name}'", ", ".join(spec.inputs))
    typed: dict[str, Any] = {}
    validators = spec.validators
    for name, parameter in spec.inputs.items():
        if name not in given:
            if parameter.default is inspect.Parameter.empty:
                raise InvalidInputError(f"{spec.name}.{name}", "nothing", "a value: it has no default")
            typed[name] = parameter.default
            continue
        value, validator = given[name], validators[name]
        plain = validator is None or isinstance(value, Rollout)
        typed[name] = value if plain else _typed(spec, name, validator, value)
    return typed


def _typed(spec: ToolSpec | ScorerSpec, name: str, validator: TypeAdapter[Any] | None, value: Any) -> Any:
    try:
        return value if validator is None else validator.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([spec.name, name, *(str(part) for part in first["loc"])])
        raise InvalidInputError(where, repr(first.get("input"))[:80], first["msg"]) from error
