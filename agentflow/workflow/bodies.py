"""What a step of each kind does, as a `StepCall`: the tool, the agent, the evaluation, the workflow within."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import Call
from agentflow.core.records import Hook
from agentflow.execution import values
from agentflow.execution.call import Notes, StepCall
from agentflow.execution.tools import tool_step
from agentflow.workflow.expressions import compile_expr, resolve
from agentflow.workflow.failures import defect
from agentflow.workflow.frames import Frame
from agentflow.workflow.identity import identity
from agentflow.workflow.inputs import checked_outputs, resolve_inputs
from agentflow.workflow.scoring import evaluate_body
from agentflow.workflow.steps import Step

Nested = Callable[[Step, Frame, str, dict[str, Any]], Awaitable[Any]]
"""Runs a workflow within a step: the step, the inner frame, the iteration, its inputs."""


_WHOSE = (("user", "model"), ("user", "model", "tool"))
"""Whose words an agent's answer is made of, without tools and with them."""


def as_list(step: str, items: Any) -> list[Any]:
    """Return the items of a ``foreach`` or an ``evaluate``.

    Raises:
        InvalidInputError: they are no list.
    """
    if not isinstance(items, list):
        raise InvalidInputError(f"step '{step}': foreach.in", type(items).__name__, "a list")
    return items


def step_call(
    frame: Frame, step: Step, *, iteration: str, nested: Nested, items: Mapping[str, Any] | None = None,
    path: str | None = None,
) -> StepCall:  # fmt: skip
    """Return what is to be called for a step, or with ``items`` and ``path`` for one item of its ``foreach``."""
    outer = path is None
    common: dict[str, Any] = {
        "id": step.id,
        "path": frame.path(step) if path is None else path,
        "iteration": iteration,
        "scope": frame.scope_of(step),
        "condition": frame.condition(step) if outer else None,
        "guards": frame.engine(step),
        "view": frame.view,
        "attempts": step.retry.attempts if step.retry else 1,
        "backoff_s": step.retry.backoff if step.retry else 1.0,
        "timeout_s": step.timeout,
        "books_wall": outer,
        "degrade": frame.degrades_at(step),
        "identity": (lambda: identity(frame, step)) if step.cache else None,
    }

    def inputs() -> dict[str, Any]:
        resolved: dict[str, Any] = resolve(step.with_, frame.names(items))
        return resolved

    match step.body:
        case "use":
            spec = frame.context.registry.tools.get(step.use or "")
            return tool_step(
                frame.context, spec, inputs=inputs, world=step.world, labels=("workflow",), **common
            )
        case "agent":
            return _agent(frame, step, inputs, items, common)
        case "evaluate":
            return _evaluate(frame, step, common)
        case "workflow":
            return _workflow(frame, step, inputs, nested, common)
    raise defect(step.body)


def _agent(
    frame: Frame,
    step: Step,
    inputs: Callable[[], dict[str, Any]],
    items: Mapping[str, Any] | None,
    common: dict[str, Any],
) -> StepCall:
    agent = step.agent
    if agent is None:
        raise defect("agent")

    def agent_inputs() -> dict[str, Any]:
        names = frame.names(items)
        numbers = {
            key: resolve(getattr(agent, key), names) for key in ("rounds", "candidates", "horizon", "keep")
        }
        return {"prompt": resolve(agent.prompt, names), "model": agent.model, **numbers, "with": inputs()}

    call = StepCall(
        kind="agent", name=f"agent {agent.model}", inputs=agent_inputs, body=unset, before=Hook.TOOL_ARGS,
        after=Hook.PLAN, labels=("user",) if agent.plans else _WHOSE[bool(agent.tools)], **common,
    )  # fmt: skip

    async def body(_: Call, given: dict[str, Any]) -> Any:
        return await frame.plan(step, given, call, frame)

    return replace(call, body=body)


def _evaluate(frame: Frame, step: Step, common: dict[str, Any]) -> StepCall:
    notes = Notes()
    turn = 1 + int(common["iteration"] or 0)

    def inputs() -> dict[str, Any]:
        settings = step.evaluate
        if settings is None:
            raise defect("evaluate")
        names = frame.names()
        over = compile_expr(settings.over).evaluate(names)
        return {
            "items": as_list(step.id, over),
            "params": {name: resolve(use.with_, names) for name, use in settings.scorers.items()},
            "top": resolve((settings.select.top if settings.select else 1), names),
        }

    async def body(_: Call, given: dict[str, Any]) -> Any:
        notes.scores.clear()
        return await evaluate_body(frame, step, given, notes.scores, turn)

    return StepCall(
        kind="evaluate", name="evaluate", inputs=inputs, body=body, notes=notes, after=Hook.TOOL_RESULT, **common
    )  # fmt: skip


def _workflow(
    frame: Frame, step: Step, inputs: Callable[[], dict[str, Any]], nested: Nested, common: dict[str, Any]
) -> StepCall:
    """Return the call of a workflow as one call, for a step that repeats, retries, times or caches it."""
    iteration = common["iteration"]

    async def body(_: Call, given: dict[str, Any]) -> Any:
        return await nested(step, frame.inner(step, common["path"]), iteration, given)

    return StepCall(kind="workflow", name=f"workflow {step.workflow}", inputs=inputs, body=body, **common)


def begin_call(
    frame: Frame, given: Callable[[], dict[str, Any]], *, iteration: str = "",
    condition: Callable[[], bool] | None = None,
) -> StepCall:  # fmt: skip
    """Return the call that takes a workflow's inputs in: typed, and guarded at the hook ``input``."""

    def inputs() -> dict[str, Any]:
        return resolve_inputs(frame.workflow, given())

    return _end_of(
        frame, "input", inputs, iteration, before=Hook.INPUT, condition=condition, labels=("user",)
    )


def end_call(frame: Frame, *, iteration: str = "", path: str | None = None) -> StepCall:
    """Return the call that gives a workflow's outputs: resolved, and guarded at the hook ``output``."""

    def outputs() -> dict[str, Any]:
        made = values.encode(resolve(frame.workflow.output_values(), frame.names()))
        return checked_outputs(frame.workflow, made)

    return _end_of(frame, "output", outputs, iteration, after=Hook.OUTPUT, labels=("workflow",), path=path)


def _end_of(
    frame: Frame, name: str, value: Callable[[], dict[str, Any]], iteration: str, *, path: str | None = None,
    **options: Any,
) -> StepCall:  # fmt: skip
    async def body(_: Call, given: dict[str, Any]) -> dict[str, Any]:
        return given

    return StepCall(
        id=name, path=path or f"{frame.prefix}{name}", kind=name, name=name, inputs=value, body=body,
        scope=frame.scope, iteration=iteration, guards=frame.engine(None), view=frame.view, **options,
    )  # fmt: skip


async def unset(_: Call, __: dict[str, Any]) -> Any:
    """The body of a call that never comes to it."""
    raise defect("body")
