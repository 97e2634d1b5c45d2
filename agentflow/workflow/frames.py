"""`Frame`: one workflow at work in a run, the run's own or one that a step of it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentflow.core.amounts import Amounts
from agentflow.core.records import Envelope, GuardAction, Hook
from agentflow.core.registry import Registry
from agentflow.execution import values
from agentflow.execution.context import RunContext
from agentflow.guard.engine import Guard, GuardEngine
from agentflow.workflow.expressions import Secrets, compile_expr, resolve
from agentflow.workflow.results import Results, visible
from agentflow.workflow.schema import Workflow
from agentflow.workflow.steps import Budget, GuardrailUse, Step


def _readable(amounts: Amounts) -> dict[str, Any]:
    return {**amounts.as_dict(), "usd": amounts.micro_usd / 1e6, "gpu_seconds": amounts.gpu_ms / 1e3}


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


@dataclass
class Frame:
    """What turns the steps of one workflow into calls: its inputs, what its steps gave, its guardrails and budget.

    Attributes:
        context: the run.
        workflow: see the class.
        root: the project's folder.
        plan: does what an ``agent`` step does.
        models: returns an opened language model by its name in the file.
        workflows: of the file, by name.
        model_specs: the file's entries under ``models``.
        secrets: where ``secrets.X`` is looked up.
        prefix: of the paths of its steps: ``""`` or ``finish/``.
        scope: of its budget.
        view: ``inputs``, and ``steps`` as far as they are finished.
        above: the guardrails of the workflows that run this one.
        degrades: whether it gives something up where the budget has no room.
        pauses: whether it asks a person then.
        begins_at: the step with which a rerun begins; else its first.
    """

    context: RunContext
    workflow: Workflow
    root: Path
    plan: Callable[..., Any]
    models: Callable[[str], Any]
    workflows: Mapping[str, Workflow] = field(default_factory=dict)
    model_specs: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=Secrets)
    prefix: str = ""
    scope: str = ""
    view: dict[str, Any] = field(default_factory=lambda: {"inputs": {}, "steps": {}})
    above: tuple[Guard, ...] = ()
    degrades: bool = False
    pauses: bool = False
    begins_at: str = ""
    _engines: dict[str, GuardEngine] = field(default_factory=dict, repr=False)

    def path(self, step: Step) -> str:
        """Return the place of a step in the run."""
        return f"{self.prefix}{step.id}"

    def inner(self, step: Step, path: str) -> Frame:
        """Return the frame of the workflow that a step runs; it has no inputs yet."""
        workflow = self.workflows[step.workflow or ""]
        budget = workflow.budget
        asked = "on_exhausted" in budget.model_fields_set
        return replace(
            self,
            workflow=workflow,
            prefix=f"{path}/",
            scope=self._inner_scope(step, path, budget),
            view={"inputs": {}, "steps": {}},
            above=self.engine(step).guards,
            begins_at="",
            degrades=budget.on_exhausted == "degrade" if asked else self.degrades,
            pauses=budget.on_exhausted == "pause" if asked else self.pauses,
            _engines={},
        )

    def _inner_scope(self, step: Step, path: str, budget: Budget) -> str:
        outer = self.scope_of(step)
        if budget.to_amounts() == Amounts.unlimited():
            return outer
        return self.context.open_scope(f"{self.context.scope}/{path}/", budget.to_amounts(), outer)

    # What expressions read

    def names(self, items: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Return the roots of expressions, with a ``foreach`` item; the ledger is read only where it is asked."""
        plain = {"inputs": self.view["inputs"], "steps": self.view["steps"], "secrets": self.secrets}
        return _Roots({**plain, **(items or {})}, self.figures)

    def figures(self) -> dict[str, Any]:
        """Return ``run`` (id, seed, spent) and ``budget`` (cap, left) as expressions read them."""
        context = self.context
        usage, left = context.ledger.usage(context.scope), context.ledger.left(context.scope)
        run = {"id": context.run_id, "seed": context.seed, "spent": _readable(usage.spent)}
        return {"run": run, "budget": {"cap": _readable(usage.cap), "left": _readable(left)}}

    def condition(self, step: Step) -> Callable[[], bool] | None:
        """Return the step's ``if``."""
        if step.if_ is None:
            return None
        expression = compile_expr(step.if_)
        return lambda: expression.condition(self.names())

    def finish(self, step: Step, envelope: Envelope, iteration: str) -> None:
        """Let later steps read how a step ended."""
        seen = visible(envelope)
        if step.foreach:
            count = envelope.output["count"] if envelope.usable else None
            seen["results"] = Results(
                self.context.store, self.context.run_id, self.path(step), iteration, count
            )
        self.view["steps"][step.id] = seen

    def restore(self, finished: Mapping[str, tuple[str, Envelope]]) -> None:
        """Let steps read what an earlier pass left: how each path ended last, and in which iteration."""
        if (given := finished.get(f"{self.prefix}input")) and given[1].usable:
            self.view["inputs"] = given[1].output
        for step in self.workflow.steps:
            if found := finished.get(self.path(step)):
                self.finish(step, found[1], found[0])

    # Budget

    def scope_of(self, step: Step) -> str:
        """Return the budget scope of a step, opened: its own where it has caps, else the workflow's."""
        if step.budget is None:
            return self.scope
        name = f"{self.context.scope}/{self.path(step)}"
        return self.context.open_scope(name, step.budget.to_amounts(), self.scope)

    def degrades_at(self, step: Step) -> bool:
        """Whether the budget may have a step give something up."""
        return self._on_exhausted(step) == "degrade"

    def pauses_at(self, step: Step) -> bool:
        """Whether a person is asked where a step exhausts the budget."""
        return self._on_exhausted(step) == "pause"

    def _on_exhausted(self, step: Step) -> str:
        if step.budget is not None and "on_exhausted" in step.budget.model_fields_set:
            return step.budget.on_exhausted
        return "degrade" if self.degrades else "pause" if self.pauses else "stop"

    # Guardrails

    def engine(self, step: Step | None) -> GuardEngine:
        """Return the guardrails of a step: those above, the workflow's, then its own."""
        key = step.id if step else ""
        if key in self._engines:
            return self._engines[key]
        uses = (*self.workflow.guardrails, *(step.guardrails if step else ()))
        names = self.names()
        guards = [guard_of(use, self.context.registry, names) for use in uses]
        engine = GuardEngine((*self.above, *guards), values.digest, self._observe)
        if not any(_reads_something(use.with_) for use in uses):
            self._engines[key] = engine
        return engine

    def _observe(self, guard: Guard, hook: Hook) -> AbstractContextManager[Any]:
        @contextmanager
        def observed() -> Iterator[Any]:
            with self.context.tracer.guardrail(guard.name, hook=hook) as span:
                yield span.verdict

        return observed()


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


def _reads_something(value: Any) -> bool:
    if isinstance(value, str):
        return "${{" in value
    if isinstance(value, Mapping):
        return any(_reads_something(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_reads_something(item) for item in value)
