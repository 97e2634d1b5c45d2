"""What a run lends to its steps: store, ledger, tracer, worlds, models; and what it tells who watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from agentflow.budget.ledger import Ledger
from agentflow.core.amounts import UNLIMITED, Amounts
from agentflow.core.protocols import ChatModel
from agentflow.core.registry import Registry
from agentflow.execution.call import StepCall
from agentflow.execution.events import Event, Listener, nobody, told
from agentflow.execution.workers import Workers
from agentflow.store.artifacts import FileArtifacts
from agentflow.store.leases import Lease
from agentflow.store.store import Store
from agentflow.tracing.tracer import RunTracer
from agentflow.worldmodel.contract import WorldModel


@dataclass
class RunContext:
    """One run at work. ``view`` is what expressions and guardrails see: inputs and steps so far."""

    run_id: str
    scope: str
    seed: int
    folder: Path
    store: Store
    ledger: Ledger
    artifacts: FileArtifacts
    tracer: RunTracer
    registry: Registry
    worlds: Callable[[str | None], WorldModel]
    simulators: Callable[[str | None], WorldModel]
    models: Callable[[str], ChatModel | None]
    listener: Listener = nobody
    view: dict[str, Any] = field(default_factory=lambda: {"inputs": {}, "steps": {}})
    workers: Workers = field(default_factory=Workers)
    replay: Callable[[StepCall], StepCall] | None = None
    """Returns a call with a body that gives a recorded answer; guardrails, budget and spans stay as they are."""
    resumed: bool = True
    """Whether the store may hold steps of this run that another process, or an earlier pass, left there."""
    retries: bool = False
    """Whether steps that failed before are tried again: the run had ended, and somebody wants it to go on."""
    recorded: set[tuple[str, str]] = field(default_factory=set)
    """The places (path, iteration) of the steps that this pass put on record."""
    holds: set[str] = field(default_factory=set)
    """The open holds of calls at work in this run, those on wall-clock alone left out."""
    lease: Lease | None = None
    """What says that this process has the run; whatever is written down for it is written under this."""
    opened: dict[str, tuple[Amounts, str]] = field(default_factory=dict)
    """The budget scopes of this run that are open, with the file's caps and the scope above."""
    raised: dict[str, Amounts] = field(default_factory=dict)
    """Caps of scopes as people raised them."""
    capped: dict[str, bool] = field(default_factory=dict)
    limited: dict[str, bool] = field(default_factory=dict)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by a new one, whenever a hold is settled."""

    @cached_property
    def scratch(self) -> Path:
        """Where calls put what they do not keep."""
        return self.folder / "scratch"

    @property
    def watched(self) -> bool:
        """Whether anybody listens."""
        return self.listener is not nobody

    def tell(self, event: Event) -> None:
        """Tell whoever watches; nothing they raise, or do to the event, can fail the run."""
        if self.watched:
            told(self.listener, event)

    def open_scope(self, name: str, caps: Amounts, parent: str) -> str:
        """Open a budget scope under ``parent``, once, with the file's caps or those that a person set."""
        if name not in self.opened:
            self.opened[name] = caps, parent
            self.ledger.open_scope(name, caps.at_least(self.raised.get(name, Amounts())), parent)
        return name

    def raise_cap(self, scope: str, caps: Amounts) -> None:
        """Raise the caps of a scope to what a person set."""
        self.raised[scope] = caps.at_least(self.raised.get(scope, Amounts()))
        if scope in self.opened:
            asked, parent = self.opened.pop(scope)
            self.open_scope(scope, asked, parent)
        self.capped.clear()
        self.limited.clear()

    def wall_capped(self, scope: str) -> bool:
        """Whether a cap limits the wall-clock time of a scope; caps stay as they are while a run is at work."""
        if scope not in self.capped:
            caps = [self.ledger.usage(name).cap.wall_ms for name in {scope, self.scope}]
            self.capped[scope] = min(caps) < UNLIMITED // 2
        return self.capped[scope]

    def wall_limited(self, scope: str) -> bool:
        """Whether any cap, of this run or above it, limits wall-clock time: then a step has to hold it."""
        if scope not in self.limited:
            self.limited[scope] = self.ledger.left(scope).wall_ms < UNLIMITED // 2
        return self.limited[scope]

    def release(self, hold_id: str) -> None:
        """Note that a hold is settled, and wake the calls that wait for room in a budget."""
        self.holds.discard(hold_id)
        self.settled.set()
        self.settled = asyncio.Event()

    def resource(self, name: str) -> AbstractAsyncContextManager[None]:
        """Wait for a slot of a resource such as ``gpu:0``, which all runs of the program share."""
        return self.workers.slots.hold(name)
