"""What a step of each kind does, as a `StepCall`: the tool, the agent, the evaluation, the sub-workflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentflow.core.amounts import Amounts
from agentflow.core.errors import (
    AgentflowError,
    GuardrailBlockedError,
    InvalidInputError,
    RunError,
    StepFailedError,
)
from agentflow.core.protocols import Call
from agentflow.core.records import Envelope, GuardAction, Hook, StepStatus
from agentflow.core.registry import Registry
from agentflow.execution import values
from agentflow.execution.call import InnerCallError, Notes, StepCall
from agentflow.execution.context import RunContext
from agentflow.execution.step import perform
from agentflow.execution.tools import tool_step
from agentflow.guard.engine import Guard, GuardEngine
from agentflow.workflow.expressions import Secrets, compile_expr, resolve
from agentflow.workflow.schema import Workflow
from agentflow.workflow.scoring import evaluate_body
from agentflow.workflow.steps import GuardrailUse, Step


class GateFailedError(RunError):
    """A gate said no to the best that there was."""

    kind_name = "GateFailed"

    def __init__(self, step: str, gate: str, best: Mapping[str, float], turn: int) -> None:
        shown = ", ".join(f"{name} {value:g}" for name, value in best.items())
        super().__init__(
            f"step '{step}': the gate `{gate}` does not hold for the best of pass {turn} ({shown}). "
            "Ask for something easier, allow more loops (`max_loops`), or loosen the gate."
        )


class ItemsFailedError(InnerCallError):
    """Too many items of a ``foreach`` failed; the step ends as the first of them did."""

    def __init__(self, step: str, first: Mapping[str, Any], bad: int, count: int) -> None:
        super().__init__(
            StepStatus(first["status"]),
            first["error_kind"],
            f"step '{step}': {bad} of {count} items failed; item {first['index']}: {first['error']}",
        )


def _readable(amounts: Amounts) -> dict[str, Any]:
    return {**amounts.as_dict(), "usd": amounts.micro_usd / 1e6, "gpu_seconds": amounts.gpu_ms / 1e3}


def defect(what: str) -> AgentflowError:
    """Return the error of a state that the loader should have refused."""
    return StepFailedError(what, "a step of this kind without its settings: this is a defect of agentflow")


def rejected(step: str, decision: Mapping[str, Any]) -> GuardrailBlockedError:
    """Return the error of a step that a person rejected."""
    comment = decision.get("comment") or "no comment"
    return GuardrailBlockedError(
        f"approval {step}", Hook.RESUME, f"rejected by {decision.get('by', 'someone')}: {comment}"
    )


def as_list(step: str, items: Any) -> list[Any]:
    """Return the items of a ``foreach``.

    Raises:
        InvalidInputError: they are no list.
    """
    if not isinstance(items, list):
        raise InvalidInputError(f"step '{step}': foreach.in", type(items).__name__, "a list")
    return items


def enough(step: Step, results: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a ``foreach`` of which too much failed.

    Raises:
        ItemsFailedError: names the first item that failed.
        InvalidInputError: the list is shorter than what must succeed.
    """
    each = step.foreach
    bad = [result for result in results if not result["ok"]]
    if each is None:
        return
    wanted = len(results) if each.on_error == "fail" else each.min_success or (1 if results else 0)
    if len(results) - len(bad) >= wanted:
        return
    if not bad:
        raise InvalidInputError(f"step '{step.id}': foreach.in", f"{len(results)} items", f"{wanted} or more")
    raise ItemsFailedError(step.id, bad[0], len(bad), len(results))


def visible(envelope: Envelope) -> dict[str, Any]:
    """Return what expressions may read of a finished step."""
    return {
        "status": envelope.status.value,
        "ok": envelope.usable,
        "skipped": envelope.status is StepStatus.SKIPPED,
        "output": envelope.output,
        "error": envelope.error,
        "error_kind": envelope.error_kind,
        "usage": envelope.usage.as_dict(),
    }


