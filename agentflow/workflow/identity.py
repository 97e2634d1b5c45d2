"""What a cached step calls, as JSON: its result is taken again only while all of this is the same."""

from __future__ import annotations

import inspect
from typing import Any

from agentflow.core.records import digest_of
from agentflow.core.registry import ToolSpec
from agentflow.workflow.agent_checks import needs_world
from agentflow.workflow.frames import Frame
from agentflow.workflow.steps import Step


def identity(frame: Frame, step: Step) -> list[Any]:
    """Return what a step is beside its inputs: its settings, the code it calls, the world it reads."""
    settings = step.model_dump(
        mode="json", by_alias=True, exclude={"id", "if_", "foreach", "budget", "retry"}
    )
    return [settings, _code(frame, step), _world(frame, step), _model(frame, step), _workflow(frame, step)]


def _code(frame: Frame, step: Step) -> list[str]:
    registry = frame.context.registry
    if step.use:
        return [_source(registry.tools.get(step.use).call)]
    if step.evaluate:
        return [_source(registry.scorers.get(use.use).call) for use in step.evaluate.scorers.values()]
    return [_source(tool.call) for tool in _tools(frame, step)]


def _tools(frame: Frame, step: Step) -> list[ToolSpec]:
    """Return what an agent may call."""
    return [frame.context.registry.tools.get(name) for name in step.agent.tools] if step.agent else []


def _model(frame: Frame, step: Step) -> Any:
    """Return the settings of an agent's model; one that a program hands over is known by its name alone."""
    spec = frame.model_specs.get(step.agent.model) if step.agent else None
    return spec and spec.model_dump(mode="json", exclude={"api_key", "price", "timeout"})


def _source(function: Any) -> str:
    """Return the digest of the module that a function stands in: what it calls there counts as well."""
    module = inspect.getmodule(function)
    try:
        return digest_of(inspect.getsource(module or function))
    except (OSError, TypeError):  # made at run time: its name is all that there is
        return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"


def _world(frame: Frame, step: Step) -> Any:
    takes = step.use and "world" in frame.context.registry.tools.get(step.use).injected
    if not (takes or (step.agent and needs_world(step.agent, _tools(frame, step)))):
        return None
    name = step.agent.world if step.agent else step.world
    card = frame.context.worlds(name).card()
    return [card.get(key) for key in ("name", "version", "weights_sha256", "calibration_sha256")]


def _workflow(frame: Frame, step: Step) -> Any:
    """Return the settings of the workflow that a step runs, and of those within it."""
    if not step.workflow:
        return None
    inner = frame.workflows[step.workflow]
    within = [_workflow(frame, each) for each in inner.steps if each.workflow]
    codes = [_code(frame, each) for each in inner.steps]
    return [inner.model_dump(mode="json", by_alias=True), codes, within]
