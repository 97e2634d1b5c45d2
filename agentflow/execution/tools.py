"""A tool as a `StepCall`: typed inputs, what is injected, its estimate, its place in the envelope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import Call
from agentflow.core.records import Hook
from agentflow.core.registry import ToolSpec
from agentflow.execution import values
from agentflow.execution.call import Notes, StepCall
from agentflow.execution.context import RunContext
from agentflow.execution.inputs import typed_inputs
from agentflow.execution.metering import metered

INJECTED = ("world", "simulator", "call")
"""Keyword-only parameters that the envelope fills: the step's world, its true simulator, the call itself."""


class _Inputs(NamedTuple):
    """A call's inputs: as state holds them, as JSON and rollouts, and typed."""

    given: dict[str, Any]
    plain: dict[str, Any]
    typed: dict[str, Any]


class _Reader:
    """Decodes and types a call's inputs once for its estimate and its body; each further attempt gets its own."""

    def __init__(self, context: RunContext, spec: ToolSpec) -> None:
        self._context, self._spec = context, spec
        self._seen: _Inputs | None = None

    def look(self, given: dict[str, Any]) -> _Inputs:
        """Return the inputs, and keep them for `take`."""
        plain = values.decode(given, self._context.artifacts)
        self._seen = _Inputs(given, plain, typed_inputs(self._spec, plain))
        return self._seen

    def take(self, given: dict[str, Any]) -> _Inputs:
        """Return the inputs; whoever takes them may change them."""
        seen = self._seen
        if seen is None or seen.given is not given:
            seen = self.look(given)
        self._seen = None
        return seen


def tool_step(
    context: RunContext,
    spec: ToolSpec,
    *,
    id: str,  # noqa: A002 - the step's id, as the file calls it
    path: str,
    inputs: Callable[[], dict[str, Any]],
    scope: str,
    world: str | None = None,
    kind: str = "use",
    **options: Any,
) -> StepCall:
    """Return the call of a tool; ``options`` are further fields of `StepCall`."""
    reader = _Reader(context, spec)
    notes: Notes = options.setdefault("notes", Notes())
    if spec.isolation == "process":
        context.workers.processes.warm()

    async def body(ticket: Call, given: dict[str, Any]) -> Any:
        _, plain, arguments = reader.take(given)
        for name in spec.injected:
            arguments[name] = _inject(context, name, ticket, world)
        shown = values.encode(given) if context.tracer.capture else None
        with context.tracer.tool(spec.name, arguments=shown, side_effects=spec.side_effects) as span:
            if spec.is_async:
                result = await spec.call(**arguments)
            else:
                result = await context.workers.call(spec, ticket, arguments, plain, notes.warnings.append)
            span.usage(ticket.meter.spent)
        return result

    def estimate(given: dict[str, Any]) -> Amounts:
        typed = reader.look(given).typed
        amounts = spec.estimate(**{name: typed[name] for name in spec.estimated_from})
        if not isinstance(amounts, Amounts):
            raise InvalidInputError(f"estimate of {spec.name}", type(amounts).__name__, "Amounts")
        return amounts

    return StepCall(
        id=id,
        path=path,
        kind=kind,
        name=spec.name,
        inputs=inputs,
        body=body,
        scope=scope,
        estimate=estimate,
        before=Hook(spec.hooks[0]),
        after=Hook(spec.hooks[1]),
        resource=spec.resource,
        ladder=spec.ladder,
        **options,
    )


def _inject(context: RunContext, name: str, ticket: Call, world: str | None) -> Any:
    match name:
        case "world":
            return metered(context.worlds(world), ticket.meter)
        case "simulator":
            return metered(context.simulators(world), ticket.meter)
        case "call":
            return ticket
    raise InvalidInputError("a tool's keyword-only parameter", f"'{name}'", ", ".join(INJECTED))
