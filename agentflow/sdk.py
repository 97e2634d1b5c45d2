"""`Agentflow`: open a project, run its workflows, follow them, look at what they left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agentflow.core.errors import InvalidInputError
from agentflow.execution.events import Event, Listener, nobody
from agentflow.workflow.decisions import cancel, decide, require_waiting
from agentflow.workflow.handle import RunHandle
from agentflow.workflow.project import Project
from agentflow.workflow.rerun import RerunPlan
from agentflow.workflow.runner import Outcome, Runner
from agentflow.workflow.workshop import Workshop

if TYPE_CHECKING:
    from agentflow.store.records import ApprovalRecord, RunRecord
    from agentflow.worldmodel.contract import WorldModel

FOLDER = ".agentflow"

Given = Mapping[str, Any] | None
"""Inputs of a workflow by their names."""

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
        worlds: Mapping[str, WorldModel] | None = None,
        simulators: Mapping[str, Any] | None = None,
        database_url: str | None = None,
    ) -> Self:
        """Open a project by its workflow file or folder.

        Args:
            path: the file, or the folder that holds ``workflows.yaml``.
            folder: where records, artifacts and traces go; by default ``.agentflow`` beside the file.
            models: language models by their name in the file: a `ChatModel` or a LangChain chat model.
            secrets: where ``secrets.X`` is looked up; by default the environment.
            worlds: worlds by their name in the file, in the place of those that the file names.
            simulators: the same for the true simulators.
            database_url: of a PostgreSQL server that several machines share; by default what ``DATABASE_URL``
                says, else a SQLite file in ``folder``.

        Raises:
            WorkflowFileError: the file or a module of the project does not hold; every mistake at once.
            StorageError: the folder cannot be used.
        """
        project = Project.open(path, secrets=secrets)
        shop = Workshop(
            project, folder or project.root / FOLDER, models or {}, secrets, database_url, dict(worlds or {}),
            dict(simulators or {}),
        )  # fmt: skip
        return cls(shop)

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
        self, workflow: str, given: Given = None, /, *, seed: int = 0, listener: Listener | None = None,
        **inputs: Any,
    ) -> RunResult:  # fmt: skip
        """Run a workflow to its end, or to where a person must decide.

        Args:
            workflow: its name.
            given: the workflow's inputs as a mapping, for names that are no keywords here, such as ``seed``.
            seed: of all randomness.
            listener: called with every `Event`.
            inputs: the workflow's inputs.

        Raises:
            InvalidInputError: an input does not fit; nothing was begun.
            UnknownNameError: there is no such workflow.
            RunCancelledError: Ctrl-C, or `cancel`, ended it; finished steps are kept, and `resume` goes on.
        """
        runner = self._runner(workflow, listener, seed=seed)
        return _finished(runner, runner.start({**(given or {}), **inputs}))

    async def arun(
        self, workflow: str, given: Given = None, /, *, seed: int = 0, listener: Listener | None = None,
        **inputs: Any,
    ) -> RunResult:  # fmt: skip
        """Like `run`, for programs that have an event loop; a cancelled task raises ``CancelledError``."""
        return await self._runner(workflow, listener, seed=seed).start({**(given or {}), **inputs})

    def start(
        self, workflow: str, given: Given = None, /, *, seed: int = 0, listener: Listener | None = None,
        **inputs: Any,
    ) -> RunHandle:  # fmt: skip
        """Begin a run on a thread of its own and return at once.

        Raises:
            InvalidInputError: an input does not fit; nothing was begun.
        """
        runner = self._runner(workflow, listener, seed=seed)
        run_id, lease = runner.create({**(given or {}), **inputs})
        return RunHandle(runner, run_id, runner.held(run_id, lease))

    async def astart(
        self, workflow: str, given: Given = None, /, *, seed: int = 0, listener: Listener | None = None,
        **inputs: Any,
    ) -> RunHandle:  # fmt: skip
        """Like `start`, for programs that have an event loop; ``await handle`` waits for its end there."""
        return await asyncio.to_thread(self.start, workflow, given, seed=seed, listener=listener, **inputs)

    def enqueue(self, workflow: str, given: Given = None, /, *, seed: int = 0, **inputs: Any) -> str:
        """Put a run on record for a worker (`agentflow worker`) to take; return its id.

        Raises:
            InvalidInputError: an input does not fit; nothing was begun.
        """
        runner = self._runner(workflow, None, seed=seed)
        return runner.create({**(given or {}), **inputs}, queued=True)[0]

    async def astream(
        self, workflow: str, given: Given = None, /, *, seed: int = 0, **inputs: Any
    ) -> AsyncIterator[Event | RunResult]:
        """Yield every `Event` of a run as it happens, and its result last."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listen(event: Event) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, event)

        task = asyncio.ensure_future(self.arun(workflow, given, seed=seed, listener=listen, **inputs))
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

    def stream(
        self, workflow: str, given: Given = None, /, *, seed: int = 0, **inputs: Any
    ) -> Iterator[Event | RunResult]:
        """Like `astream`, for programs without an event loop."""
        _require_no_loop()
        with asyncio.Runner() as runner:
            events = self.astream(workflow, given, seed=seed, **inputs)
            try:
                while True:
                    try:
                        yield runner.run(_next(events))
                    except StopAsyncIteration:
                        return
            finally:
                runner.run(_close(events))

    def approvals(self, run_id: str | None = None, *, open_only: bool = True) -> list[ApprovalRecord]:
        """Return what people are asked, or were: the oldest question first."""
        return self._shop.store.approvals(run_id, open_only=open_only)

    def decide(
        self, run_id: str, decision: str, *, by: str, comment: str = "", answers: Mapping[str, Any] | None = None,
        approval: str | None = None, digest: str | None = None, listener: Listener | None = None,
    ) -> RunResult:  # fmt: skip
        """Answer an approval that a run waits for, and go on with the run.

        Args:
            run_id: the run.
            decision: ``approve`` or ``reject``.
            by: who decides.
            comment: why.
            answers: the typed answers that the approval asks for; to a budget, new caps.
            approval: which one, by its id or step, where the run waits for several.
            digest: of what was shown when it was decided (or how that begins), where it was shown elsewhere.
            listener: called with every `Event`.

        Raises:
            InvalidInputError: no such decision, the run does not wait, or its workflow has changed since.
            AlreadyDecidedError: somebody was faster.
            PayloadChangedError: what is asked now is not what ``digest`` names.
            RunHeldError: another process is at work on the run.
            RunCancelledError: Ctrl-C ended it.
        """
        _require_no_loop()
        runner, _ = self._record_decision(run_id, decision, by, comment, answers, approval, digest, listener)
        return _finished(runner, runner.resume(run_id))

    async def adecide(
        self, run_id: str, decision: str, *, by: str, comment: str = "", answers: Mapping[str, Any] | None = None,
        approval: str | None = None, digest: str | None = None, listener: Listener | None = None,
    ) -> RunResult:  # fmt: skip
        """Like `decide`, for programs that have an event loop."""
        runner, _ = await asyncio.to_thread(
            self._record_decision, run_id, decision, by, comment, answers, approval, digest, listener
        )
        return await runner.resume(run_id)

    def record_decision(
        self, run_id: str, decision: str, *, by: str, comment: str = "", answers: Mapping[str, Any] | None = None,
        approval: str | None = None, digest: str | None = None,
    ) -> ApprovalRecord:  # fmt: skip
        """Answer an approval as `decide` does, and leave the run to a worker or a later `resume`."""
        return self._record_decision(run_id, decision, by, comment, answers, approval, digest, None)[1]

    async def arecord_decision(
        self, run_id: str, decision: str, *, by: str, comment: str = "", answers: Mapping[str, Any] | None = None,
        approval: str | None = None, digest: str | None = None,
    ) -> ApprovalRecord:  # fmt: skip
        """Like `record_decision`, for programs that have an event loop."""
        return await asyncio.to_thread(
            self.record_decision, run_id, decision, by=by, comment=comment, answers=answers, approval=approval,
            digest=digest,
        )  # fmt: skip

    def _record_decision(
        self, run_id: str, decision: str, by: str, comment: str, answers: Mapping[str, Any] | None,
        approval: str | None, digest: str | None, listener: Listener | None,
    ) -> tuple[Runner, ApprovalRecord]:  # fmt: skip
        record = self.get(run_id)
        runner = self._runner(record.workflow, listener)
        require_waiting(record)
        runner.require_resumable(record)
        made = decide(
            self._shop.store, runner.step_at, record, decision, by, comment, answers, approval, digest
        )
        return runner, made

    def resume(self, run_id: str, *, listener: Listener | None = None) -> RunResult:
        """Go on with a run that was cut off; finished steps are not called again.

        A run that waits for a decision looks again, and waits on where there is none.

        Raises:
            InvalidInputError: it ended, or its workflow has changed since.
            RunHeldError: another process is at work on it.
            RunCancelledError: Ctrl-C ended it.
        """
        runner = self._runner(self.get(run_id).workflow, listener)
        return _finished(runner, runner.resume(run_id))

    async def aresume(self, run_id: str, *, listener: Listener | None = None) -> RunResult:
        """Like `resume`, for programs that have an event loop."""
        return await self._runner(self.get(run_id).workflow, listener).resume(run_id)

    def plan_rerun(self, run_id: str, from_step: str) -> RerunPlan:
        """Return what a rerun would take over, and what it would pay for again.

        Raises:
            UnknownNameError: there is no such run or step.
            InvalidInputError: a step before ``from_step`` has changed since, or did not end well.
        """
        record = self.get(run_id)
        file, folder = self._shop.project.file, self._shop.folder / "runs" / run_id
        workflow, digest = file.workflow(record.workflow), file.digest(record.workflow)
        return RerunPlan.of(self._shop.store, record, workflow, digest, from_step, folder)

    def rerun(self, run_id: str, from_step: str, *, listener: Listener | None = None) -> RunResult:
        """Run again from a step of an earlier run, as a new run that takes over what stood before that step.

        Raises:
            InvalidInputError: see `plan_rerun`.
        """
        plan = self.plan_rerun(run_id, from_step)
        runner = self._runner(self.get(run_id).workflow, listener)
        return _finished(runner, runner.rerun(plan))

    async def arerun(self, run_id: str, from_step: str, *, listener: Listener | None = None) -> RunResult:
        """Like `rerun`, for programs that have an event loop."""
        plan = await asyncio.to_thread(self.plan_rerun, run_id, from_step)
        return await self._runner(self.get(run_id).workflow, listener).rerun(plan)

    def cancel(self, run_id: str) -> None:
        """End a run, wherever it is at work: its process is told; a run that no process has ends here.

        Raises:
            UnknownNameError: there is no such run.
            InvalidInputError: it has ended already.
        """
        cancel(self._shop.store, self.get(run_id))

    async def acancel(self, run_id: str) -> None:
        """Like `cancel`, for programs that have an event loop."""
        await asyncio.to_thread(self.cancel, run_id)

    def _runner(self, workflow: str, listener: Listener | None, *, seed: int = 0) -> Runner:
        return Runner(self._shop, workflow, seed=seed, listener=listener or nobody)

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


def _require_no_loop() -> None:
    """Refuse to wait where an event loop would stand still.

    Raises:
        InvalidInputError: one is at work in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InvalidInputError(
        "this call", "an event loop at work, which it would hold up", "its async form: `await flow.arun(…)`"
    )


def _finished(runner: Runner, running: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Wait for a run; an interrupt becomes the error that says what was kept."""
    try:
        _require_no_loop()
    except InvalidInputError:
        running.close()
        raise
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
