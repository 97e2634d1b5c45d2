"""`RunHandle`: a run at work on a thread of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

from agentflow.core.errors import RunCancelledError
from agentflow.execution.events import Event
from agentflow.workflow.runner import Outcome, Runner


class RunHandle:
    """A run that was begun: watch it, wait for it, end it. ``await handle`` waits as well."""

    def __init__(self, runner: Runner, run_id: str, running: Coroutine[Any, Any, Outcome]) -> None:
        self.run_id = run_id
        self._runner = runner
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._done: Future[Outcome] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Outcome] | None = None
        self._began = threading.Event()
        runner.also_tell(self._events.put)
        # A daemon: a program that ends does not wait for what it began; the run can be resumed.
        self._thread = threading.Thread(
            target=self._work, args=(running,), name=f"agentflow-{run_id}", daemon=True
        )
        self._thread.start()

    def events(self) -> Iterator[Event]:
        """Yield what happens, from the beginning, until the run has ended. For one reader."""
        while (event := self._events.get()) is not None:
            yield event

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the run's end, or for the moment at which a person must decide.

        Raises:
            TimeoutError: it is still at work after ``timeout`` seconds.
            RunCancelledError: it was cancelled.
        """
        return self._done.result(timeout)

    def done(self) -> bool:
        """Whether it has ended, or waits."""
        return self._done.done()

    def cancel(self) -> None:
        """End it; what is finished is kept. `result` raises RunCancelledError once it has ended."""
        self._began.wait()
        if self._loop is not None and self._task is not None and not self._done.done():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def __await__(self) -> Any:
        return asyncio.wrap_future(self._done).__await__()

    def _work(self, running: Coroutine[Any, Any, Outcome]) -> None:
        async def work() -> Outcome:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self._began.set()
            return await running

        try:
            self._done.set_result(asyncio.run(work()))
        except asyncio.CancelledError:
            self._done.set_exception(
                self._runner.cancelled or RunCancelledError(self.run_id, "the program that began it")
            )
        except BaseException as error:
            self._done.set_exception(error)
        finally:
            self._began.set()
            self._events.put(None)
