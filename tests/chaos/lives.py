"""Lives: processes that begin a run or go on with it, forks of one that has all imported and nothing open."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moments import Death, Moments, arm
from works import Work

from agentflow.core.errors import AgentflowError
from agentflow.sdk import Agentflow
from agentflow.workflow.worker import Worker

LIMIT_S = 60.0
"""After which a life counts as stuck."""
RAISED = {"tokens": 5_000}


@dataclass
class Life:
    """How a life went: ``killed``, or what it said at its end."""

    action: str
    pid: int = 0
    killed: bool = False
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """The moments that it reached."""
        found: dict[str, int] = self.said.get("counts", {})
        return found


@dataclass(frozen=True)
class Stage:
    """Where lives take place: a project's folder, and a PostgreSQL schema or None."""

    work: Work
    root: Path
    url: str | None = None

    @property
    def log(self) -> Path:
        """What was really done."""
        return self.root / "outside.jsonl"

    def open(self) -> Agentflow:
        """Open the project."""
        return Agentflow.open(self.root, database_url=self.url, **self.work.parts())


def warm_up(stage: Stage) -> None:
    """Go through a run in this process, so that its forks find all caches filled; leave nothing open behind.

    Raises:
        AssertionError: something is open that a fork would share.
    """
    _live(stage, "run")
    while _live(stage, "resume").get("status") == "waiting":
        _live(stage, "decide")
    opened = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    if threading.active_count() > 1 or any(str(stage.root) in name for name in opened):
        raise AssertionError(f"still open: {threading.enumerate()}, {opened}")
    gc.collect()
    gc.freeze()


def begin(
    stage: Stage, action: str, moments: Moments, wait: Callable[[], Any] = lambda: None
) -> tuple[int, int]:
    """Begin a life; return its process and the pipe on which it says how it ended. ``wait`` is done before it acts."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    os.close(reading)
    try:
        moments.log = stage.log
        arm(moments)
        said = _live(stage, action, wait)
        os.write(writing, json.dumps(said | {"counts": dict(moments.counts)}, default=str).encode())
    except BaseException:
        os.write(writing, json.dumps({"broken": traceback.format_exc()}).encode())
    finally:
        os._exit(0)


def end(action: str, pid: int, reading: int, after_s: float | None = None) -> Life:
    """Wait for the end of a life, or kill it after a time."""
    life, heard = Life(action, pid), b""
    limit = time.monotonic() + (LIMIT_S if after_s is None else after_s)
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, limit - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            if after_s is None:
                life.said = {"broken": f"still at work after {LIMIT_S:.0f} s"}
            break
        if not (part := os.read(reading, 65_536)):
            break
        heard += part
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    life.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if heard and not life.killed:
        life.said = json.loads(heard)
    return life


def live(stage: Stage, action: str, death: Death | None) -> Life:
    """One life from its beginning to its end."""
    timer = death is not None and death.kind == "timer"
    pid, reading = begin(stage, action, Moments(None if timer else death))
    return end(action, pid, reading, death.number / 1e6 if death is not None and timer else None)


def _live(stage: Stage, action: str, wait: Callable[[], Any] = lambda: None) -> dict[str, Any]:
    with stage.open() as flow:
        wait()
        try:
            return _ACTIONS[action](flow)
        except AgentflowError as error:
            return {"error": error.kind, "message": str(error)}


def _run(flow: Agentflow) -> dict[str, Any]:
    result = flow.run("work", seed=7)
    return {"status": result.status, "message": str(result.error)}


def _resume(flow: Agentflow) -> dict[str, Any]:
    result = flow.resume(flow.runs()[0].id)
    return {"status": result.status, "message": str(result.error)}


def _decide(flow: Agentflow) -> dict[str, Any]:
    """Decide all that is asked, then go on."""
    run_id = flow.runs()[0].id
    for asked in flow.approvals(run_id):
        answers = RAISED if asked.kind == "budget" else None
        flow.record_decision(
            run_id, "approve", by=f"person {os.getpid()}", approval=asked.id, answers=answers
        )
    return _resume(flow)


def _worker(flow: Agentflow) -> dict[str, Any]:
    refused: list[str] = []
    worker = Worker(
        flow.workshop, poll_s=0.005, on_refused=lambda run, error: refused.append(f"{run}: {error}")
    )
    asyncio.run(worker.work(until_idle=True))
    return {"status": flow.runs()[0].status, "message": "; ".join(refused)}


_ACTIONS = {"run": _run, "resume": _resume, "decide": _decide, "worker": _worker}