class _Roots(Mapping[str, Any]):
    """Names with their values, and ``run`` and ``budget``, which are read when they are asked for."""

    _FIGURES = ("run", "budget")

    def __init__(self, plain: Mapping[str, Any], figures: Callable[[], dict[str, Any]]) -> None:
        self._plain, self._figures = plain, figures

    def __getitem__(self, name: str) -> Any:
        return self._figures()[name] if name in self._FIGURES else self._plain[name]

    def __contains__(self, name: object) -> bool:
        return name in self._FIGURES or name in self._plain

    def __iter__(self) -> Iterator[str]:
        return iter((*self._plain, *self._FIGURES))

    def __len__(self) -> int:
        return len(self._plain) + len(self._FIGURES)


@dataclass(frozen=True)
class Scope:
    """What expressions read: inputs, steps, the run's and the budget's figures, secrets, a ``foreach`` item.

    ``figures`` returns ``run`` and ``budget`` as they stand when an expression asks.
    """

    inputs: Mapping[str, Any]
    steps: Mapping[str, Any]
    figures: Callable[[], dict[str, Any]]
    secrets: Mapping[str, str]
    items: Mapping[str, Any] = field(default_factory=dict)

    def names(self) -> Mapping[str, Any]:
        """Return the roots; the ledger is read only for those that ask it."""
        plain = {"inputs": self.inputs, "steps": self.steps, "secrets": self.secrets}
        return _Roots({**plain, **self.items}, self.figures)

    def with_item(self, name: str, item: Any) -> Scope:
        """Return the scope of one item."""
        return replace(self, items={name: item})


def _degrades(step: Step) -> bool | None:
    """Return whether the step's own budget may give something up, or None where it does not say."""
    if step.budget is None or "on_exhausted" not in step.budget.model_fields_set:
        return None
    return step.budget.on_exhausted == "degrade"


