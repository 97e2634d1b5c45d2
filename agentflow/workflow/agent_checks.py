"""What of an ``agent`` cannot be, before a run: answers that its model cannot give, settings without meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentflow.agent.declarations import by_wire_name, declaration
from agentflow.core.errors import InvalidInputError
from agentflow.core.protocols import Call
from agentflow.core.registry import ToolSpec
from agentflow.workflow.positions import KeyPath
from agentflow.workflow.schema import EmbeddedModel
from agentflow.workflow.steps import Agent
from agentflow.workflow.type_hints import GIVEN_TYPES
from agentflow.workflow.type_specs import TypeSpec

_OF_PLANNING = ("candidates", "horizon", "keep")


def agent_flaws(
    agent: Agent, models: Mapping[str, Any], tools: list[ToolSpec]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with an agent: the place within it, and the message."""
    yield from _tool_flaws(tools)
    if not agent.plans:
        yield from _answer_flaws(agent, models)


def _answer_flaws(agent: Agent, models: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(models.get(agent.model), EmbeddedModel):
        yield (
            ("output",),
            (
                f"the model '{agent.model}' is `provider: embedded`, which is no language model: it understands goal "
                "sentences and gives a Plan. For any other output configure a language model under `models:` "
                "(provider: openai, base_url, model) and name it here."
            ),
        )
    elif given := _given_type(agent.output):
        yield (
            ("output",),
            (
                f"a language model cannot write a value of type {given}. Declare what it shall answer under `types`, "
                "or write `output: Plan` for an agent that plans."
            ),
        )
    for name in _OF_PLANNING:
        if name in agent.model_fields_set:
            yield (name,), f"`{name}` goes with `output: Plan`; remove it here."
    if agent.tools and agent.rounds == 1:
        yield (
            ("rounds",),
            (
                "found 1; allowed: 2 or more beside `tools`: in the last round the agent answers and calls none."
            ),
        )


def _tool_flaws(tools: list[ToolSpec]) -> Iterator[tuple[KeyPath, str]]:
    try:
        for name, spec in by_wire_name(tools).items():
            declaration(name, spec)
    except InvalidInputError as error:
        yield ("tools",), f"found {error.found}; allowed: {error.allowed}."


def needs_world(agent: Agent, tools: list[ToolSpec]) -> bool:
    """Whether an agent needs a world: to plan in it, or for one of its tools."""
    return agent.plans or any(hint is not Call for tool in tools for hint in tool.injected.values())


def _given_type(spec: TypeSpec | None) -> str:
    """Return a type of agentflow's own that a type is or holds, or an empty text."""
    if spec is None:
        return ""
    if spec.type in GIVEN_TYPES:
        return spec.type
    inner = (spec.items, spec.values, *(spec.fields or {}).values())
    return next((found for each in inner if (found := _given_type(each))), "")
