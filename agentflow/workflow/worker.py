"""`Worker`: takes the runs that nobody has: queued ones, those of dead processes, those whose question is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from agentflow.core.errors import AgentflowError, RunHeldError
from agentflow.core.records import RunStatus
from agentflow.execution.events import Listener, nobody
from agentflow.workflow.decisions import cancel
from agentflow.workflow.runner import Outcome, Runner
from agentflow.workflow.workshop import Workshop

POLL_S = 1.0


@dataclass
class Worker:
    """Goes on with a project's runs, ``parallel`` at a time.

    A run that this project's file cannot go on with (it has changed since) is left alone, and told to ``on_refused``.
    """

    workshop: Workshop
    parallel: int = 4
    poll_s: float = POLL_S
    listener: Listener = nobody
    on_ended: Callable[[Outcome], None] = lambda _: None
    on_refused: Callable[[str, AgentflowError], None] = lambda *_: None
    _working: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)

    async def work(self, *, until_idle: bool = False) -> int:
        """Work until cancelled, or ``until_idle`` until nothing is left that could be taken; return how many runs.

        Cancelled, it cancels the runs at work: they are on record as cancelled and can be resumed.
        """
        taken = 0
        try:
            while True:
                begun = self._take()
                taken += begun
                if until_idle and not begun and not self._working:
                    return taken
                await self._pause()
        finally:
            tasks = list(self._working.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pause(self) -> None:
        """Wait until a run ends, or for the next look."""
        if self._working:
            await asyncio.wait(
                self._working.values(), timeout=self.poll_s, return_when=asyncio.FIRST_COMPLETED
            )
        else:
            await asyncio.sleep(self.poll_s)

    def _take(self) -> int:
        room = self.parallel - len(self._working)
        if room <= 0:
            return 0
        store = self.workshop.store
        free = [run for run in store.claimable_runs(room + len(self._refused)) if run not in self._refused]
        for run_id in free[:room]:
            task = asyncio.ensure_future(self._go_on(run_id))
            self._working[run_id] = task
            task.add_done_callback(partial(self._ended, run_id))
        return len(free[:room])

    def _ended(self, run_id: str, _: asyncio.Task[None]) -> None:
        self._working.pop(run_id, None)

    async def _go_on(self, run_id: str) -> None:
        record = self.workshop.store.get_run(run_id)
        try:
            if record.cancel_requested:
                cancel(self.workshop.store, record)
                return
            runner = Runner(self.workshop, record.workflow, listener=self.listener)
            outcome = await runner.resume(run_id)
        except RunHeldError:
            return  # another worker was faster
        except AgentflowError as error:
            self._refused.add(run_id)
            self.on_refused(run_id, error)
            return
        if outcome.status is RunStatus.WAITING:
            self._refused.discard(run_id)
        self.on_ended(outcome)
