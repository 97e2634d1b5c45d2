"""`Runner`: one run from its inputs to its record: guards at both ends, the graph between, a trace beside it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentflow.budget.ledger import Usage
from agentflow.core.errors import (
    AgentflowError,
    InvalidInputError,
    LeaseLostError,
    RunCancelledError,
    RunError,
    StorageError,
)
from agentflow.core.records import Envelope, GuardRecord, RunStatus, StepStatus
from agentflow.execution.context import RunContext
from agentflow.execution.events import Event, Listener, RunFinished, RunStarted, Waiting, nobody, told
from agentflow.execution.step import perform
from agentflow.guard.manifest import manifest
from agentflow.store.leases import Lease
from agentflow.store.records import ApprovalRecord, RunRecord
from agentflow.tracing.read import last_span
from agentflow.tracing.tracer import TRACE_NAME, start_tracing
from agentflow.workflow.approvals import raised_caps
from agentflow.workflow.bodies import begin_call, end_call
from agentflow.workflow.decisions import ENDED
from agentflow.workflow.expressions import Secrets
from agentflow.workflow.frames import Frame, guard_of
from agentflow.workflow.inputs import resolve_inputs
from agentflow.workflow.planning import plan_step
from agentflow.workflow.rerun import DEFINITION, RerunPlan
from agentflow.workflow.results import KEPT_ITEMS, Results
from agentflow.workflow.schema import Workflow, definition
from agentflow.workflow.steps import Step
from agentflow.workflow.workshop import PROJECT_SCOPE, Workshop

RESUMABLE = (
    RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.EXHAUSTED,
)  # fmt: skip
INTERRUPT = "an interrupt"
"""Who ended a run, where a signal did or the program that began it."""
_STATUS = {
    StepStatus.REFUSED: RunStatus.REFUSED,
    StepStatus.EXHAUSTED: RunStatus.EXHAUSTED,
    StepStatus.CANCELLED: RunStatus.CANCELLED,
}


@dataclass
class Outcome:
    """How a run ended, with everything that a person asks about it."""

    run_id: str
    status: RunStatus
    outputs: Any
    error: BaseException | None
    steps: dict[str, Any]
    usage: Usage
    verdicts: list[GuardRecord]
    manifest: dict[str, Any]
    trace_path: Path
    folder: Path
    questions: tuple[ApprovalRecord, ...] = ()
    """What people have to decide before the run can go on."""


class Runner:
    """Runs one workflow once, or goes on with a run of it."""

    def __init__(self, workshop: Workshop, name: str, *, seed: int = 0, listener: Listener = nobody) -> None:
        self.workshop, self.name, self.seed, self.listener = workshop, name, seed, listener
        self.workflow: Workflow = workshop.project.file.workflow(name)
        self.digest = workshop.project.file.digest(name)
        self.cancelled: RunCancelledError | None = None
        """What to tell a person whose interrupt ended the run."""
        self.gives_back = False
        """Whether a run whose task is cancelled goes back to the queue, for another process to go on with."""
        self._cancel_by = INTERRUPT
        self._lost: LeaseLostError | None = None

    def create(
        self, given: Mapping[str, Any], run_id: str | None = None, *, queued: bool = False,
        reused_from: str | None = None,
    ) -> tuple[str, Lease | None]:  # fmt: skip
        """Put a run on record: claimed by this process, or ``queued`` for a worker.

        Raises:
            InvalidInputError: an input does not fit, or the id is taken; nothing was begun.
        """
        inputs = resolve_inputs(self.workflow, given)
        run_id = run_id or f"{self.name}-{uuid.uuid4().hex[:10]}"
        folder = self._folder(run_id)
        lease = self.workshop.store.create_run(
            run_id, self.name, self.digest, inputs, seed=self.seed, trace_path=str(folder / "trace.jsonl"),
            status=RunStatus.QUEUED if queued else RunStatus.RUNNING, claim=not queued, reused_from=reused_from,
        )  # fmt: skip
        return run_id, lease

    async def start(self, given: Mapping[str, Any], run_id: str | None = None) -> Outcome:
        """Run with ``given`` inputs.

        Raises:
            InvalidInputError: an input does not fit; nothing was begun.
            CancelledError: the task was cancelled; the run is on record as cancelled, its finished steps are kept.
        """
        run_id, lease = self.create(given, run_id)
        return await self.held(run_id, lease)

    async def resume(self, run_id: str) -> Outcome:
        """Go on with a run that was interrupted, that is queued, or whose questions are answered.

        Raises:
            InvalidInputError: the run ended, waits for a decision, or its workflow has changed since.
            RunHeldError: another process is at work on it.
        """
        lease = self.take(self.workshop.store.get_run(run_id))
        return await self.held(run_id, lease, resumed=True)

    def take(self, record: RunRecord) -> Lease:
        """Claim a run that can go on, for `held` to do so.

        Raises:
            InvalidInputError: as `resume` says.
            RunHeldError: another process is at work on it.
        """
        self.require_resumable(record)
        lease = self.workshop.store.claim_run(record.id, fence=record.fence)
        self.seed = record.seed
        return lease

    async def rerun(self, plan: RerunPlan) -> Outcome:
        """Run again from a step of an earlier run, as a run of its own that takes over what stood before it.

        Raises:
            InvalidInputError: as `Rerun.of` says.
        """
        source = self.workshop.store.get_run(plan.run_id)
        self.seed = source.seed
        reused_from = f"{plan.run_id}#{plan.from_step}"
        run_id, lease = self.create(source.inputs, reused_from=reused_from)
        self.workshop.store.copy_steps(plan.run_id, run_id, ["input", *plan.reused], lease=lease)
        return await self.held(run_id, lease, resumed=True)

    def require_resumable(self, record: RunRecord) -> None:
        """Refuse a run that cannot go on.

        Raises:
            InvalidInputError: it ended, or its workflow has changed since.
        """
        where = f"run {record.id}"
        if record.status not in RESUMABLE:
            raise InvalidInputError(where, f"status '{record.status}'", "one that waits or was cut off")
        if record.digest != self.digest:
            raise InvalidInputError(
                where, f"a workflow that has changed since ({record.digest[:12]} → {self.digest[:12]})",
                "the same workflow; put it back, or begin anew with `agentflow rerun`",
            )  # fmt: skip

    def also_tell(self, listener: Listener) -> None:
        """Tell one more listener what happens."""
        first = self.listener

        def both(event: Event) -> None:
            told(first, event)
            told(listener, event)

        self.listener = listener if first is nobody else both

    def step_at(self, path: str) -> Step | None:
        """Return the step of a place in a run, such as ``each[3]/ask``; None where there is none."""
        workflow, step = self.workflow, None
        for part in path.split("/"):
            if step is not None:
                workflow = self.workshop.project.file.workflow(step.workflow or "")
            wanted = part.partition("[")[0]
            step = next((each for each in workflow.steps if each.id == wanted), None)
            if step is None:
                return None
        return step

    def _folder(self, run_id: str) -> Path:
        return self.workshop.folder / "runs" / run_id

    async def held(self, run_id: str, lease: Lease | None, *, resumed: bool = False) -> Outcome:
        """Go through a run while its lease is renewed; a lease that is lost ends the work, not the run."""
        if lease is None:
            raise InvalidInputError(f"run {run_id}", "no lease", "a run that this process has claimed")
        shop, loop, task = self.workshop, asyncio.get_running_loop(), asyncio.current_task()

        def stop(reason: LeaseLostError | str) -> None:
            if isinstance(reason, LeaseLostError):
                self._lost = reason
            else:
                self._cancel_by = reason
            if task is not None:
                with suppress(RuntimeError):  # the loop is gone: so is the run
                    loop.call_soon_threadsafe(task.cancel)

        lost = LeaseLostError(run_id, "")
        try:
            with shop.keep(lease, lambda: stop(lost), lambda: stop("`agentflow cancel`")):
                return await self._go(run_id, lease, resumed=resumed)
        except asyncio.CancelledError:
            if self._lost is None:
                raise
            raise self._lost from None

    async def _go(self, run_id: str, lease: Lease, *, resumed: bool) -> Outcome:
        shop, store = self.workshop, self.workshop.store
        record = store.get_run(run_id)
        folder = self._folder(run_id)
        scope = f"run:{run_id}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            before = last_span(folder / TRACE_NAME) if resumed else None
            # Again when the run goes on: who began it may have died before, or on another machine.
            (folder / DEFINITION).write_text(json.dumps(definition(self.workflow)))
            tracer = start_tracing(run_id, folder, exporters=shop.exporters, secrets=shop.secret_values())
        except OSError as error:
            refused = StorageError("the run's folder", str(folder), error)
            store.finish_run(run_id, RunStatus.FAILED, error=refused, lease=lease)
            raise refused from error
        context = RunContext(
            run_id=run_id, scope=scope, seed=self.seed, folder=folder, store=store, ledger=shop.ledger,
            artifacts=shop.artifacts, tracer=tracer, registry=shop.project.registry, worlds=shop.world,
            simulators=shop.simulator, models=shop.chat, listener=self.listener, resumed=resumed, lease=lease,
            workers=shop.workers, replay=shop.replay, retries=record.status in ENDED,
        )  # fmt: skip
        if resumed:
            store.mark_run(run_id, RunStatus.RUNNING, lease=lease)
        for asked in store.approvals(run_id) if resumed else ():
            if asked.kind == "budget" and asked.decision == "approve":
                context.raise_cap(asked.shown["scope"], raised_caps(asked.shown, asked.answers))
        context.open_scope(scope, self.workflow.budget.to_amounts(), PROJECT_SCOPE)
        if resumed:
            shop.ledger.recover(scope)
        frame = Frame(
            context, self.workflow, shop.project.root, plan_step, shop.chat, shop.project.file.spec.workflows,
            shop.project.file.spec.models, Secrets(shop.secrets), scope=scope,
            degrades=self.workflow.budget.on_exhausted == "degrade",
            pauses=self.workflow.budget.on_exhausted == "pause", begins_at=(record.reused_from or "").partition("#")[2],
        )  # fmt: skip
        context.view = frame.view
        frame.view["inputs"] = record.inputs
        context.tell(RunStarted(run_id, "", self.name, record.inputs, resumed))
        try:
            with tracer.run(self.name, digest=self.digest, inputs=record.inputs, resumed_from=before) as span:
                outcome = await self._ending(frame)
                span.run_ended(outcome.status, outcome.usage.spent, outcome.error)
        finally:
            tracer.close()
        return outcome

    async def _ending(self, frame: Frame) -> Outcome:
        """Run, and put on record how it ended, whatever ended it."""
        try:
            return await self._through(frame)
        except asyncio.CancelledError:
            if self._lost is None and self.gives_back and self._cancel_by == INTERRUPT:
                context = frame.context
                self.workshop.store.mark_run(context.run_id, RunStatus.QUEUED, lease=context.lease)
                context.tell(RunFinished(context.run_id, status=RunStatus.QUEUED))
            elif self._lost is None:
                self.cancelled = RunCancelledError(frame.context.run_id, self._cancel_by)
                self._finish(frame, RunStatus.CANCELLED, None, self.cancelled)
            raise
        except LeaseLostError:  # what became of the run is now another process's to say
            raise
        except AgentflowError as error:
            self._finish(frame, RunStatus.FAILED, None, error)
            return self._outcome(frame, RunStatus.FAILED, None, error)
        except Exception as error:
            self._finish(frame, RunStatus.FAILED, None, error)
            raise

    async def _through(self, frame: Frame) -> Outcome:
        given = frame.view["inputs"]
        checked = await perform(frame.context, begin_call(frame, lambda: given))
        if not checked.usable:
            return self._ended(frame, checked, "input")
        frame.view["inputs"] = checked.output
        failed, failure = await self._graph(frame)
        if failure is not None:
            return self._ended(frame, failure, failed)
        if questions := self.workshop.store.approvals(frame.context.run_id, open_only=True):
            return self._waiting(frame, tuple(questions))
        last = await perform(frame.context, end_call(frame))
        if not last.usable:
            return self._ended(frame, last, "output")
        steps = frame.view["steps"].values()
        degraded = any(step["status"] == StepStatus.DEGRADED for step in steps)
        status = RunStatus.DEGRADED if degraded else RunStatus.SUCCEEDED
        self._finish(frame, status, last.output, None)
        return self._outcome(frame, status, last.output, None)

    def _waiting(self, frame: Frame, questions: tuple[ApprovalRecord, ...]) -> Outcome:
        context = frame.context
        for question in questions:
            with context.tracer.approval_request(question.id, message=question.message):
                context.tell(Waiting(context.run_id, question.path, question=question))
        self.workshop.store.mark_run(context.run_id, RunStatus.WAITING, lease=context.lease)
        context.tell(RunFinished(context.run_id, status=RunStatus.WAITING))
        return self._outcome(frame, RunStatus.WAITING, None, None, questions)

    async def _graph(self, frame: Frame) -> tuple[str, Envelope | None]:
        """Go through the graph, or on from where it stands; return the step that ended it, and how."""
        from langgraph.types import Command

        from agentflow.workflow.checkpoints import StoreCheckpointer
        from agentflow.workflow.compiler import Compiler

        context = frame.context
        compiler = Compiler(frame)
        saver = StoreCheckpointer(context.store, context.lease)
        graph = compiler.graph(saver, start=frame.begins_at)
        config = {"configurable": {"thread_id": context.run_id}, "recursion_limit": compiler.most_steps}
        start: Any = {"loops": {}}
        if context.resumed:
            finished = _last_of_each(context)
            if frame.begins_at:  # the reused steps had gone round this often
                start = {"loops": {"": max((int(i or 0) for i, _ in finished.values()), default=0)}}
            for each in compiler.frames:
                each.restore(finished)
            stands = await graph.aget_state(config)
            found: dict[str, Any] = stands.values or {}
            if stands.next:
                start = None  # go on where it was cut off
            elif found.get("failed"):
                start = Command(goto=found["failed"], update={"failed": ""})
            elif found:
                return "", None  # all that is left to do are its outputs
        state = await graph.ainvoke(start, config, durability="sync")
        return state.get("failed", ""), compiler.failure

    def _ended(self, frame: Frame, envelope: Envelope, step: str) -> Outcome:
        status = _STATUS.get(envelope.status, RunStatus.FAILED)
        error = StepError(step, envelope)
        self._finish(frame, status, None, error)
        return self._outcome(frame, status, None, error)

    def _finish(self, frame: Frame, status: RunStatus, outputs: Any, error: BaseException | None) -> None:
        context = frame.context
        self.workshop.store.finish_run(
            context.run_id, status, outputs=outputs, error=error, manifest=self._manifest(frame), lease=context.lease
        )  # fmt: skip
        context.tell(RunFinished(context.run_id, "", None if error is None else str(error), status=status))

    def _manifest(self, frame: Frame) -> dict[str, Any]:
        uses = [("", use) for use in self.workflow.guardrails]
        uses += [(step.id, use) for step in self.workflow.steps for use in step.guardrails]
        guards = []
        for step, use in uses:
            try:
                guards.append((step, guard_of(use, frame.context.registry, frame.view)))
            except AgentflowError:  # its parameters read a step that never ran
                plain = use.model_copy(update={"with_": {}})
                guards.append((step, guard_of(plain, frame.context.registry, {})))
        return manifest(guards, self.workshop.store.verdicts(frame.context.run_id))

    def _outcome(
        self, frame: Frame, status: RunStatus, outputs: Any, error: BaseException | None,
        questions: tuple[ApprovalRecord, ...] = (),
    ) -> Outcome:  # fmt: skip
        context = frame.context
        return Outcome(
            run_id=context.run_id,
            status=status,
            outputs=outputs,
            error=error,
            steps={name: _listed(step) for name, step in frame.view["steps"].items()},
            usage=self.workshop.ledger.usage(context.scope),
            verdicts=self.workshop.store.verdicts(context.run_id),
            manifest=self._manifest(frame),
            trace_path=context.tracer.path,
            folder=context.folder,
            questions=questions,
        )


def _last_of_each(context: RunContext) -> dict[str, tuple[str, Envelope]]:
    """Return, for each place of a step, its last iteration and how that ended; items and inner calls left out."""
    last: dict[str, tuple[str, Envelope]] = {}
    for record in context.store.outer_steps(context.run_id):
        known = last.get(record.path)
        if known is None or int(record.iteration or 0) >= int(known[0] or 0):
            last[record.path] = record.iteration, record.envelope
    return last


def _listed(step: dict[str, Any]) -> dict[str, Any]:
    """Return how a step ended, with its items' results as a list, so that it is JSON; many stay in the store."""
    results = step.get("results")
    if not isinstance(results, Results) or len(results) > KEPT_ITEMS:
        return step
    return {**step, "results": list(results)}


class StepError(RunError):
    """The step that ended a run, as its envelope says it."""

    def __init__(self, step: str, envelope: Envelope) -> None:
        self.step, self.envelope = step, envelope
        self._kind = envelope.error_kind or "StepFailed"
        Exception.__init__(self, envelope.error or f"step '{step}' ended as {envelope.status}")
        self.exit_code = {StepStatus.EXHAUSTED: 4, StepStatus.REFUSED: 5}.get(envelope.status, 1)

    @property
    def kind(self) -> str:
        """The inner error's name."""
        return self._kind
