"""A tool as a `StepCall`: typed inputs, what is injected, its estimate, its place in the envelope."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import Call
from agentflow.core.records import Hook
from agentflow.core.registry import ScorerSpec, ToolSpec
from agentflow.execution import values
from agentflow.execution.call import StepCall
from agentflow.execution.context import RunContext
from agentflow.execution.metering import metered
from agentflow.worldmodel.contract import Rollout

INJECTED = ("world", "simulator", "call")
"""Keyword-only parameters that the envelope fills: the step's world, its true simulator, the call itself."""


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

    async def body(ticket: Call, given: dict[str, Any]) -> Any:
        typed = typed_inputs(spec, values.decode(given, context.artifacts))
        injected = {name: _inject(context, name, ticket, world) for name in spec.injected}
        shown = values.encode(given) if context.tracer.capture else None
        with context.tracer.tool(spec.name, arguments=shown, side_effects=spec.side_effects) as span:
            result = await _call(spec.call, {**typed, **injected})
            span.usage(ticket.meter.spent)
        return result

    def estimate(given: dict[str, Any]) -> Amounts:
        typed = typed_inputs(spec, values.decode(given, context.artifacts))
        amounts = spec.estimate(**_known(spec.estimate, typed))
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


def typed_inputs(spec: ToolSpec | ScorerSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs as the tool's annotations want them.

    Raises:
        InvalidInputError: an unknown, missing or unfitting input; names the tool and the input.
    """
    unknown = [name for name in given if name not in spec.inputs]
    if unknown:
        raise InvalidInputError(spec.name, f"unknown input '{unknown[0]}'", ", ".join(spec.inputs))
    typed: dict[str, Any] = {}
    for name, parameter in spec.inputs.items():
        if name not in given:
            if parameter.default is inspect.Parameter.empty:
                raise InvalidInputError(f"{spec.name}.{name}", "nothing", "a value: it has no default")
            typed[name] = parameter.default
            continue
        typed[name] = _typed(spec, name, given[name])
    return typed


def _typed(spec: ToolSpec | ScorerSpec, name: str, value: Any) -> Any:
    hint = spec.hints.get(name, Any)
    if hint is Any or isinstance(value, Rollout):
        return value
    try:
        return TypeAdapter(hint).validate_python(value)
    except PydanticSchemaGenerationError:
        return value
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([spec.name, name, *(str(part) for part in first["loc"])])
        raise InvalidInputError(where, repr(first.get("input"))[:80], first["msg"]) from error


def _inject(context: RunContext, name: str, ticket: Call, world: str | None) -> Any:
    match name:
        case "world":
            return metered(context.worlds(world), ticket.meter)
        case "simulator":
            return metered(context.simulators(world), ticket.meter)
        case "call":
            return ticket
    raise InvalidInputError("a tool's keyword-only parameter", f"'{name}'", ", ".join(INJECTED))


async def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call on the event loop what is async; everything else in a thread, so that it holds nobody up."""
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    return await asyncio.to_thread(function, **arguments)


def _known(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    names = _parameters(function)
    return arguments if names is None else {name: arguments[name] for name in arguments if name in names}


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names that a function takes, or None where it takes any."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters)
