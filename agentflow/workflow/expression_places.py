"""Every place of a file that holds expressions, and what they may read there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from agentflow.core.errors import InvalidInputError
from agentflow.workflow.checked_values import check_value
from agentflow.workflow.expressions import Roots
from agentflow.workflow.positions import KeyPath, texts_in
from agentflow.workflow.references import Place, check_bare, check_templates, unknown_step
from agentflow.workflow.report import Report
from agentflow.workflow.schema import FileSpec, Workflow
from agentflow.workflow.step_types import StepTypes
from agentflow.workflow.steps import Approval, Evaluate, GuardrailUse, Step
from agentflow.workflow.type_specs import TypeSpec
from agentflow.workflow.types import DOUBLE, list_of

_ALWAYS: Roots = frozenset({"inputs", "run", "budget"})
_STEPS: Roots = _ALWAYS | {"steps"}


def check_file_expressions(spec: FileSpec, report: Report, types: StepTypes) -> None:
    """Check every expression of a file, and every default."""
    outside = Place(frozenset({"secrets"}), {})
    for section in ("models", "worlds"):
        for name, entry in getattr(spec, section).items():
            check_templates(entry.model_dump(by_alias=True), (section, name), outside, report)
            key = getattr(entry, "api_key", None)
            if key is not None and "${{" not in key:
                message = 'a key never stands in a file. Write api_key: "${{ secrets.NAME }}".'
                report.add((section, name, "api_key"), message)
    for name, declared in spec.types.items():
        _check_default(declared, ("types", name), report)
    figures = Place(frozenset({"run", "budget", "secrets"}), {})
    _check_guardrails(spec.defaults.guardrails, ("defaults",), figures, report)
    for name, workflow in spec.workflows.items():
        if ("workflows", name) not in report.broken:
            _Walk(workflow, ("workflows", name), report, types).check()


def _check_default(declared: TypeSpec, path: KeyPath, report: Report) -> None:
    """Check a default, and those of the fields inside."""
    if path in report.broken:
        return
    for name, inner in (declared.fields or {}).items():
        _check_default(inner, (*path, "fields", name), report)
    if "default" not in declared.model_fields_set:
        return
    if any("${{" in text for _, text in texts_in(declared.default)):
        report.add((*path, "default"), "a default is a plain value; it cannot hold an expression.")
        return
    try:
        check_value(declared.default, declared.to_type(), "the default")
    except InvalidInputError as error:
        where = error.where.removeprefix("the default")
        report.add(
            (*path, "default"),
            f"the default does not fit{where}: found {error.found}; allowed: {error.allowed}.",
        )


def _check_guardrails(uses: Sequence[GuardrailUse], path: KeyPath, place: Place, report: Report) -> None:
    for index, use in enumerate(uses):
        check_templates(use.with_, (*path, "guardrails", index, "with"), place.with_secrets(), report)


@dataclass(frozen=True)
class _Walk:
    """Goes through one workflow."""

    workflow: Workflow
    path: KeyPath
    report: Report
    types: StepTypes

    def check(self) -> None:
        workflow, report = self.workflow, self.report
        for name, declared in workflow.inputs.items():
            _check_default(declared, (*self.path, "inputs", name), report)
        _check_guardrails(workflow.guardrails, self.path, Place(_ALWAYS, self._place.scope), report)
        ids = [step.id for step in workflow.steps]
        earlier: dict[str, Step] = {}
        place = replace(self._place, earlier=earlier)
        for index, step in enumerate(workflow.steps):
            here = (*self.path, "steps", index)
            if step.id in earlier:
                first = report.document.position((*self.path, "steps", ids.index(step.id), "id"))[0]
                message = f"the step id '{step.id}' stands here a second time; first on line {first}."
                report.add((*here, "id"), message)
            if here not in report.broken:
                self._step(step, here, place)
            earlier[step.id] = step
        values = {name: {"value": output.value} for name, output in workflow.outputs.items()}
        check_templates(values, (*self.path, "outputs"), place, report)

    @cached_property
    def _place(self) -> Place:
        name = str(self.path[-1])
        items = {step.foreach.as_: step.id for step in reversed(self.workflow.steps) if step.foreach}
        ids = frozenset(step.id for step in self.workflow.steps)
        return Place(_STEPS, self.types.scope(name), all_steps=ids, items=items)

    def _step(self, step: Step, path: KeyPath, place: Place) -> None:
        report = self.report
        if step.if_ is not None:
            check_bare(step.if_, (*path, "if"), place, report, "a condition")
        if step.foreach is not None:
            check_bare(step.foreach.in_, (*path, "foreach", "in"), place, report, "a list")
            inner = self.types.item(step, place.scope)
            place = place.plus(inner)
        check_templates(step.with_, (*path, "with"), place.with_secrets(), report)
        _check_guardrails(step.guardrails, path, place, report)
        if step.agent is not None:
            names = {"prompt", "rounds", "candidates", "horizon", "keep"}
            check_templates(step.agent.model_dump(include=names), (*path, "agent"), place, report)
        if step.approval is not None:
            self._approval(step.approval, (*path, "approval"), place)
        if step.evaluate is not None:
            self._evaluate(step.evaluate, (*path, "evaluate"), place)

    def _approval(self, approval: Approval, path: KeyPath, place: Place) -> None:
        check_templates(approval.message, (*path, "message"), place, self.report)
        for index, text in enumerate(approval.show):
            check_bare(text, (*path, "show", index), place, self.report)
        for name, declared in approval.answers.items():
            _check_default(declared, (*path, "answers", name), self.report)

    def _evaluate(self, evaluate: Evaluate, path: KeyPath, place: Place) -> None:
        report = self.report
        check_bare(evaluate.over, (*path, "over"), place, report, "a list")
        for name, use in evaluate.scorers.items():
            check_templates(use.with_, (*path, "scorers", name, "with"), place.with_secrets(), report)
        if evaluate.select is not None:
            scores = dict.fromkeys(evaluate.scorers, DOUBLE)
            check_bare(evaluate.select.by, (*path, "select", "by"), place.plus(scores), report, "a number")
            check_templates(evaluate.select.top, (*path, "select", "top"), place, report)
        if evaluate.gate is not None:
            best = self.types.best(evaluate, place.scope)
            gated = place.plus({"best": best, "selected": list_of(best)})
            check_bare(evaluate.gate, (*path, "gate"), gated, report, "a condition")
        if evaluate.on_gate_fail is not None:
            self._goto(evaluate.on_gate_fail.goto, (*path, "on_gate_fail", "goto"), place)

    def _goto(self, goto: str, path: KeyPath, place: Place) -> None:
        if goto in place.earlier:
            return
        if goto in place.all_steps:
            self.report.add(path, f"goto leads back only; '{goto}' does not come before this step.")
        else:
            self.report.add(path, unknown_step(goto, place))
