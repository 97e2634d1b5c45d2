"""The types that a file declares under ``types``, put in wherever the file names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentflow.core.errors import listed, nearest
from agentflow.workflow.positions import KeyPath
from agentflow.workflow.report import Report
from agentflow.workflow.schema import FileSpec, Workflow
from agentflow.workflow.steps import Step
from agentflow.workflow.type_hints import GIVEN_TYPES
from agentflow.workflow.type_specs import PLAIN_TYPES, TypeSpec

MAX_SIZE = 2_000
"""Types inside one type, each counted as often as it stands there when all names are written out."""
MAX_NAMES = 16
"""Named types inside one another."""

_UNKNOWN = TypeSpec(type="any")
_Sized = tuple[TypeSpec, int]


def with_types_put_in(spec: FileSpec, report: Report) -> FileSpec:
    """Return the file with every named type replaced by its definition; unknown, endless and huge ones are noted."""
    names = _Names(spec.types, report)
    own = {name: names.definition(name)[0] for name in spec.types}
    workflows = {
        name: each if ("workflows", name) in report.broken else _workflow(each, ("workflows", name), names)
        for name, each in spec.workflows.items()
    }
    return spec.model_copy(update={"types": own, "workflows": workflows})


class _Names:
    """Looks names up, each definition once."""

    def __init__(self, specs: Mapping[str, TypeSpec], report: Report) -> None:
        self.specs, self.report = specs, report
        self.done: dict[str, _Sized] = {}
        self.open: list[str] = []

    def definition(self, name: str) -> _Sized:
        if name not in self.done:
            self.open.append(name)
            self.done[name] = self._sized(self.specs[name], ("types", name))
            self.open.pop()
        return self.done[name]

    def put_in(self, spec: TypeSpec | None, path: KeyPath) -> TypeSpec | None:
        """Return a type in which no name is left to be looked up."""
        return None if spec is None else self._sized(spec, path)[0]

    def all_put_in(self, specs: Mapping[str, TypeSpec], path: KeyPath) -> dict[str, TypeSpec]:
        """Return several types, by their names, as `put_in` does."""
        return {name: self._sized(spec, (*path, name))[0] for name, spec in specs.items()}

    def _sized(self, spec: TypeSpec, path: KeyPath) -> _Sized:
        if spec.named:
            return self._looked_up(spec, path)
        size = 1
        changed: dict[str, Any] = {}
        for key in ("items", "values"):
            inner: TypeSpec | None = getattr(spec, key)
            if inner is not None:
                changed[key], inside = self._sized(inner, (*path, key))
                size += inside
        if spec.fields:
            sized = {name: self._sized(each, (*path, "fields", name)) for name, each in spec.fields.items()}
            changed["fields"] = {name: each for name, (each, _) in sized.items()}
            size += sum(inside for _, inside in sized.values())
        if size > MAX_SIZE:
            self.report.add(
                path,
                f"this type is too large: with all names written out it holds more than {MAX_SIZE} others.",
            )
            return _UNKNOWN, 1
        return (spec.model_copy(update=changed) if changed else spec), size

    def _looked_up(self, spec: TypeSpec, path: KeyPath) -> _Sized:
        name, at = spec.type, (*path, "type")
        if name not in self.specs:
            hint = nearest(name, [*self.specs, *GIVEN_TYPES, *PLAIN_TYPES])
            known = f"Declared under `types`: {listed(self.specs)}."
            self.report.add(at, f"unknown type '{name[:60]}'.{hint} {known}")
            return _UNKNOWN, 1
        if name in self.open:
            circle = [*self.open[self.open.index(name) :], name]
            self.report.add(at, f"these types hold one another without end: {' → '.join(circle)}.")
            return _UNKNOWN, 1
        if len(self.open) >= MAX_NAMES:
            self.report.add(at, f"more than {MAX_NAMES} types inside one another.")
            return _UNKNOWN, 1
        definition, size = self.definition(name)
        return definition.settled(spec, name), size


def _workflow(workflow: Workflow, path: KeyPath, names: _Names) -> Workflow:
    outputs = {
        name: each.model_copy(update={"type": names.put_in(each.type, (*path, "outputs", name, "type"))})
        if each.type
        else each
        for name, each in workflow.outputs.items()
    }
    steps = tuple(_step(step, (*path, "steps", index), names) for index, step in enumerate(workflow.steps))
    inputs = names.all_put_in(workflow.inputs, (*path, "inputs"))
    return workflow.model_copy(update={"inputs": inputs, "outputs": outputs, "steps": steps})


def _step(step: Step, path: KeyPath, names: _Names) -> Step:
    changed: dict[str, Any] = {}
    if step.output is not None:
        changed["output"] = names.put_in(step.output, (*path, "output"))
    if step.agent is not None:
        output = names.put_in(step.agent.output, (*path, "agent", "output"))
        changed["agent"] = step.agent.model_copy(update={"output": output})
    if step.approval is not None and step.approval.answers:
        answers = names.all_put_in(step.approval.answers, (*path, "approval", "answers"))
        changed["approval"] = step.approval.model_copy(update={"answers": answers})
    return step.model_copy(update=changed) if changed else step
