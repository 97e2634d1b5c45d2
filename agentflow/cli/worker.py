"""``worker``: goes on with the runs that nobody has, one line for each it takes and each that ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentflow.cli import exits
from agentflow.cli.options import DEFAULT_FILE, File

if TYPE_CHECKING:
    from agentflow.core.errors import AgentflowError
    from agentflow.sdk import RunResult
    from agentflow.store.records import RunRecord
    from agentflow.workflow.worker import Worker


def worker(
    parallel: Annotated[int, typer.Option(min=1, max=1000, help="How many runs at a time.")] = 4,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when nothing is left to take.")
    ] = False,
    file: File = DEFAULT_FILE,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> int:
    """Take up queued runs, those of dead processes, and those that are decided.

    Ctrl-C (or SIGTERM) ends it: what it is at work on goes back to the queue.
    """
    from agentflow.sdk import Agentflow
    from agentflow.workflow.worker import Worker

    with Agentflow.open(file) as flow:
        told = _Log(as_json)
        made = Worker(
            flow.workshop, parallel, on_taken=told.taken, on_ended=told.ended, on_cancelled=told.cancelled,
            on_given_back=told.given_back, on_refused=told.refused, on_trouble=told.trouble,
        )  # fmt: skip
        told.write("ready", "", f"a worker of {flow.project.file.path}: {parallel} runs at a time")
        with contextlib.redirect_stdout(sys.stderr):  # what tools print
            count = asyncio.run(_until_signal(made, until_idle))
        told.write("ended", "", f"{count} taken up" if count is not None else "it was told to end")
    return exits.OK


async def _until_signal(made: Worker, until_idle: bool) -> int | None:
    """Return how many runs it took up; None where a signal ended it. A second one ends the program at once."""
    work = asyncio.ensure_future(made.work(until_idle=until_idle))
    loop = asyncio.get_running_loop()

    def end() -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
        work.cancel()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, end)
    try:
        return await work
    except asyncio.CancelledError:
        return None


class _Log:
    """Writes a line for each thing that a worker does."""

    def __init__(self, as_json: bool) -> None:
        self._as_json, self._out = as_json, sys.stdout
        self._began: dict[str, float] = {}

    def taken(self, run: RunRecord) -> None:
        self._began[run.id] = time.monotonic()
        self.write("taken", run.id, f"was {run.status}")

    def ended(self, result: RunResult) -> None:
        if result.questions:
            self.write(
                str(result.status), result.run_id, f"{result.questions[0].message} (agentflow approvals)"
            )
        else:
            self.write(str(result.status), result.run_id, "" if result.error is None else str(result.error))

    def cancelled(self, error: Any) -> None:
        self.write("cancelled", error.run_id, f"by {error.by}")

    def given_back(self, run_id: str) -> None:
        self.write("given back", run_id, "the next worker goes on with it")

    def refused(self, run_id: str, error: Exception) -> None:
        self.write("left alone", run_id, str(error))

    def trouble(self, error: AgentflowError) -> None:
        self.write("trouble", "", str(error))

    def write(self, what: str, run_id: str, text: str) -> None:
        from agentflow.cli.figures import plain

        began = self._began.pop(run_id, None) if what != "taken" else None
        seconds = None if began is None else round(time.monotonic() - began, 3)
        if self._as_json:
            line = json.dumps(
                {"event": what.replace(" ", "_"), "run_id": run_id or None, "seconds": seconds, "text": text}
            )
        else:
            took = "" if seconds is None else f"after {seconds:.1f} s"
            said = "  ".join(part for part in (plain(run_id, 100), took, plain(text, 500)) if part)
            line = f"{time.strftime('%H:%M:%S')}  {what:<10}  {said}"
        print(line, file=self._out, flush=True)
