"""What runs in a worker process: it calls one tool after the other, and says what became of each.

Light to import, since a process is begun for a first call, and again after one that was killed.
"""

from __future__ import annotations

import os
import pickle  # both ends are this program's own processes, over a socket that nobody else can open
import queue
import signal
import sys
import threading
import traceback
import types
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import Call, Meter
from agentflow.core.records import Artifact
from agentflow.core.registry import ToolSpec
from agentflow.execution.inputs import typed_inputs
from agentflow.worldmodel.contract import Rollout


@dataclass(frozen=True)
class Job:
    """One call of a tool: where its function stands, its inputs as JSON and rollouts, and its `Call`, if it asks."""

    module: str
    qualname: str
    file: str
    given: dict[str, Any]
    call: dict[str, Any] | None
    scope: str
    cap: Amounts


@dataclass(frozen=True)
class Failure:
    """An exception on its way to another process: its type by name, and what makes it again."""

    module: str
    qualname: str
    args: tuple[Any, ...]
    state: dict[str, Any]
    text: str
    trace: str
    retryable: bool

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return an exception as it can be sent; what cannot be sent of it is left out."""
        reduced = error.__reduce__()
        args = reduced[1] if isinstance(reduced, tuple) else error.args
        return cls(
            module=type(error).__module__,
            qualname=type(error).__qualname__,
            args=args if _sendable(args) else (str(error),),
            state={name: value for name, value in vars(error).items() if _sendable(value)},
            text=str(error),
            trace="".join(traceback.format_exception(error)),
            retryable=isinstance(error, OSError) or bool(getattr(error, "retryable", False)),
        )


def _sendable(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - what was just made here
    except Exception:
        return False
    return True


def serve(handle: int) -> None:
    """Answer the jobs that come over a socket, one at a time, on the main thread; end when it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the program that begun this one
    connection = Connection(handle)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        """Take jobs in. Whatever is at work, the end of the other process is the end of this one."""
        try:
            while True:
                jobs.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    sending = threading.Lock()

    def send(*message: Any) -> None:
        data = pickle.dumps(message)
        with sending:
            connection.send_bytes(data)

    while True:
        data = jobs.get()
        meter = Meter("", Amounts())
        try:
            job: Job = pickle.loads(data)  # noqa: S301 - from the program that begun this one
            meter = Meter(job.scope, job.cap)
            result = _call(job, meter, send)
            if not _sendable(result):
                raise InvalidInputError(
                    f"the result of {job.qualname}", f"a {type(result).__name__} that cannot leave its process",
                    "JSON, a pydantic model, an array, a rollout, an artifact",
                )  # fmt: skip
            send("result", result, meter.spent)
        except BaseException as error:
            send("failure", Failure.of(error), meter.spent)


def _call(job: Job, meter: Meter, send: Any) -> Any:
    spec: ToolSpec = attrgetter(job.qualname)(_module(job.module, job.file)).__agentflow_spec__
    typed = typed_inputs(spec, job.given)
    if job.call is not None:

        def progress(text: str, done: int = 0, total: int = 0) -> None:
            send("progress", text, done, total)

        typed["call"] = Call(meter=meter, progress=progress, **job.call)
    return _lean(spec.call(**typed))


def _module(name: str, file: str) -> types.ModuleType:
    """Import a module by its name; one of a project, whose packages exist in memory only, by where it lies."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        top, depth = name.split(".")[0], name.count(".")
        if error.name != top or not depth:
            raise
    package = types.ModuleType(top)
    package.__path__ = [str(Path(file).parents[depth - 1])]
    sys.modules[top] = package
    return import_module(name)


def _lean(value: Any) -> Any:
    """Return a result without the project's own classes, which the other process need not know."""
    match value:
        case Artifact() | Rollout():
            return value
        case BaseModel():
            return {name: _lean(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {name: _lean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_lean(item) for item in value]
    return value
