"""`Runner`: one run from its inputs to its record: guards at both ends, the graph between, a trace beside it."""

from __future__ import annotations

import asyncio
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentflow.budget.ledger import Ledger, Usage
from agentflow.core.amounts import Amounts
from agentflow.core.errors import (
    AgentflowError,
    InvalidInputError,
    RunCancelledError,
    RunError,
    StepFailedError,
    StorageError,
)
from agentflow.core.protocols import ChatModel
from agentflow.core.records import Envelope, GuardRecord, Hook, RunStatus, StepStatus
from agentflow.execution.call import StepCall
from agentflow.execution.context import Listener, RunContext, nobody
from agentflow.execution.workers import Workers
from agentflow.guard.manifest import manifest
from agentflow.llm.models import build_chat_model
from agentflow.store.artifacts import FileArtifacts
from agentflow.store.store import Store
from agentflow.tracing.export import Exporters
from agentflow.tracing.tracer import start_tracing
from agentflow.workflow.bodies import Equipment, guard_of, guarded_value
from agentflow.workflow.expressions import Secrets, resolve
from agentflow.workflow.inputs import resolve_inputs
from agentflow.workflow.planning import plan_step
from agentflow.workflow.project import Project
from agentflow.workflow.schema import EmbeddedModel, Workflow, WorldSpec
from agentflow.worldmodel import catalog

PROJECT_SCOPE = "project"
_SECRET = re.compile(r"secrets\.([A-Za-z_][A-Za-z0-9_]*)")
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
    question: dict[str, Any] | None = None


@dataclass
class Workshop:
    """What runs of one project share: store, ledger, artifacts, exporters, opened worlds and models."""

    project: Project
    folder: Path
    models: Mapping[str, Any] = field(default_factory=dict)
    """Language models that the calling program hands over, by their name in the file."""
    secrets: Mapping[str, str] | None = None
    replay: Callable[[StepCall], StepCall] | None = None
    """What answers the calls of its runs in their place, see `RunContext.replay`."""

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError("the project's records", str(self.folder), error) from error
        self.store = Store.open(self.folder)
        self.ledger = Ledger(self.store)
        self.ledger.open_scope(PROJECT_SCOPE, Amounts.unlimited())
        self.artifacts = FileArtifacts(self.folder)
        self.exporters = Exporters.from_environment()
        self.workers = Workers()
        self.worlds: dict[str, Any] = {}  # by their name in the file; a program may put its own in here
        self.simulators: dict[str, Any] = {}
        self._chats: dict[str, ChatModel | None] = {}

    def close(self) -> None:
        """Close what was opened; exporters get a moment to send what they hold."""
        self.workers.close()
        self.exporters.close()
        for simulator in self.simulators.values():
            simulator.close()
        for chat in self._chats.values():
            close = getattr(chat, "close", None)
            if close is not None:
                close()
        self.store.close()

    def world(self, name: str | None) -> Any:
        """Return an opened world of the file; without a name, its only one."""
        key, spec = self._world_spec(name)
        if key not in self.worlds:
            if spec.url:
                raise InvalidInputError(
                    f"worlds.{key}.url",
                    f"'{spec.url}'",
                    "`use: <name>`; world servers are not part of this version yet",
                )
            weights = self.project.root / spec.weights if spec.weights else None
            self.worlds[key] = catalog.open_world(spec.use or key, device=spec.device, weights=weights)
        return self.worlds[key]

    def simulator(self, name: str | None) -> Any:
        """Return the true simulator of a world of the file."""
        key, spec = self._world_spec(name)
        if key not in self.simulators:
            self.simulators[key] = catalog.open_simulator(spec.use or key)
        return self.simulators[key]

    def _world_spec(self, name: str | None) -> tuple[str, WorldSpec]:
        worlds = self.project.file.spec.worlds
        if name is None:
            if len(worlds) != 1:
                raise InvalidInputError(
                    "world", "none named", f"one of {', '.join(worlds) or 'none: declare one under `worlds`'}"
                )
            name = next(iter(worlds))
        if name not in worlds:
            raise InvalidInputError("world", f"'{name}'", ", ".join(worlds))
        return name, worlds[name]

    def chat(self, name: str) -> ChatModel | None:
        """Return a language model of the file, or None for the embedded planner; the program's own comes first."""
        if name not in self._chats:
            spec = self.project.file.spec.models[name]
            if isinstance(self.models.get(name), ChatModel):
                self._chats[name] = self.models[name]
            elif isinstance(spec, EmbeddedModel):
                self._chats[name] = None
            else:
                scope = {"secrets": Secrets(self.secrets, f"models.{name}")}
                settings = resolve(_model_settings(spec, self.project.root), scope)
                self._chats[name] = build_chat_model(name, settings, self.models.get(name))
        return self._chats[name]

    def named_secrets(self) -> dict[str, str]:
        """Return all secrets that the file names and that are set."""
        names = set(_SECRET.findall(self.project.file.spec.model_dump_json(by_alias=True)))
        source = os.environ if self.secrets is None else self.secrets
        return {name: source[name] for name in names if source.get(name)}

    def secret_values(self) -> list[str]:
        """Return the values of all secrets that the file names, so that no span holds one."""
        return list(self.named_secrets().values())


