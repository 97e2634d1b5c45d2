"""`Threads`: functions run beside the event loop, and are really stopped when their time is over.

A thread cannot be killed. So a function is asked first (``stop`` tells it in its own way), then an exception is raised
within it, which ends any Python code, an endless loop too; a call of native code that does not return cannot be
ended, and after ``stop_s`` its thread is given up as lost, and that is said. Threads are daemons of our own: one that
is lost holds up neither other functions nor the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import itertools
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

ASK_S = 0.5
"""How long a function may take to end by itself once it was asked."""
STOP_S = 3.0
"""After how long, in all, its thread is given up as lost."""
_AGAIN_S = 0.05
_PULSE_S = 0.002
"""How long an exception waits for a function to return to Python. The event loop waits as long."""
_IDLE_S = 20.0
_numbers = itertools.count(1)


class CallStoppedError(BaseException):
    """Raised within a function whose time is over. No `Exception`, so that ``except Exception`` lets it through."""


class Threads:
    """Threads that are made when they are needed and used again."""

    def __init__(self, *, ask_s: float = ASK_S, stop_s: float = STOP_S) -> None:
        self._ask_s, self._stop_s = ask_s, stop_s
        self._lock = threading.Lock()
        self._idle: list[_Thread] = []

    async def run(
        self,
        function: Callable[[], Any],
        *,
        stop: Callable[[], None] = lambda: None,
        lost: Callable[[float], None] = lambda seconds: None,
    ) -> Any:
        """Call ``function`` in a thread, within this task's context variables, and return what it returns.

        When the task is cancelled, the function is stopped, and the cancellation goes on when it has ended.

        Args:
            function: what to call.
            stop: asks it to end, in whatever way it understands.
            lost: told where it could not be ended, and for how long (seconds) that was tried.
        """
        job = _Job(contextvars.copy_context(), function, asyncio.get_running_loop())
        with self._lock:
            thread = self._idle.pop() if self._idle else None
        if thread is None:
            thread = _Thread(self._rest)
            thread.start()
        thread.jobs.put(job)
        try:
            await asyncio.wait((job.ended,))
        except asyncio.CancelledError:
            stop()
            seconds = await self._stop(job, thread)
            if seconds is not None:
                lost(seconds)
            raise
        return job.outcome()

    async def _stop(self, job: _Job, thread: _Thread) -> float | None:
        """Return None when the function has ended, else for how long that was tried."""
        begin = time.monotonic()
        if await _ended(job, self._ask_s):
            return None
        while (tried := time.monotonic() - begin) < self._stop_s:
            thread.interrupt(job)
            if await _ended(job, _AGAIN_S):
                return None
        return tried

    def close(self) -> None:
        """End the threads that are idle; one at work ends with its function."""
        with self._lock:
            idle, self._idle = self._idle, []
        for thread in idle:
            thread.jobs.put(None)

    def _rest(self, thread: _Thread, *, over: bool) -> bool:
        """Take a thread back, or (``over``) let one go that was idle for long; return whether it did."""
        with self._lock:
            if not over:
                self._idle.append(thread)
                return True
            if thread in self._idle:
                self._idle.remove(thread)
                return True
            return False


async def _ended(job: _Job, seconds: float) -> bool:
    with contextlib.suppress(
        asyncio.CancelledError
    ):  # a second cancellation changes nothing: it is being stopped
        await asyncio.wait((job.ended,), timeout=seconds)
    return job.ended.done()


class _Job:
    """One function to call, and what became of it."""

    def __init__(
        self, context: contextvars.Context, function: Callable[[], Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.context, self.function, self.loop = context, function, loop
        self.ended: asyncio.Future[None] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.begun = False
        self.at_work = True
        self.interrupted = False

    def through(self) -> None:
        """Call the function once, and say that it has ended; called again, go on where it was interrupted."""
        if not self.begun:
            self.begun = True
            try:
                self.result = self.context.run(self.function)
            except BaseException as error:
                self.error = error
        with self.lock:
            self.at_work = False  # from here on it is not interrupted any more
        with contextlib.suppress(RuntimeError):  # nobody waits any more: its loop is closed
            self.loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def outcome(self) -> Any:
        error, self.error = self.error, None
        if error is None:
            return self.result
        if isinstance(error, Exception):
            raise error
        # SystemExit and the like would end the whole program from within one function
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


class _Thread(threading.Thread):
    def __init__(self, rest: Callable[..., bool]) -> None:
        super().__init__(name=f"agentflow-tool-{next(_numbers)}", daemon=True)
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._rest = rest

    def run(self) -> None:
        while True:
            try:
                job = self.jobs.get(timeout=_IDLE_S)
            except queue.Empty:
                if self._rest(self, over=True):
                    return
                continue
            if job is None:
                return
            try:
                _surely(job.through)
            except CallStoppedError:  # it came between two rounds
                _surely(job.through)
            if job.interrupted:
                return  # an exception that was meant for this function must not reach another
            self._rest(self, over=False)
            del job

    def interrupt(self, job: _Job) -> None:
        """Raise `CallStoppedError` within the function, unless it has ended or does not return to Python at once.

        What was not raised is taken back: in CPython 3.11 an exception that waits for a thread keeps all threads
        busy, and where they are traced (by coverage, a debugger) none of them ever enters a function again.
        """
        with job.lock:
            if not job.at_work or self.ident is None:
                return
            job.interrupted = True
            raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
            there, here = ctypes.c_ulong(self.ident), ctypes.c_ulong(threading.get_ident())
            error = ctypes.py_object(CallStoppedError)
            try:  # no function of Python's own from here on
                raise_in(there, error)
                time.sleep(_PULSE_S)
                raise_in(there, None)
                raise_in(here, error)  # whoever takes one clears the mark that one waits
                time.sleep(0)
            except CallStoppedError:
                pass


def _surely(step: Callable[[], None]) -> None:
    """Do a step to its end, though an interruption that comes late may hit it."""
    while True:
        try:
            step()
        except CallStoppedError:
            continue
        return
