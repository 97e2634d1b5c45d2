"""`Worker`: takes the runs that nobody has: queued ones, those of dead processes, those whose question is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from agentflow.core.errors import LeaseLostError, RunCancelledError, RunHeldError, StorageError
from agentflow.execution.events import Listener, nobody
from agentflow.store.leases import Lease
from agentflow.store.queue import TO_DO
from agentflow.store.records import RunRecord
from agentflow.workflow.decisions import cancel
from agentflow.workflow.runner import Outcome, Runner
from agentflow.workflow.workshop import Workshop

POLL_S = 1.0


@dataclass
class Worker:
    """Goes on with a project's runs, ``parallel`` at a time.

    A run that this project's file cannot go on with (it has changed since) is left alone, and told to ``on_refused``;
    so is one that a defect ended. A database that cannot be reached is tried again, and told to ``on_trouble``.
    """

    workshop: Workshop
    parallel: int = 4
    poll_s: float = POLL_S
    listener: Listener = nobody
    on_taken: Callable[[RunRecord], None] = lambda _: None
    on_ended: Callable[[Outcome], None] = lambda _: None
    on_cancelled: Callable[[RunCancelledError], None] = lambda _: None
    on_given_back: Callable[[str], None] = lambda _: None
    on_refused: Callable[[str, Exception], None] = lambda *_: None
    on_trouble: Callable[[StorageError], None] = lambda _: None
    _working: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _runners: dict[str, Runner] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)

    async def work(self, *, until_idle: bool = False) -> int:
        """Work until cancelled, or ``until_idle`` until nothing is left that could be taken; return how many runs.

        Cancelled, it gives the runs at work back to the queue: the next worker goes on with them.

        Raises:
            StorageError: with ``until_idle``, the database cannot be reached.
        """
        taken = 0
        try:
            while True:
                begun = self._take(may_fail=not until_idle)
                taken += begun
                if until_idle and not begun and not self._working:
                    return taken
                await self._pause()
        finally:
            tasks = list(self._working.values())
            for runner in self._runners.values():
                runner.gives_back = True
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

    def _take(self, *, may_fail: bool) -> int:
        room = self.parallel - len(self._working)
        if room <= 0:
            return 0
        try:
            found = self.workshop.store.claimable_runs(room + len(self._refused))
        except StorageError as error:
            if not may_fail:
                raise
            self.on_trouble(error)
            return 0
        free = [run for run in found if run not in self._refused]
        for run_id in free[:room]:
            task = asyncio.ensure_future(self._go_on(run_id))
            self._working[run_id] = task
            task.add_done_callback(partial(self._ended, run_id))
        return len(free[:room])

    def _ended(self, run_id: str, _: asyncio.Task[None]) -> None:
        self._working.pop(run_id, None)

    async def _go_on(self, run_id: str) -> None:
        try:
            record = self.workshop.store.get_run(run_id)
            if record.status not in TO_DO:
                return  # another worker was faster, and has ended it
            if record.cancel_requested:
                cancel(self.workshop.store, record)
                self.on_cancelled(RunCancelledError(run_id, "`agentflow cancel`"))
                return
            runner = Runner(self.workshop, record.workflow, listener=self.listener)
            lease = runner.take(record)
            self.on_taken(record)
            outcome = await self._held(runner, run_id, lease)
        except (RunHeldError, LeaseLostError):
            return  # another worker was faster, or has it now
        except Exception as error:
            self._refused.add(run_id)
            self.on_refused(run_id, error)
            return
        if outcome is not None:
            self.on_ended(outcome)

    async def _held(self, runner: Runner, run_id: str, lease: Lease) -> Outcome | None:
        """Return how a run ended; None where it was cancelled, or given back."""
        self._runners[run_id] = runner
        try:
            return await runner.held(run_id, lease, resumed=True)
        except asyncio.CancelledError:
            if runner.cancelled is not None:
                self.on_cancelled(runner.cancelled)
                return None
            self.on_given_back(run_id)
            raise
        finally:
            del self._runners[run_id]