def _model_settings(spec: Any, root: Path) -> dict[str, Any]:
    """Return an entry under ``models:`` as `build_chat_model` takes it."""
    raw: dict[str, Any] = {"provider": spec.provider}
    if spec.provider in ("openai", "langchain") and spec.price:
        raw["price"] = {
            "input_per_million_usd": spec.price.input_usd_per_million,
            "output_per_million_usd": spec.price.output_usd_per_million,
        }
    if spec.provider == "openai":
        raw |= {
            "base_url": spec.base_url, "model": spec.model, "timeout_s": spec.timeout, "max_paid_attempts": 1,
            "options": {"temperature": spec.temperature},
        }  # fmt: skip
        if spec.api_key:
            raw["api_key"] = spec.api_key
    if spec.provider == "local":
        raw |= {"path": str(root / spec.path), "context": spec.context_tokens}
    return raw


def _refuse_what_is_not_run_yet(workflow: Workflow) -> None:
    """Refuse, before anything begins, what the file may say and this version would not do.

    Raises:
        InvalidInputError: names the step and the setting.
    """
    budgets = [("budget", workflow.budget), *((f"step '{s.id}': budget", s.budget) for s in workflow.steps)]
    for where, budget in budgets:
        if budget is not None and budget.on_exhausted == "pause":
            raise InvalidInputError(
                f"{where}.on_exhausted", "'pause', which no run does yet", "stop, degrade"
            )
    for step in workflow.steps:
        if step.workflow:
            raise InvalidInputError(
                f"step '{step.id}'",
                "a workflow within a workflow, which no run does yet",
                "its steps themselves",
            )
        if step.cache:
            raise InvalidInputError(f"step '{step.id}': cache", "true, which no run does yet", "false")


