"""A ``foreach``: a step once an item, some at a time; one that fails never ends its siblings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import Call
from agentflow.core.records import Envelope, StepStatus
from agentflow.execution.call import Notes, StepCall, WaitingError
from agentflow.execution.events import ItemsProgress
from agentflow.execution.step import perform
from agentflow.workflow.bodies import Nested, as_list, step_call
from agentflow.workflow.expressions import compile_expr
from agentflow.workflow.failures import ItemsFailedError, defect
from agentflow.workflow.frames import Frame
from agentflow.workflow.steps import Foreach, Step

NOTED_RUNGS = 100
"""Of how many things given up by items the step itself speaks."""


@dataclass
class _Tally:
    """What is kept of items in memory: how many, and the first that failed. Their results are in the store."""

    total: int
    ok: int = 0
    bad: int = 0
    first: tuple[int, Envelope] | None = None
    exhausted: tuple[int, Envelope] | None = None
    waiting: list[str] = field(default_factory=list)

    def count(self, index: int, envelope: Envelope) -> None:
        if envelope.usable:
            self.ok += 1
            return
        self.bad += 1
        if self.first is None or index < self.first[0]:
            self.first = (index, envelope)
        if envelope.status is StepStatus.EXHAUSTED and self.exhausted is None:
            self.exhausted = (index, envelope)

    def progress(self, frame: Frame, step: Step) -> ItemsProgress:
        """Return how far it has come, as whoever watches is told."""
        return ItemsProgress(frame.context.run_id, frame.path(step), self.ok + self.bad, self.bad, self.total)


def foreach_call(frame: Frame, step: Step, iteration: str, nested: Nested) -> StepCall:
    """Return the call of a step that is repeated."""
    each = step.foreach
    if each is None:
        raise defect("foreach")
    notes = Notes()

    async def body(_: Call, given: dict[str, Any]) -> dict[str, Any]:
        tally = _Tally(len(given["items"]))
        todo = iter(enumerate(given["items"]))
        workers = min(each.max_parallel, tally.total)
        frame.context.tell(tally.progress(frame, step))
        frame.context.tracer.begun(frame.path(step), items=tally.total)
        async with asyncio.TaskGroup() as group:
            for _worker in range(workers):
                group.create_task(_work(frame, step, each, iteration, nested, todo, tally, notes))
        if tally.waiting:
            raise WaitingError(tally.waiting)
        _judge(frame, step, each, tally)
        return {"count": tally.ok + tally.bad, "ok": tally.ok}

    def inputs() -> dict[str, Any]:
        return {"items": as_list(step.id, compile_expr(each.in_).evaluate(frame.names()))}

    return StepCall(
        id=step.id, path=frame.path(step), iteration=iteration, kind="foreach", name=step.use or step.body,
        inputs=inputs, body=body, scope=frame.scope_of(step), condition=frame.condition(step), view=frame.view,
        books_wall=True, notes=notes,
    )  # fmt: skip


async def _work(
    frame: Frame, step: Step, each: Foreach, iteration: str, nested: Nested, todo: Iterator[tuple[int, Any]],
    tally: _Tally, notes: Notes,
) -> None:  # fmt: skip
    """Perform one item after the other, as long as there are some that nobody has taken."""
    for index, item in todo:
        call = step_call(
            frame, step, iteration=iteration, nested=nested, items={each.as_: item},
            path=f"{frame.path(step)}[{index}]",
        )  # fmt: skip
        try:
            envelope = await perform(frame.context, call)
        except WaitingError as waits:
            tally.waiting += waits.approvals
            continue
        tally.count(index, envelope)
        frame.context.tell(tally.progress(frame, step))
        if envelope.rungs and len(notes.rungs) < NOTED_RUNGS:
            notes.rungs += [f"item {index}: {rung}" for rung in envelope.rungs]


def _judge(frame: Frame, step: Step, each: Foreach, tally: _Tally) -> None:
    """Refuse a ``foreach`` of which too much failed, and one that a raised budget would let go on.

    Raises:
        ItemsFailedError: names the first item that failed.
        InvalidInputError: the list is shorter than what must succeed.
    """
    count = tally.ok + tally.bad
    if tally.exhausted and frame.pauses_at(step):
        raise ItemsFailedError(step.id, *tally.exhausted, tally.bad, count)
    wanted = count if each.on_error == "fail" else each.min_success or (1 if count else 0)
    if tally.ok >= wanted:
        return
    if tally.first is None:
        raise InvalidInputError(f"step '{step.id}': foreach.in", f"{count} items", f"{wanted} or more")
    raise ItemsFailedError(step.id, *tally.first, tally.bad, count)
