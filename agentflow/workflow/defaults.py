"""A file's ``defaults``, put in wherever a workflow or step says nothing itself."""

from __future__ import annotations

from typing import Any

from agentflow.workflow.schema import Defaults, FileSpec, Workflow
from agentflow.workflow.steps import Step

_OF_CALLS = ("retry", "timeout", "cache")
_OF_FOREACH = ("max_parallel", "on_error")


def with_defaults_put_in(spec: FileSpec) -> FileSpec:
    """Return the file as it is run: no reader of a workflow or step has to know of ``defaults``."""
    if not spec.defaults.model_fields_set:
        return spec
    workflows = {name: _workflow(workflow, spec.defaults) for name, workflow in spec.workflows.items()}
    return spec.model_copy(update={"workflows": workflows})


def _workflow(workflow: Workflow, defaults: Defaults) -> Workflow:
    changed: dict[str, Any] = {"steps": tuple(_step(step, defaults) for step in workflow.steps)}
    if defaults.budget is not None and "budget" not in workflow.model_fields_set:
        changed["budget"] = defaults.budget
    if defaults.guardrails:
        changed["guardrails"] = (*defaults.guardrails, *workflow.guardrails)
    return workflow.model_copy(update=changed)


def _step(step: Step, defaults: Defaults) -> Step:
    changed: dict[str, Any] = {}
    if step.body in ("use", "agent"):
        changed = _unsaid(step, defaults, _OF_CALLS)
    if step.foreach is not None and (own := _unsaid(step.foreach, defaults, _OF_FOREACH)):
        changed["foreach"] = step.foreach.model_copy(update=own)
    return step.model_copy(update=changed) if changed else step


def _unsaid(said: Any, defaults: Defaults, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the defaults of what a step does not say."""
    return {
        name: getattr(defaults, name)
        for name in names
        if getattr(defaults, name) is not None and name not in said.model_fields_set
    }