@dataclass
class Equipment:
    """What turns a step of a workflow into a `StepCall` in one run."""

    context: RunContext
    workflow: Workflow
    root: Path
    plan: Callable[[Step, dict[str, Any], StepCall, Equipment], Any]
    models: Callable[[str], Any]
    model_specs: Mapping[str, Any] = field(default_factory=dict)
    """The file's entries under ``models``."""
    secrets: Mapping[str, str] = field(default_factory=Secrets)

    def figures(self) -> dict[str, Any]:
        """Return ``run`` (id, seed, spent) and ``budget`` (cap, left) as expressions read them."""
        usage = self.context.ledger.usage(self.context.scope)
        left = self.context.ledger.left(self.context.scope)
        run = {"id": self.context.run_id, "seed": self.context.seed, "spent": _readable(usage.spent)}
        return {"run": run, "budget": {"cap": _readable(usage.cap), "left": _readable(left)}}

    def names(self, steps: Mapping[str, Any]) -> Scope:
        """Return the scope over finished ``steps``."""
        return Scope(self.context.view["inputs"], steps, self.figures, self.secrets)

    def scope_of(self, step: Step) -> str:
        """Return the budget scope of a step: its own where it has caps, else the run's."""
        return f"{self.context.scope}/{step.id}" if step.budget else self.context.scope

    def open_scope(self, step: Step) -> None:
        """Open the step's own budget scope, if it has caps."""
        if step.budget:
            self.context.ledger.open_scope(self.scope_of(step), step.budget.to_amounts(), self.context.scope)

    def condition(self, step: Step, scope: Scope) -> Callable[[], bool] | None:
        """Return the step's ``if``."""
        if step.if_ is None:
            return None
        expression = compile_expr(step.if_)
        return lambda: expression.condition(scope.names())

    def engine(self, step: Step | None) -> GuardEngine:
        """Return the guardrails of a step: the workflow's, then its own."""
        uses = (*self.workflow.guardrails, *(step.guardrails if step else ()))
        scope = self.names(self.context.view["steps"]).names()
        guards = [guard_of(use, self.context.registry, scope) for use in uses]
        tracer = self.context.tracer

        @contextmanager
        def observe(guard: Guard, hook: Hook) -> Any:
            with tracer.guardrail(guard.name, hook=hook) as span:
                yield lambda record: span.verdict(record)

        return GuardEngine(guards, values.digest, observe)

    def call(self, step: Step, scope: Scope, *, path: str, iteration: str, outer: bool) -> StepCall:
        """Return what is to be called for a step, or for one item of its ``foreach``."""
        engine = self.engine(step)
        common: dict[str, Any] = {
            "iteration": iteration,
            "condition": self.condition(step, scope) if outer else None,
            "guards": engine,
            "attempts": step.retry.attempts if step.retry else 1,
            "backoff_s": step.retry.backoff if step.retry else 1.0,
            "timeout_s": step.timeout,
            "books_wall": outer,
            "degrade": _degrades(step),
        }

        def inputs() -> dict[str, Any]:
            resolved: dict[str, Any] = resolve(step.with_, scope.names())
            return resolved

        if step.use:
            spec = self.context.registry.tools.get(step.use)
            return tool_step(
                self.context, spec, id=step.id, path=path, inputs=inputs, scope=self.scope_of(step), world=step.world,
                labels=("workflow",), **common,
            )  # fmt: skip
        if step.agent:
            return self._agent(step, scope, path, inputs, common)
        if step.evaluate:
            return self._evaluate(step, scope, path, common)
        raise InvalidInputError(
            f"step '{step.id}'",
            f"kind '{step.body}'",
            "use, agent, evaluate, approval or foreach; sub-workflows are not run yet",
        )

    def _agent(
        self,
        step: Step,
        scope: Scope,
        path: str,
        inputs: Callable[[], dict[str, Any]],
        common: dict[str, Any],
    ) -> StepCall:
        agent = step.agent
        if agent is None:
            raise defect("agent")

        def agent_inputs() -> dict[str, Any]:
            names = scope.names()
            numbers = {
                key: resolve(getattr(agent, key), names)
                for key in ("rounds", "candidates", "horizon", "keep")
            }
            return {"prompt": resolve(agent.prompt, names), "model": agent.model, **numbers, "with": inputs()}

        call = StepCall(
            id=step.id, path=path, kind="agent", name=f"agent {agent.model}", inputs=agent_inputs, body=unset,
            scope=self.scope_of(step), before=Hook.TOOL_ARGS, after=Hook.PLAN, labels=("user",), **common,
        )  # fmt: skip

        async def body(_: Call, given: dict[str, Any]) -> Any:
            return await self.plan(step, given, call, self)

        return replace(call, body=body)

    def _evaluate(self, step: Step, scope: Scope, path: str, common: dict[str, Any]) -> StepCall:
        notes = Notes()
        turn = 1 + int(common["iteration"] or 0)

        def inputs() -> dict[str, Any]:
            settings = step.evaluate
            if settings is None:
                raise defect("evaluate")
            over = compile_expr(settings.over).evaluate(scope.names())
            params = {name: resolve(use.with_, scope.names()) for name, use in settings.scorers.items()}
            return {
                "items": as_list(step.id, over),
                "params": params,
                "top": resolve((settings.select.top if settings.select else 1), scope.names()),
            }

        async def body(_: Call, given: dict[str, Any]) -> Any:
            notes.scores.clear()
            return await evaluate_body(self.context, step, scope, given, notes.scores, turn)

        return StepCall(
            id=step.id, path=path, kind="evaluate", name="evaluate", inputs=inputs, body=body,
            scope=self.scope_of(step), notes=notes, after=Hook.TOOL_RESULT, **common,
        )  # fmt: skip


async def unset(_: Call, __: dict[str, Any]) -> Any:
    """The body of a call that never comes to it."""
    raise defect("body")


def guard_of(use: GuardrailUse, registry: Registry, scope: Mapping[str, Any]) -> Guard:
    """Return a guardrail as the file asks for it, its parameters resolved."""
    params = resolve(dict(use.with_), scope)
    return Guard(
        spec=registry.guardrails.get(use.use),
        hooks=use.at,
        params=params,
        on_fail=GuardAction(use.on_fail),
        open_on_error=use.on_error == "open",
        reason=use.reason or "",
    )


async def guarded_value(
    equipment: Equipment, name: str, hook: Hook, value: Callable[[], dict[str, Any]]
) -> Envelope:
    """Put a run's inputs or outputs through the envelope: the hooks ``input`` and ``output`` are calls like others."""

    async def body(_: Call, given: dict[str, Any]) -> dict[str, Any]:
        return given

    before, after = (hook, None) if hook is Hook.INPUT else (None, hook)
    return await perform(
        equipment.context,
        StepCall(
            id=name, path=name, kind=name, name=name, inputs=value, body=body, scope=equipment.context.scope,
            before=before, after=after, guards=equipment.engine(None), labels=("user",) if before else ("workflow",),
        ),
    )  # fmt: skip