class Runner:
    """Runs one workflow once."""

    def __init__(self, workshop: Workshop, name: str, *, seed: int = 0, listener: Listener = nobody) -> None:
        self.workshop, self.name, self.seed, self.listener = workshop, name, seed, listener
        self.workflow: Workflow = workshop.project.file.workflow(name)
        self.digest = workshop.project.file.digest(name)
        self.cancelled: RunCancelledError | None = None
        """What to tell a person whose interrupt ended the run."""

    async def start(self, given: Mapping[str, Any], run_id: str | None = None) -> Outcome:
        """Run with ``given`` inputs.

        Raises:
            InvalidInputError: an input does not fit; nothing was begun.
            CancelledError: the task was cancelled; the run is on record as cancelled, its finished steps are kept.
        """
        _refuse_what_is_not_run_yet(self.workflow)
        inputs = resolve_inputs(self.workflow, given)
        run_id = run_id or f"{self.name}-{uuid.uuid4().hex[:10]}"
        folder = self.workshop.folder / "runs" / run_id
        trace = folder / "trace.jsonl"
        self.workshop.store.create_run(
            run_id, self.name, self.digest, inputs, seed=self.seed, trace_path=str(trace)
        )
        caps = self.workflow.budget.to_amounts()
        self.workshop.ledger.open_scope(f"run:{run_id}", caps, PROJECT_SCOPE)
        return await self._go(run_id, inputs, None, resumed=False)

    async def resume(self, run_id: str, decision: dict[str, Any] | None = None) -> Outcome:
        """Go on with a run that was interrupted, or that waits for ``decision``.

        Raises:
            InvalidInputError: the run ended, or its workflow has changed since.
        """
        record = self.workshop.store.get_run(run_id)
        if record.status not in (RunStatus.RUNNING, RunStatus.WAITING, RunStatus.CANCELLED, RunStatus.FAILED):
            raise InvalidInputError(
                f"run {run_id}", f"status '{record.status}'", "one that waits or was cut off"
            )
        if record.digest != self.digest:
            raise InvalidInputError(
                f"run {run_id}", f"a workflow that has changed since ({record.digest[:12]} → {self.digest[:12]})",
                "the same workflow; start a new run",
            )  # fmt: skip
        if record.status is RunStatus.WAITING:
            decision = await self._decision(run_id, decision)
        self.seed = record.seed
        self.workshop.store.mark_run(run_id, RunStatus.RUNNING)
        self.workshop.ledger.recover(f"run:{run_id}")
        return await self._go(run_id, record.inputs, decision, resumed=True)

    async def _decision(self, run_id: str, decision: dict[str, Any] | None) -> dict[str, Any]:
        """Return the decision that counts: a person's, or where the time for it is over, the file's own."""
        from agentflow.workflow.checkpoints import open_checkpointer, waiting_question

        async with open_checkpointer(self.workshop.folder / "checkpoints.db") as saver:
            question = await waiting_question(saver, run_id)
        if question.get("expires_ms") is not None and time.time() * 1e3 > question["expires_ms"]:
            word = "approve" if question["on_timeout"] == "approve" else "reject"
            return {"decision": word, "by": "timeout", "comment": "nobody decided in time"}
        if decision is None:
            raise InvalidInputError(
                f"run {run_id}",
                "no decision",
                "`agentflow approve` or `agentflow reject` (in Python: `decide`)",
            )
        return decision

    async def _go(
        self, run_id: str, inputs: dict[str, Any], decision: dict[str, Any] | None, *, resumed: bool
    ) -> Outcome:
        shop = self.workshop
        folder = shop.folder / "runs" / run_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tracer = start_tracing(run_id, folder, exporters=shop.exporters, secrets=shop.secret_values())
        except OSError as error:
            refused = StorageError("the run's folder", str(folder), error)
            shop.store.finish_run(run_id, RunStatus.FAILED, error=refused)
            raise refused from error
        context = RunContext(
            run_id=run_id, scope=f"run:{run_id}", seed=self.seed, folder=folder, store=shop.store, ledger=shop.ledger,
            artifacts=shop.artifacts, tracer=tracer, registry=shop.project.registry, worlds=shop.world,
            simulators=shop.simulator, models=shop.chat, listener=self.listener,
            degrade=self.workflow.budget.on_exhausted == "degrade", resumed=resumed,
            workers=shop.workers, replay=shop.replay,
        )  # fmt: skip
        context.view["inputs"] = inputs
        equipment = Equipment(
            context, self.workflow, shop.project.root, plan_step, shop.chat, shop.project.file.spec.models,
            Secrets(shop.secrets),
        )  # fmt: skip
        context.emit("run_started", text=self.name, run_id=run_id, inputs=inputs)
        try:
            with tracer.run(self.name, digest=self.digest, inputs=inputs) as span:
                outcome = await self._ending(context, equipment, decision, resumed)
                span.run_ended(outcome.status, outcome.usage.spent, outcome.error)
        finally:
            tracer.close()
        context.emit("run_finished", text=str(outcome.status), status=str(outcome.status))
        return outcome

    async def _ending(
        self, context: RunContext, equipment: Equipment, decision: dict[str, Any] | None, resumed: bool
    ) -> Outcome:
        """Run, and put on record how it ended, whatever ended it."""
        try:
            return await self._through(context, equipment, decision, resumed)
        except asyncio.CancelledError:
            self.cancelled = RunCancelledError(context.run_id, "an interrupt")
            self._finish(context, RunStatus.CANCELLED, None, self.cancelled)
            raise
        except AgentflowError as error:
            self._finish(context, RunStatus.FAILED, None, error)
            return self._outcome(context, RunStatus.FAILED, None, error, context.view["steps"])
        except Exception as error:
            self._finish(context, RunStatus.FAILED, None, error)
            raise

    async def _through(
        self, context: RunContext, equipment: Equipment, decision: dict[str, Any] | None, resumed: bool
    ) -> Outcome:
        inputs = context.view["inputs"]
        checked = await guarded_value(equipment, "input", Hook.INPUT, lambda: inputs)
        if not checked.usable:
            return self._ended(context, checked, "input", {})
        context.view["inputs"] = checked.output
        state = await self._graph(context, equipment, decision, resumed)
        steps = state.get("steps", {})
        context.view["steps"] = steps
        if waiting := state.get("__interrupt__"):
            return self._waiting(context, waiting[0].value, steps)
        if state.get("failed"):
            failed = self._envelope_of(context, state["failed"])
            return self._ended(context, failed, state["failed"], steps)

        def outputs() -> dict[str, Any]:
            resolved: dict[str, Any] = resolve(dict(self.workflow.outputs), equipment.names(steps).names())
            return resolved

        last = await guarded_value(equipment, "output", Hook.OUTPUT, outputs)
        if not last.usable:
            return self._ended(context, last, "output", steps)
        degraded = any(step.get("status") == StepStatus.DEGRADED for step in steps.values())
        status = RunStatus.DEGRADED if degraded else RunStatus.SUCCEEDED
        self._finish(context, status, last.output, None)
        return self._outcome(context, status, last.output, None, steps)

    def _waiting(self, context: RunContext, question: dict[str, Any], steps: dict[str, Any]) -> Outcome:
        with context.tracer.approval_request(question["step"], message=question["message"]):
            self.workshop.store.mark_run(context.run_id, RunStatus.WAITING)
        context.emit("waiting", question["step"], question["message"], question=question)
        return self._outcome(context, RunStatus.WAITING, None, None, steps, question)

    async def _graph(
        self, context: RunContext, equipment: Equipment, decision: dict[str, Any] | None, resumed: bool
    ) -> dict[str, Any]:
        from langgraph.types import Command

        from agentflow.workflow.checkpoints import open_checkpointer, snapshot
        from agentflow.workflow.compiler import Compiler

        compiler = Compiler(context, self.workflow, equipment)
        async with open_checkpointer(self.workshop.folder / "checkpoints.db") as saver:
            graph = compiler.graph(saver)
            config = {"configurable": {"thread_id": context.run_id}, "recursion_limit": compiler.most_steps}
            start: Any = {"steps": {}, "loops": {}}
            if resumed:
                stands = await snapshot(graph, config)
                found: dict[str, Any] = stands.values or {}
                if decision is not None:
                    start = Command(resume=decision)
                elif stands.next:
                    start = None  # go on where it was cut off
                elif found.get("failed"):
                    start = Command(goto=found["failed"], update={"failed": ""})
                elif found:
                    return found  # all that was left to do was its outputs
            state: dict[str, Any] = await graph.ainvoke(start, config, durability="sync")
            return state

    def _envelope_of(self, context: RunContext, step: str) -> Envelope:
        found = [
            record.envelope for record in self.workshop.store.steps(context.run_id) if record.path == step
        ]
        return found[-1] if found else Envelope(status=StepStatus.FAILED, error="no record")

    def _ended(self, context: RunContext, envelope: Envelope, step: str, steps: dict[str, Any]) -> Outcome:
        status = _STATUS.get(envelope.status, RunStatus.FAILED)
        error = StepError(step, envelope)
        self._finish(context, status, None, error)
        return self._outcome(context, status, None, error, steps)

    def _finish(
        self, context: RunContext, status: RunStatus, outputs: Any, error: BaseException | None
    ) -> None:
        self.workshop.store.finish_run(
            context.run_id, status, outputs=outputs, error=error, manifest=self._manifest(context)
        )

    def _manifest(self, context: RunContext) -> dict[str, Any]:
        uses = [("", use) for use in self.workflow.guardrails]
        uses += [(step.id, use) for step in self.workflow.steps for use in step.guardrails]
        scope = {"inputs": context.view["inputs"], "steps": context.view["steps"]}
        guards = []
        for step, use in uses:
            try:
                guards.append((step, guard_of(use, context.registry, scope)))
            except AgentflowError:  # its parameters read a step that never ran
                plain = use.model_copy(update={"with_": {}})
                guards.append((step, guard_of(plain, context.registry, {})))
        return manifest(guards, self.workshop.store.verdicts(context.run_id))

    def _outcome(
        self, context: RunContext, status: RunStatus, outputs: Any, error: BaseException | None, steps: dict[str, Any],
        question: dict[str, Any] | None = None,
    ) -> Outcome:  # fmt: skip
        return Outcome(
            run_id=context.run_id,
            status=status,
            outputs=outputs,
            error=error,
            steps=steps,
            usage=self.workshop.ledger.usage(context.scope),
            verdicts=self.workshop.store.verdicts(context.run_id),
            manifest=self._manifest(context),
            trace_path=context.tracer.path,
            folder=context.folder,
            question=question,
        )


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


__all__ = ["Outcome", "Runner", "StepError", "StepFailedError", "Workshop"]
