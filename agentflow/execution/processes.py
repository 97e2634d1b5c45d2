"""`Processes`: tools in processes of their own, begun once, used again, and killed when their time is over."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentflow.core.errors import AgentflowError, StepFailedError
from agentflow.core.protocols import Call
from agentflow.core.registry import ToolSpec
from agentflow.execution.threads import Threads

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from agentflow.execution.process_main import Failure, Job

_BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from agentflow.execution.process_main import serve; serve(int(sys.argv[1]))"
)
_MOST_IDLE = 4


class Processes:
    """Worker processes. A call waits for its answer in one of ``threads``."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()

    def warm(self) -> None:
        """Begin a first process, so that it is ready when the first call comes."""
        with self._lock:
            if not self._all:
                self._idle.append(self._begin())

    async def call(
        self, spec: ToolSpec, ticket: Call, given: dict[str, Any], *, lost: Callable[[float], None]
    ) -> Any:
        """Call a tool in a process; ``given`` are its inputs as JSON and rollouts.

        When the task is cancelled, the process is killed.

        Raises:
            StepFailedError: the process ended without an answer (which may be tried again), or its result cannot
                be sent; what the tool itself raised is raised as it was.
        """
        job = _job(spec, ticket, given)
        with self._lock:
            worker = self._idle.pop() if self._idle else self._begin()
            worker.job = job

        def stop() -> None:
            with self._lock:
                if worker.job is job:  # else it has answered, and may be at work for another call
                    worker.kill()

        return await self._threads.run(lambda: self._converse(worker, job, ticket), stop=stop, lost=lost)

    def close(self) -> None:
        """End all processes, those at work too."""
        with self._lock:
            workers, self._idle, self._all = self._all, [], set()
        for worker in workers:
            worker.end()

    def _begin(self) -> _Worker:
        worker = _Worker()
        self._all.add(worker)
        return worker

    def _converse(self, worker: _Worker, job: Job, ticket: Call) -> Any:
        try:
            what, answer, spent = worker.ask(job, ticket)
        except (EOFError, OSError) as error:
            self._forget(worker)
            ticket.meter.cut_off = True  # what it used is not known: so all of its hold
            raise StepFailedError(ticket.step, worker.death(), retryable=True) from error
        with self._lock:
            worker.job = None
            kept = worker in self._all and len(self._idle) < _MOST_IDLE
            if kept:
                self._idle.append(worker)
        if not kept:
            self._forget(worker)
            worker.end()
        ticket.meter.charge(spent)
        if what == "failure":
            raise _rebuilt(answer, ticket.step)
        return answer

    def _forget(self, worker: _Worker) -> None:
        with self._lock:
            self._all.discard(worker)


class _Worker:
    """One process and the socket to it."""

    def __init__(self) -> None:
        from multiprocessing import Pipe

        self.job: Job | None = None
        ours, theirs = Pipe()
        self._connection: Connection[Any, Any] = ours
        # A session of its own: an interrupt at the terminal is not for it, and killing it kills what it began.
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter, with a program of our own
            [sys.executable, "-c", _BEGIN, str(theirs.fileno()), json.dumps(sys.path)],
            pass_fds=[theirs.fileno()], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=2,  # what a tool prints is no output of the program
        )  # fmt: skip
        theirs.close()

    def ask(self, job: Job, ticket: Call) -> tuple[str, Any, Any]:
        """Send a job, pass its progress on, and return ``result`` or ``failure`` with what was spent.

        Raises:
            EOFError: the process ended; or another `OSError`.
        """
        self._connection.send_bytes(pickle.dumps(job))
        while True:
            what, *rest = self._connection.recv()
            if what != "progress":
                return what, rest[0], rest[1]
            ticket.progress(*rest)

    def kill(self) -> None:
        """Kill it, with all that it began."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def death(self) -> str:
        """Wait for the end of a process that says nothing more, and say what it was."""
        self.kill()  # the socket is closed, and perhaps no more than that
        code = self._process.wait()
        with contextlib.suppress(OSError):
            self._connection.close()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        return f"its process {how} before it answered"

    def end(self) -> None:
        """Let it end, and wait for that."""
        self.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._connection.close()


def _job(spec: ToolSpec, ticket: Call, given: dict[str, Any]) -> Job:
    from agentflow.execution.process_main import Job

    function = spec.call
    fields = ("run_id", "step", "seed", "artifacts", "scratch", "run")
    return Job(
        module=function.__module__,
        qualname=function.__qualname__,
        file=function.__code__.co_filename,
        given=given,
        call={name: getattr(ticket, name) for name in fields} if "call" in spec.injected else None,
        scope=ticket.meter.scope,
        cap=ticket.meter.left(),
    )


def _rebuilt(failure: Failure, step: str) -> Exception:
    """Return the exception that a tool raised in its process; one whose class is not known here, by its text."""
    name = failure.qualname.rpartition(".")[2]
    error: BaseException = StepFailedError(step, f"{name}: {failure.text}", retryable=failure.retryable)
    found = getattr(sys.modules.get(failure.module), failure.qualname, None)
    if isinstance(found, type) and issubclass(found, Exception):
        with contextlib.suppress(Exception):  # its constructor wants something else
            made = found(*failure.args) if found.__module__ == "builtins" else _made(found, failure)
            if str(made) == failure.text:
                error = made
    if not isinstance(error, AgentflowError):
        error.add_note(f"In its process:\n{failure.trace}")
    return error if isinstance(error, Exception) else RuntimeError(f"{name}: {failure.text}")


def _made(kind: type[Exception], failure: Failure) -> Exception:
    """Return an exception without calling its constructor: ours take facts, of which only the message is sent."""
    made = kind.__new__(kind, *failure.args)
    made.__dict__.update(failure.state)
    return made
