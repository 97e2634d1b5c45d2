"""Running again from a step: what stands and is taken over, and what will be paid for again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, UnknownNameError
from agentflow.core.records import StepStatus
from agentflow.store.records import RunRecord
from agentflow.store.store import Store
from agentflow.workflow.schema import Workflow, definition

_TOP = re.compile(r"[\[/#]")
DEFINITION = "workflow.json"
"""In a run's folder: its workflow as it was when the run began."""


@dataclass(frozen=True)
class RerunPlan:
    """What a rerun takes over (``reused``, step ids), and what it will do ``again``, with what that cost before."""

    run_id: str
    from_step: str
    reused: tuple[str, ...] = ()
    again: dict[str, Amounts] = field(default_factory=dict)

    @property
    def cost(self) -> Amounts:
        """What the steps that run again cost in the earlier run; what they will cost is not known."""
        total = Amounts()
        for amounts in self.again.values():
            total = total.plus(amounts)
        return total

    @classmethod
    def of(
        cls, store: Store, record: RunRecord, workflow: Workflow, digest: str, from_step: str, folder: Path
    ) -> Self:  # fmt: skip
        """Return the plan.

        Args:
            store: holds the earlier run.
            record: the earlier run.
            workflow: as the file says it now; what stands before ``from_step`` must be as it was.
            digest: of the workflow with all that it uses, as the file says it now.
            from_step: a step of it.
            folder: of the earlier run.

        Raises:
            UnknownNameError: there is no such step.
            InvalidInputError: a step before it has changed since, or did not end well then.
        """
        ids = [step.id for step in workflow.steps]
        if from_step not in ids:
            raise UnknownNameError("step", from_step, ids)
        before = ids[: ids.index(from_step)]
        _require_same(record, workflow, digest, before, folder)
        last = {found.path: found.envelope for found in store.outer_steps(record.id)}
        for step in before:
            envelope = last.get(step)
            if envelope is None or not (envelope.usable or envelope.status is StepStatus.SKIPPED):
                status = "it never ran" if envelope is None else f"it ended as '{envelope.status}'"
                allowed = f"a step after which nothing is missing: {step} or one before it"
                raise InvalidInputError(
                    f"--from {from_step}", f"step '{step}' cannot be reused: {status}", allowed
                )
        again = dict.fromkeys(ids[len(before) :], Amounts())
        for found in store.steps(record.id):  # its items and inner calls, and each pass of a loop
            step = _TOP.split(found.path, maxsplit=1)[0]
            if step in again:
                again[step] = again[step].plus(found.envelope.usage)
        return cls(record.id, from_step, tuple(before), again)


def _require_same(
    record: RunRecord, workflow: Workflow, digest: str, before: list[str], folder: Path
) -> None:
    """Refuse to take over steps that the file describes otherwise by now."""
    if record.digest == digest:
        return
    was, now = _definition_then(record, folder), definition(workflow)
    if was.get("inputs") != now.get("inputs"):
        raise InvalidInputError(
            f"run {record.id}", "`inputs` that have changed since", "the same inputs; start a new run"
        )
    old = {step["id"]: step for step in was["steps"]}
    for step in now["steps"]:
        if step["id"] in before and step != old.get(step["id"]):
            raise InvalidInputError(
                f"run {record.id}", f"step '{step['id']}', which has changed since",
                f"the same steps before the one to begin with; begin with '{step['id']}' or one before it",
            )  # fmt: skip


def _definition_then(record: RunRecord, folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / DEFINITION).read_text())
    except (OSError, ValueError):
        raise InvalidInputError(
            f"run {record.id}", f"a workflow that has changed since, and no {DEFINITION} in {folder} that says how",
            "the same workflow, or the folder of the machine that began the run",
        ) from None  # fmt: skip
    return found
