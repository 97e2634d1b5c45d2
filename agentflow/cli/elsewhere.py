"""The events of a run that another process is at work on, read from its records and its trace file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from agentflow.core.records import Envelope, RunStatus, StepStatus
from agentflow.execution.events import (
    Event,
    ItemsProgress,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)
from agentflow.tracing import names

if TYPE_CHECKING:
    from agentflow.store.records import RunRecord
    from agentflow.store.store import Store

POLL_S = 0.3
AT_WORK = (RunStatus.QUEUED, RunStatus.RUNNING)
_ITEM = re.compile(r"(.*)\[\d+\]")


@dataclass
class Elsewhere:
    """A run that is followed from outside. Each `look` returns what happened since the one before.

    Where the trace file is another machine's, steps are seen in the records, once they have ended.
    """

    store: Store
    run_id: str
    trace: Path
    record: RunRecord = field(init=False)
    _at: int = 0
    _rest: bytes = b""
    _begun: bool = False
    _steps: set[tuple[str, str]] = field(default_factory=set)
    _at_work: set[str] = field(default_factory=set)
    _items: dict[str, ItemsProgress] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.record = self.store.get_run(self.run_id)

    @property
    def abandoned(self) -> bool:
        """Whether the run's process is dead, and nobody else has it."""
        from agentflow.store.owner import Owner

        if self.record.status is not RunStatus.RUNNING:
            return False
        owner = Owner.parse(self.record.owner or "")
        return owner is None or owner.surely_dead

    def look(self) -> list[Event]:
        """Return what is new."""
        self.record = run = self.store.get_run(
            self.run_id
        )  # first: what ended before it is then all to be read
        if run.status is RunStatus.QUEUED:
            return []
        told: list[Event] = []
        if not self._begun:
            self._begun = True
            began = run.started.timestamp()
            told.append(RunStarted(run.id, "", run.workflow, run.inputs, time=began))
        told += self._traced() if self.trace.exists() else self._recorded()
        if run.status is RunStatus.WAITING:
            asked = self.store.approvals(run.id, open_only=True)
            told += [Waiting(run.id, each.path, question=each) for each in asked]
        if run.status not in AT_WORK:
            told.append(RunFinished(run.id, "", run.error, status=run.status))
        return told

    def _recorded(self) -> Iterator[Event]:
        for step in self.store.outer_steps(self.run_id):
            place = step.path, step.iteration
            if step.envelope.status is not StepStatus.CALLED and place not in self._steps:
                self._steps.add(place)
                yield StepStarted(self.run_id, step.path, time=step.started.timestamp())
                yield StepFinished(self.run_id, *place, envelope=step.envelope, time=step.ended.timestamp())

    def _traced(self) -> Iterator[Event]:
        with self.trace.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        self._at += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            try:
                entry = orjson.loads(line)
                said = entry["attributes"]
                path = said.get(names.STEP_ID)
                if isinstance(path, str):
                    yield from self._of_step(entry, said, path)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # a line that a crash tore

    def _of_step(self, entry: Mapping[str, Any], said: Mapping[str, Any], path: str) -> Iterator[Event]:
        run, event = self.run_id, entry["type"] == "event"
        if path not in self._at_work:
            self._at_work.add(path)
            yield StepStarted(run, path, time=entry["time_ns" if event else "start_ns"] / 1e9)
        if event:
            if names.STEP_ITEMS in said:
                yield self._count(ItemsProgress(run, path, 0, 0, said[names.STEP_ITEMS]))
            return
        if names.STEP_STATUS not in said or entry["name"] != f"step {path}":
            return
        self._at_work.discard(path)
        status, end = StepStatus(said[names.STEP_STATUS]), entry["end_ns"] / 1e9
        envelope = Envelope(status=status, error=entry.get("status_message"))
        yield StepFinished(
            run, path, "", str(said.get(names.STEP_ITERATION, "")), envelope=envelope, time=end
        )
        item = _ITEM.fullmatch(path)
        if item and (so_far := self._items.get(item[1])):
            failed = so_far.failed + (not envelope.usable)
            yield self._count(ItemsProgress(run, item[1], so_far.done + 1, failed, so_far.total, time=end))

    def _count(self, progress: ItemsProgress) -> ItemsProgress:
        self._items[progress.step] = progress
        return progress
