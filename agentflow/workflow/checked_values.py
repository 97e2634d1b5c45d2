"""`check_value`: a value that a run was given, made or told, held to its declared type."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from agentflow.core.errors import InvalidInputError, listed, nearest
from agentflow.workflow.expressions import type_name
from agentflow.workflow.fields import shown
from agentflow.workflow.positions import MAX_DEPTH
from agentflow.workflow.types import Limits, Type, described

_FORMS: dict[str, tuple[type, ...]] = {
    "string": (str,), "int": (int,), "double": (int, float), "number": (int, float), "bool": (bool,),
    "list": (list,), "map": (dict,), "null": (type(None),),
}  # fmt: skip
_JSON = "finite numbers, text, true, false, null, lists and mappings with text keys"


def check_value(value: Any, declared: Type, where: str) -> Any:
    """Return ``value`` as its type wants it: numbers as floats, defaults in place of what was left out.

    Args:
        value: a JSON value.
        declared: its type.
        where: what the value is, for errors, such as ``input 'scene'``.

    Raises:
        InvalidInputError: it does not fit; names the path inside it, what was found and what is allowed.
    """
    found = _not_json(value)
    if found:
        raise InvalidInputError(where, found, _JSON)
    return _checked(value, declared, where, "")


def _checked(value: Any, declared: Type, where: str, path: str) -> Any:
    _check_form(value, declared, f"{where}, at {path.lstrip('.')}" if path else where)
    if value is None or declared.kind == "any":
        return value
    if declared.kind == "double":
        return float(value)
    if declared.kind == "list" and declared.item is not None:
        return [_checked(item, declared.item, where, f"{path}[{index}]") for index, item in enumerate(value)]
    return _checked_map(value, declared, where, path) if declared.kind == "map" else value


def _check_form(value: Any, declared: Type, at: str) -> None:
    if declared.kind == "any" or (value is None and declared.nullable):
        return
    if not isinstance(value, _FORMS[declared.kind]) or (isinstance(value, bool) and declared.kind != "bool"):
        plain = value is None or isinstance(value, dict | list)
        found = shown(value) if plain else f"{shown(value)} ({type_name(value)})"
        raise InvalidInputError(at, found, described(declared))
    if declared.limits is not None:
        _check_limits(value, declared.limits, at)


def _checked_map(value: Mapping[str, Any], declared: Type, where: str, path: str) -> dict[str, Any]:
    at = f"{where}, at {path.lstrip('.')}" if path else where
    known = listed(declared.fields)
    missing = next((n for n in declared.fields if n not in value and n not in declared.optional), None)
    if missing is not None:
        raise InvalidInputError(at, f"no '{missing}'", f"{described(declared)} with {known}")
    checked: dict[str, Any] = {}
    for name, item in value.items():
        inner = declared.fields.get(name, declared.value)
        if inner is None and declared.strict:
            raise InvalidInputError(at, f"the key {shown(name)}{_hint(name, declared)}", known)
        checked[name] = item if inner is None else _checked(item, inner, where, f"{path}.{name}")
    for name, default in declared.defaults.items():
        if name not in checked:
            checked[name] = _checked(copy.deepcopy(default), declared.fields[name], where, f"{path}.{name}")
    return checked


def _hint(name: str, declared: Type) -> str:
    hint = nearest(name, declared.fields).strip()
    return f" ({hint})" if hint else ""


def _check_limits(value: Any, limits: Limits, at: str) -> None:
    if limits.enum is not None and value not in limits.enum:
        raise InvalidInputError(at, shown(value), "one of " + listed(shown(item) for item in limits.enum))
    if limits.minimum is not None and value < limits.minimum:
        raise InvalidInputError(at, shown(value), f"at least {limits.minimum:.15g}")
    if limits.maximum is not None and value > limits.maximum:
        raise InvalidInputError(at, shown(value), f"at most {limits.maximum:.15g}")
    unit = "characters" if isinstance(value, str) else "items"
    if limits.min_length is not None and len(value) < limits.min_length:
        raise InvalidInputError(at, f"{len(value)} {unit}", f"at least {limits.min_length} {unit}")
    if limits.max_length is not None and len(value) > limits.max_length:
        raise InvalidInputError(at, f"{len(value)} {unit}", f"at most {limits.max_length} {unit}")


def _not_json(value: Any, depth: int = 0) -> str:
    """Return what in ``value`` JSON cannot hold, or an empty text."""
    if depth > MAX_DEPTH:
        return f"values nested deeper than {MAX_DEPTH}"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value}, which is not finite"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a whole number beyond 64 bits"
    if isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, str)), None)
        if odd is not None:
            return f"the key {odd!r}"
        return next((flaw for item in value.values() if (flaw := _not_json(item, depth + 1))), "")
    if isinstance(value, list):
        return next((flaw for item in value if (flaw := _not_json(item, depth + 1))), "")
    return "" if value is None or isinstance(value, str | int) else type_name(value)
