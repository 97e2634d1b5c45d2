"""What a run tells while it is at work: one small frozen value for each thing that a person may want to see.

::

    Event                 run_id, step, time
    ├── RunStarted        begun, or gone on with
    ├── StepStarted       a step, an item or an inner call is at work
    ├── Progress          how far a tool or an agent has come, in its own words
    ├── ItemsProgress     how many items of a foreach have ended, of how many
    ├── GuardrailRan      what a guardrail found
    ├── StepFinished      how a step, an item or an inner call ended
    ├── Waiting           what a person is asked
    └── RunFinished       how the run ended, or that it waits
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from agentflow.core.records import Envelope, GuardRecord, RunStatus

if TYPE_CHECKING:
    from agentflow.store.records import ApprovalRecord

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run; see the classes below it. ``step`` is a place such as ``each[3]/pay``."""

    run_id: str
    step: str = ""
    time: float = field(default_factory=time.time, kw_only=True, compare=False)
    """Seconds since 1970, UTC."""

    @property
    def kind(self) -> str:
        """Its class in words, as JSON has it: ``step_finished``."""
        return _WORDS.sub("_", type(self).__name__).lower()

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, with its ``event``: its kind."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"event": self.kind} | {
            name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for name, value in told.items()
        }


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run is at work; ``resumed`` says that an earlier pass, or process, began it."""

    workflow: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class StepStarted(Event):
    """A step, an item of one or a call within one is at work.

    ``name`` is what is called; ``step_kind`` is ``use``, ``agent``, ``foreach`` …; ``iteration`` counts the loops of a
    gate.
    """

    name: str = ""
    step_kind: str = ""
    iteration: str = ""


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """How far a tool or an agent has come, in its own words: ``done`` of ``total`` where it knows."""

    text: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class ItemsProgress(Event):
    """How many items of a ``foreach`` have ended, how many of these not well, and how many there are."""

    done: int = 0
    failed: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class GuardrailRan(Event):
    """A guardrail judged."""

    record: GuardRecord = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class StepFinished(Event):
    """How a step, an item or a call within one ended; ``found`` where that was on record and nothing was done."""

    name: str = ""
    iteration: str = ""
    found: bool = False
    envelope: Envelope = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """The run waits for a person, who is asked this; ``step`` asks."""

    question: ApprovalRecord = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """How the run ended; a run that is ``waiting`` goes on once somebody has decided. ``error`` says why it failed."""

    status: RunStatus = field(kw_only=True)
    error: str | None = None


Listener = Callable[[Event], None]
"""Is called with every event, at once, from whichever thread it happens on: what takes long belongs elsewhere."""


def nobody(_: Event) -> None:
    """Nobody watches."""
