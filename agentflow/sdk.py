"""`Agentflow`: open a project, run its workflows, follow them, look at what they left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agentflow.core.errors import InvalidInputError
from agentflow.core.records import RunStatus
from agentflow.execution.context import Event, Listener, nobody
from agentflow.workflow.project import Project
from agentflow.workflow.runner import Outcome, Runner, Workshop

if TYPE_CHECKING:
    from agentflow.store.records import RunRecord

FOLDER = ".agentflow"

RunResult = Outcome
"""How a run ended: status, outputs, error, steps, usage, verdicts, manifest, trace."""


class Agentflow:
    """A project, opened. A context manager; `close` ends what it holds.

    Example::

        with Agentflow.open("workflows.yaml") as flow:
            result = flow.run("plan_push", goal="push the red block 20 cm to the left")
            print(result.status, result.outputs)
    """

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop

    @classmethod
    def open(
        cls,
        path: str | Path = "workflows.yaml",
        *,
        folder: Path | None = None,
        models: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> Self:
        """Open a project by its workflow file or folder.

        Args:
            path: the file, or the folder that holds ``workflows.yaml``.
            folder: where records, artifacts and traces go; by default ``.agentflow`` beside the file.
            models: language models by their name in the file: a `ChatModel` or a LangChain chat model.
            secrets: where ``secrets.X`` is looked up; by default the environment.

        Raises:
            WorkflowFileError: the file or a module of the project does not hold; every mistake at once.
            StorageError: the folder cannot be used.
        """
        project = Project.open(path, secrets=secrets)
        return cls(Workshop(project, folder or project.root / FOLDER, models or {}, secrets))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store and what else is open."""
        self._shop.close()

    @property
    def project(self) -> Project:
        """The project's file and components."""
        return self._shop.project

    def run(
        self, workflow: str, /, *, seed: int = 0, listener: Listener | None = None, **inputs: Any
    ) -> RunResult:
        """Run a workflow to its end, or to where a person must decide.

        Args:
            workflow: its name.
            seed: of all randomness.
            listener: called with every `Event`.
            inputs: the workflow's inputs.

        Raises:
            InvalidInputError: an input does not fit; nothing was begun.
            UnknownNameError: there is no such workflow.
            RunCancelledError: Ctrl-C ended it; finished steps are kept, and `resume` goes on.
        """
        runner = Runner(self._shop, workflow, seed=seed, listener=listener or nobody)
        return _finished(runner, runner.start(inputs))

    async def arun(
        self, workflow: str, /, *, seed: int = 0, listener: Listener | None = None, **inputs: Any
    ) -> RunResult:
        """Like `run`, for programs that have an event loop; a cancelled task raises ``CancelledError``."""
        return await Runner(self._shop, workflow, seed=seed, listener=listener or nobody).start(inputs)

    async def astream(
        self, workflow: str, /, *, seed: int = 0, **inputs: Any
    ) -> AsyncIterator[Event | RunResult]:
        """Yield every `Event` of a run as it happens, and its result last."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listen(event: Event) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, event)

        task = asyncio.ensure_future(self.arun(workflow, seed=seed, listener=listen, **inputs))
        task.add_done_callback(lambda _: loop.call_soon(queue.put_nowait, None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            yield await task
        finally:
            task.cancel()
            await asyncio.wait(
                {task}
            )  # it writes down how it ended, and closes its files, before the loop may go
            if not task.cancelled():
                task.exception()

    def stream(self, workflow: str, /, *, seed: int = 0, **inputs: Any) -> Iterator[Event | RunResult]:
        """Like `astream`, for programs without an event loop."""
        with asyncio.Runner() as runner:
            events = self.astream(workflow, seed=seed, **inputs)
            try:
                while True:
                    try:
                        yield runner.run(_next(events))
                    except StopAsyncIteration:
                        return
            finally:
                runner.run(_close(events))

    def decide(
        self, run_id: str, decision: str, *, by: str, comment: str = "", listener: Listener | None = None
    ) -> RunResult:
        """Answer the approval that a run waits for, and go on with it.

        Args:
            run_id: the run.
            decision: ``approve`` or ``reject``.
            by: who decides.
            comment: why.
            listener: called with every `Event`.

        Raises:
            InvalidInputError: no such decision, the run does not wait, or its workflow has changed since.
            RunCancelledError: Ctrl-C ended it.
        """
        if decision not in ("approve", "reject"):
            raise InvalidInputError("decision", repr(decision), "approve or reject")
        record = self.get(run_id)
        if record.status is not RunStatus.WAITING:
            raise InvalidInputError(
                f"run {run_id}", f"status '{record.status}'", "a run that waits for a decision"
            )
        answer = {"decision": decision, "by": by, "comment": comment}
        runner = Runner(self._shop, record.workflow, listener=listener or nobody)
        return _finished(runner, runner.resume(run_id, answer))

    def resume(self, run_id: str, *, listener: Listener | None = None) -> RunResult:
        """Go on with a run that was cut off; finished steps are not called again.

        Raises:
            InvalidInputError: it ended, it waits for a decision, or its workflow has changed since.
            RunCancelledError: Ctrl-C ended it.
        """
        record = self.get(run_id)
        runner = Runner(self._shop, record.workflow, listener=listener or nobody)
        return _finished(runner, runner.resume(run_id))

    def get(self, run_id: str) -> RunRecord:
        """Return a run's record.

        Raises:
            UnknownNameError: there is none.
        """
        return self._shop.store.get_run(run_id)

    def runs(self, *, limit: int = 50) -> list[RunRecord]:
        """Return the newest runs first."""
        return self._shop.store.list_runs(limit=limit)

    @property
    def workshop(self) -> Workshop:
        """What runs share: store, ledger, artifacts. For reading what runs left."""
        return self._shop


def _finished(runner: Runner, running: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Wait for a run; an interrupt becomes the error that says what was kept."""
    try:
        return asyncio.run(running)
    except (KeyboardInterrupt, asyncio.CancelledError):
        if runner.cancelled is None:
            raise
        raise runner.cancelled from None


async def _next(events: AsyncIterator[Event | RunResult]) -> Event | RunResult:
    return await anext(events)


async def _close(events: Any) -> None:
    await events.aclose()
