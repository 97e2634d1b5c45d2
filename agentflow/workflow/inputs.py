"""The inputs of a run: what was given, checked against what the workflow declares."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from agentflow.core.errors import InvalidInputError, nearest
from agentflow.workflow.expressions import type_name
from agentflow.workflow.fields import shown
from agentflow.workflow.positions import MAX_DEPTH
from agentflow.workflow.schema import InputSpec, Workflow

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}


def resolve_inputs(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all inputs of a run: those given, checked, and the defaults of the others.

    An input of type ``number`` becomes a float, so that expressions over it do not depend on how it
    was written.

    Raises:
        InvalidInputError: a name that the workflow does not have, one that is missing, or a value that
            does not fit; the first one found.
    """
    for name in given:
        if name not in workflow.inputs:
            known = ", ".join(workflow.inputs) or "none"
            hint = nearest(str(name)[:60], workflow.inputs).strip()
            found = f"a name that the workflow does not have{f' ({hint})' if hint else ''}"
            raise InvalidInputError(f"input '{str(name)[:60]}'", found, known)
    values = {}
    for name, spec in workflow.inputs.items():
        if name not in given:
            if spec.required:
                raise InvalidInputError(
                    f"input '{name}'", "nothing", f"{_WORDS[spec.type]}; it has no default"
                )
            values[name] = _settled(spec, copy.deepcopy(spec.default))
            continue
        mismatch = value_mismatch(spec, given[name])
        if mismatch:
            raise InvalidInputError(f"input '{name}'", *mismatch)
        values[name] = _settled(spec, given[name])
    return values


def _settled(spec: InputSpec, value: Any) -> Any:
    return float(value) if spec.type == "number" and value is not None else value


def value_mismatch(spec: InputSpec, value: Any) -> tuple[str, str] | None:
    """Return what was found and what is allowed when ``value`` does not fit, else None."""
    if value is None and not spec.required and spec.default is None:
        return None
    if not isinstance(value, _TYPES[spec.type]) or (isinstance(value, bool) and spec.type != "boolean"):
        found = "nothing" if value is None else f"{shown(value)} ({type_name(value)})"
        return found, _WORDS[spec.type]
    flaw = _not_json(value)
    if flaw:
        return flaw, "finite numbers, text, true, false, null, lists and mappings with text keys"
    return _out_of_range(spec, value)


def _out_of_range(spec: InputSpec, value: Any) -> tuple[str, str] | None:
    if spec.enum is not None and value not in spec.enum:
        return shown(value), "one of " + ", ".join(shown(item) for item in spec.enum)
    if spec.minimum is not None and value < spec.minimum:
        return shown(value), f"at least {spec.minimum:g}"
    if spec.maximum is not None and value > spec.maximum:
        return shown(value), f"at most {spec.maximum:g}"
    if spec.max_length is not None and len(value) > spec.max_length:
        unit = "characters" if spec.type == "string" else "items"
        return f"{len(value)} {unit}", f"at most {spec.max_length} {unit}"
    return None


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
