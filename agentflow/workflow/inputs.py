"""The inputs and outputs of a run and the answers of an approval, held to what the workflow declares."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from agentflow.core.errors import InvalidInputError, listed, nearest
from agentflow.workflow.checked_values import check_value
from agentflow.workflow.schema import Workflow
from agentflow.workflow.steps import Approval
from agentflow.workflow.type_specs import TypeSpec
from agentflow.workflow.types import described


def resolve_inputs(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all inputs of a run: those given, checked, and the defaults of the others; see `resolve_values`."""
    return resolve_values(workflow.inputs, given, what="input", owner="the workflow")


def resolve_values(
    declared: Mapping[str, TypeSpec], given: Mapping[str, Any], *, what: str, owner: str
) -> dict[str, Any]:
    """Return the values of all declared names: those given, checked, and the defaults of the others.

    A value of type ``number`` becomes a float, so that expressions over it do not depend on how it was
    written.

    Args:
        declared: the types, by name; all names of types looked up.
        given: the values.
        what: what a value is called, such as ``input``.
        owner: who declares them.

    Raises:
        InvalidInputError: a name that is not declared, one that is missing, or a value that does not fit; the
            first one found.
    """
    for name in given:
        if name not in declared:
            hint = nearest(str(name), declared).strip()
            found = f"a name that {owner} does not have{f' ({hint})' if hint else ''}"
            raise InvalidInputError(f"{what} '{str(name)[:60]}'", found, listed(declared))
    values = {}
    for name, spec in declared.items():
        where = f"{what} '{name}'"
        if name not in given and spec.required:
            raise InvalidInputError(where, "nothing", f"{described(spec.to_type())}; it has no default")
        value = given[name] if name in given else copy.deepcopy(spec.default)
        values[name] = check_value(value, spec.to_type(), where)
    return values


def resolve_answers(approval: Approval, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers to an approval: those given, checked, and the defaults of the others; see `resolve_values`."""
    return resolve_values(approval.answers, given, what="answer", owner="the approval")


def checked_outputs(workflow: Workflow, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's outputs as their declared types want them; ``values`` are JSON, with nothing left to replace.

    Raises:
        InvalidInputError: one does not fit its type; names the output and the path inside it.
    """
    return {
        name: check_value(values[name], output.type.to_type(), f"output '{name}'")
        if output.type
        else values[name]
        for name, output in workflow.outputs.items()
    }
