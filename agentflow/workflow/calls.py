"""Workflows that run one another: no circle, and no more steps in all than one graph can hold."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from agentflow.workflow.report import Report
from agentflow.workflow.schema import FileSpec

MAX_CALLS = 16
"""Workflows inside one another."""
MAX_STEPS = 5_000
"""Steps of a workflow, with those of all workflows that it runs."""

_Calls = dict[str, dict[str, int]]


def check_calls(spec: FileSpec, report: Report) -> None:
    """Note each circle of workflows at the step that closes it, and each workflow that grows too large."""
    calls: _Calls = {
        name: {step.workflow: index for index, step in enumerate(workflow.steps) if step.workflow}
        for name, workflow in spec.workflows.items()
    }
    circles = False
    while circle := _circle(calls):
        circles = True
        caller, called = circle[-2:]
        shown = circle if len(circle) < 10 else [*circle[:8], "…", called]
        path = ("workflows", caller, "steps", calls[caller].pop(called), "workflow")
        report.add(path, f"these workflows run one another without end: {' → '.join(shown)}.")
    if not circles:
        _check_sizes(spec, calls, report)


def _circle(calls: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return workflows of which each runs the next, the last one being the first again; or nothing."""
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        return [str(name) for name in reversed(error.args[1])]
    return []


def _check_sizes(spec: FileSpec, calls: _Calls, report: Report) -> None:
    sizes: dict[str, int] = {}
    depths: dict[str, int] = {}
    for name in TopologicalSorter(calls).static_order():
        if name not in spec.workflows:
            sizes[name] = depths[name] = 1
            continue
        steps = spec.workflows[name].steps
        sizes[name] = sum(sizes[step.workflow] if step.workflow else 1 for step in steps)
        depths[name] = 1 + max((depths[called] for called in calls[name]), default=0)
        if depths[name] > MAX_CALLS:
            message = f"'{name}' runs more than {MAX_CALLS} workflows inside one another."
            report.add(("workflows", name), message, key=True)
            return
        if sizes[name] > MAX_STEPS:
            count = f"{sizes[name]} steps; at most {MAX_STEPS} are taken"
            report.add(
                ("workflows", name), f"with the workflows that it runs, '{name}' has {count}.", key=True
            )
            return
