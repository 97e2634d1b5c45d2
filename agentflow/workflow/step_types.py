"""What expressions read at each place of a workflow, with the type of each thing that is known before a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentflow.core.amounts import DIMENSIONS
from agentflow.core.errors import PluginError
from agentflow.core.registry import Registry
from agentflow.workflow.calls import MAX_CALLS
from agentflow.workflow.expressions import Expr, parse_expr, parse_template
from agentflow.workflow.fitting import Misfit, misfit, type_of_value
from agentflow.workflow.schema import FileSpec
from agentflow.workflow.steps import Evaluate, Step
from agentflow.workflow.type_hints import type_of_hint
from agentflow.workflow.types import ANY, BOOL, DOUBLE, INT, STRING, Type, either, list_of, map_of

STEP_FIELDS = ("output", "status", "ok", "skipped", "error", "usage")
"""What expressions may read of an earlier step; of a ``foreach`` also ``results``."""
Scope = Mapping[str, Type]

_AMOUNTS = map_of({**dict.fromkeys(DIMENSIONS, INT), "usd": DOUBLE, "gpu_seconds": DOUBLE})
_FIGURES: Scope = {
    "run": map_of({"id": STRING, "seed": INT, "spent": _AMOUNTS}),
    "budget": map_of({"cap": _AMOUNTS, "left": _AMOUNTS}),
}


@dataclass
class StepTypes:
    """The types of all steps of a file, each worked out once. Without a registry, those of tools are not known."""

    spec: FileSpec
    registry: Registry | None = None
    _scopes: dict[str, Scope] = field(default_factory=dict)
    _outputs: dict[str, Type] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def scope(self, name: str) -> Scope:
        """Return what expressions of a workflow start from; ``steps`` holds all of its steps."""
        if name not in self._scopes:
            workflow = self.spec.workflows[name]
            inputs = {each: spec.to_type() for each, spec in workflow.inputs.items()}
            steps: dict[str, Type] = {}
            scope: Scope = {"inputs": map_of(inputs), "steps": Type("map", fields=steps), **_FIGURES}
            self._scopes[name] = scope
            self._open.append(name)
            for step in workflow.steps:
                steps[step.id] = self._step(step, scope)
            self._open.pop()
        return self._scopes[name]

    def outputs(self, name: str) -> Type:
        """Return the type of what a workflow gives back; ``ANY`` within a circle of workflows, or too deep in."""
        if name in self._open or len(self._open) > MAX_CALLS or name not in self.spec.workflows:
            return ANY
        if name not in self._outputs:
            workflow, scope = self.spec.workflows[name], self.scope(name)
            self._outputs[name] = map_of(
                {
                    each: output.type.to_type() if output.type else type_of(output.value, scope)
                    for each, output in workflow.outputs.items()
                }
            )
        return self._outputs[name]

    def item(self, step: Step, scope: Scope) -> Scope:
        """Return the scope within a step: with the item of its ``foreach``."""
        if step.foreach is None:
            return scope
        items = type_of_text(step.foreach.in_, scope)
        return {**scope, step.foreach.as_: (items.item or ANY) if items.kind == "list" else ANY}

    def body(self, step: Step, scope: Scope) -> Type:
        """Return the type of a step's output; of a ``foreach``, that of one item's."""
        if step.use is not None:
            return self._tool(step)
        if step.agent is not None:
            return step.agent.output.to_type()
        if step.approval is not None:
            answers = {name: spec.to_type() for name, spec in step.approval.answers.items()}
            return map_of({"decision": STRING, "by": STRING, "comment": STRING, "answers": map_of(answers)})
        if step.evaluate is not None:
            return self.evaluated(step.evaluate, scope)
        return self.outputs(step.workflow or "")

    def _tool(self, step: Step) -> Type:
        if step.output is not None:
            return step.output.to_type()
        return self.returned(step.use or "")

    def returned(self, tool: str) -> Type:
        """Return the type of what a tool gives back, as it is annotated."""
        if self.registry is None or tool not in self.registry.tools:
            return ANY
        try:
            return type_of_hint(self.registry.tools.get(tool).hints.get("return", Any))
        except PluginError:  # told where the tool is named
            return ANY

    def evaluated(self, evaluate: Evaluate, scope: Scope) -> Type:
        """Return the type of what an ``evaluate`` gives back."""
        best = self.best(evaluate, scope)
        return map_of({"best": best, "selected": list_of(best), "scored": INT, "unscored": list_of(STRING)})

    def best(self, evaluate: Evaluate, scope: Scope) -> Type:
        """Return the type of a scored item: its own fields, its index and its scores."""
        items = type_of_text(evaluate.over, scope)
        item = (items.item or ANY) if items.kind == "list" else ANY
        if item.kind == "map" and {"status", "output", "index"} <= set(item.fields):
            item = item.fields["output"].sure()
        scores = {"index": INT, **dict.fromkeys(evaluate.scorers, DOUBLE)}
        if item.kind == "any":
            return map_of(scores, ANY)
        if item.kind == "map":
            return map_of({**item.fields, **scores}, item.value)
        return map_of({"output": item, **scores})

    def _step(self, step: Step, scope: Scope) -> Type:
        inner = self.body(step, self.item(step, scope))
        each = {
            "status": STRING, "ok": BOOL, "skipped": BOOL, "error": STRING.or_null(), "error_kind": STRING.or_null(),
            "usage": map_of(dict.fromkeys(DIMENSIONS, INT)),
        }  # fmt: skip
        if step.foreach is None:
            return map_of({**each, "output": inner.or_null() if step.if_ else inner})
        result = map_of({**each, "index": INT, "item_digest": STRING, "output": inner.or_null()})
        return map_of({**each, "output": map_of({"count": INT, "ok": INT}), "results": list_of(result)})


def type_of(value: Any, scope: Scope) -> Type:
    """Return the type of a value of the file once every ``${{ … }}`` in it is replaced."""
    if isinstance(value, str):
        return _type_of_template(value, scope) if "${{" in value else STRING
    if isinstance(value, Mapping):
        return map_of({str(name): type_of(item, scope) for name, item in value.items()})
    if isinstance(value, list | tuple):
        return list_of(either(type_of(item, scope) for item in value))
    return type_of_value(value)


def misfit_of_value(value: Any, wanted: Type, scope: Scope, path: str = "") -> Misfit | None:
    """Return why a value of the file, with expressions in it, can never pass for ``wanted``."""
    if wanted.kind == "list" and isinstance(value, list | tuple):
        inside = [(f"{path}[{index}]", item, wanted.item) for index, item in enumerate(value)]
        whole = list_of()
    elif wanted.kind == "map" and isinstance(value, Mapping):
        inside = [
            (f"{path}.{key}", item, wanted.fields.get(key, wanted.value)) for key, item in value.items()
        ]
        whole = map_of(dict.fromkeys(value, ANY))
    else:
        return None if wanted.kind == "any" else misfit(type_of(value, scope), wanted, path)
    for at, item, declared in inside:
        found = misfit_of_value(item, declared or ANY, scope, at)
        if found is not None:
            return found
    return misfit(whole, wanted, path)


def _type_of_template(text: str, scope: Scope) -> Type:
    template, _ = parse_template(text)
    if template is None:
        return ANY
    return STRING if template.whole is None else type_of_expr(template.whole, scope)


def type_of_text(text: str, scope: Scope) -> Type:
    """Return the type of a bare expression; ``ANY`` where it is not known."""
    expr, _ = parse_expr(text)
    return ANY if expr is None else type_of_expr(expr, scope)


def type_of_expr(expr: Expr, scope: Scope) -> Type:
    """Return the type of what an expression gives; ``ANY`` where it is not known."""
    return expr.static_type(scope)[0]
