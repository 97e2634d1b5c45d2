"""`Chart`: a workflow as boxes and arrows, with the path that a run took. What draws it decides how it looks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentflow.cli.figures import duration, plain

if TYPE_CHECKING:
    from agentflow.store.records import ApprovalRecord, StepRecord
    from agentflow.workflow.schema import Workflow
    from agentflow.workflow.steps import Foreach, Step

_INDEX = re.compile(r"\[\d+\]")
_GRAVITY = ("failed", "exhausted", "refused", "cancelled", "waiting", "called", "degraded", "ok", "skipped")
_LONGEST = 90


@dataclass(frozen=True)
class Taken:
    """What a run did at a box: ``status`` is the gravest; of a ``foreach``, ``items`` counts its items by status."""

    status: str
    passes: int = 1
    items: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def words(self) -> str:
        """It as one line."""
        said = [self.status]
        if set(self.items) == {self.status}:
            said.append(f"{self.items[self.status]} items")
        elif self.items:
            listed = ", ".join(f"{number} {status}" for status, number in self.items.items())
            said.append(listed if self.status == "running" else f"{listed} of {sum(self.items.values())}")
        if self.passes > 1:
            said.append(f"{self.passes} passes")
        if self.seconds is not None and self.status != "skipped":
            said.append(duration(1e3 * self.seconds))
        return " · ".join(said)


@dataclass(frozen=True)
class Box:
    """A step. ``path`` is its place in a run, without the numbers of items."""

    path: str
    id: str
    kind: str
    lines: tuple[str, ...] = ()
    """What it does, a line each."""
    condition: str = ""
    """Its ``if``: otherwise it is skipped."""
    repeats: str = ""
    """Of a ``foreach``: for what it is done again."""
    back_to: str = ""
    """The path of the step to which its gate sends the run back; ``back_when`` says when."""
    back_when: str = ""
    ends: str = ""
    """When it ends the run."""
    inner: tuple[Box, ...] = ()
    """The steps of the workflow that it runs."""
    taken: Taken | None = None


@dataclass(frozen=True)
class Chart:
    """A workflow. ``followed`` says that it holds the path of a run."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    boxes: tuple[Box, ...]
    followed: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return {
            "workflow": self.name, "inputs": list(self.inputs), "outputs": list(self.outputs),
            "steps": [_as_json(box) for box in self.boxes],
        }  # fmt: skip


class Path:
    """What a run did, by the places of its steps."""

    def __init__(self, steps: Iterable[StepRecord], questions: Iterable[ApprovalRecord] = ()) -> None:
        self._own: dict[str, list[StepRecord]] = {}
        self._items: dict[str, Counter[str]] = {}
        self._asked = {_INDEX.sub("", each.path) for each in questions}
        for record in steps:
            place = _INDEX.sub("", record.path)
            if record.path.endswith("]"):
                self._items.setdefault(place, Counter())[str(record.envelope.status)] += 1
            else:
                self._own.setdefault(place, []).append(record)

    def at(self, path: str) -> Taken | None:
        """Return what was done at a place; None where the run has not come, or is only now at work."""
        records, items = self._own.get(path, []), self._items.get(path, Counter())
        statuses = {str(record.envelope.status) for record in records}
        if path in self._asked:
            statuses = {"waiting"}
        if not statuses:
            return Taken("running", items=dict(items)) if items else None
        places = len({record.path for record in records})
        if places > 1 and not items:  # a step of a workflow that is run for each item
            items = Counter(str(record.envelope.status) for record in records)
        return Taken(
            min(statuses, key=_GRAVITY.index),
            -(-len(records) // max(1, places)),
            dict(items.most_common()),
            sum((record.ended - record.started).total_seconds() for record in records) if records else None,
        )


def chart(name: str, workflows: Mapping[str, Workflow], path: Path | None = None) -> Chart:
    """Return the chart of a workflow of a file; ``path`` is that of a run."""
    workflow = workflows[name]
    return Chart(
        name, tuple(workflow.inputs), tuple(workflow.outputs), _boxes(workflow, "", workflows, path), path is not None
    )  # fmt: skip


def _boxes(
    workflow: Workflow, prefix: str, workflows: Mapping[str, Workflow], path: Path | None
) -> tuple[Box, ...]:
    return tuple(_box(step, prefix, workflows, path) for step in workflow.steps)


def _box(step: Step, prefix: str, workflows: Mapping[str, Workflow], path: Path | None) -> Box:
    place = f"{prefix}{step.id}"
    back = step.evaluate.on_gate_fail if step.evaluate else None
    times = f"at most {back.max_loops}×" if back else ""
    inner = workflows.get(step.workflow or "")
    return Box(
        path=place,
        id=step.id,
        kind=step.body,
        lines=tuple(plain(line, _LONGEST) for line in _lines(step)),
        condition=plain(step.if_ or "", _LONGEST),
        repeats=_repeats(step.foreach) if step.foreach else "",
        back_to=f"{prefix}{back.goto}" if back else "",
        back_when=f"the gate says no, {times}" if back else "",
        ends=_ends(step),
        inner=_boxes(inner, f"{place}/", workflows, path) if inner else (),
        taken=path.at(place) if path else None,
    )


def _lines(step: Step) -> list[str]:
    if step.agent:
        return [f"agent · {step.agent.model}"]
    if step.evaluate:
        gate = [f"gate: {step.evaluate.gate}"] if step.evaluate.gate else []
        return [f"evaluate · {', '.join(step.evaluate.scorers)}", *gate]
    if step.approval:
        return ["a person decides", step.approval.message]
    return [step.use or f"workflow {step.workflow}"]


def _repeats(each: Foreach) -> str:
    beside = f", {each.max_parallel} at a time" if each.max_parallel > 1 else ""
    return f"each {each.as_}{beside}"


def _ends(step: Step) -> str:
    if step.approval:
        return "rejected"
    gate = step.evaluate and step.evaluate.gate and not step.evaluate.on_gate_fail
    return "the gate says no" if gate else ""


def _as_json(box: Box) -> dict[str, Any]:
    taken = box.taken
    return {
        "path": box.path, "kind": box.kind, "does": list(box.lines), "if": box.condition or None,
        "repeats": box.repeats or None, "back_to": box.back_to or None, "steps": [_as_json(each) for each in box.inner],
        "taken": None if taken is None else {
            "status": taken.status, "passes": taken.passes, "items": dict(taken.items), "seconds": taken.seconds,
        },
    }  # fmt: skip
