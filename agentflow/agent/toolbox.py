"""`Toolbox`: the tools that a file gives to an agent. Nothing that a model or a tool says adds one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from agentflow.agent.declarations import by_wire_name, declaration
from agentflow.core.protocols import ToolCall
from agentflow.core.records import Envelope, StepStatus, canonical_json
from agentflow.core.registry import ToolSpec
from agentflow.execution.call import InnerCallError, StepCall
from agentflow.execution.context import RunContext
from agentflow.execution.step import perform
from agentflow.execution.tools import tool_step

MOST_CALLS = 16
"""Of tools in one message of a model; the others are not made."""
SHOWN_CHARACTERS = 20_000
"""Of a tool's result: so much of it a model is told."""


class Toolbox:
    """An agent's tools, each call of which passes the envelope in a place of its own.

    How a call ended is told to the model, also a refusal or a failure. Only a budget that is used up ends the step,
    unless the step may give something up: then the model is told that there is no room.

    Args:
        context: the run.
        call: the agent's step.
        tools: what it may call.
        world: the world that they are given.

    Raises:
        InvalidInputError: a tool that no model could call.
    """

    def __init__(
        self, context: RunContext, call: StepCall, tools: Iterable[ToolSpec] = (), world: str | None = None
    ) -> None:
        self._context, self._call, self._world = context, call, world
        self._tools = by_wire_name(tools)
        self._declared = {name: declaration(name, spec) for name, spec in self._tools.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The tools' names as a model writes them."""
        return tuple(self._tools)

    def declarations(self, names: Collection[str]) -> list[dict[str, Any]]:
        """Return how those of the tools that ``names`` names are declared to a model."""
        return [declared for name, declared in self._declared.items() if name in names]

    async def use(
        self, wanted: Sequence[ToolCall], turn: int, offered: Collection[str], labels: tuple[str, ...]
    ) -> list[str]:
        """Make the calls of one message, one after the other, and return what the model is told of each.

        Args:
            wanted: the calls.
            turn: which message of the step's conversation.
            offered: the tools that were offered with it.
            labels: where the arguments come from.

        Raises:
            InnerCallError: the budget has no room, and nothing may be given up.
        """
        return [
            await self._use(each, f"{turn}.{index}", offered, labels) if index < MOST_CALLS
            else f"not called: at most {MOST_CALLS} calls are made of one message"
            for index, each in enumerate(wanted)
        ]  # fmt: skip

    async def _use(
        self, wanted: ToolCall, key: str, offered: Collection[str], labels: tuple[str, ...]
    ) -> str:
        name, step = wanted.name, self._call
        allowed = [known for known in self._tools if known in offered]
        if name not in allowed:
            return f"there is no tool '{name[:60]}' for you; there are: {', '.join(allowed) or 'none'}"
        call = tool_step(
            self._context, self._tools[name], id=step.id, path=f"{step.path}/{name}[{key}]", kind="agent_call",
            iteration=step.iteration, inputs=lambda: wanted.arguments, scope=step.scope, guards=step.guards,
            world=self._world, labels=labels, view=step.view, degrade=step.degrade,
        )  # fmt: skip
        envelope = self._told_before(call.path) or await perform(self._context, call)
        if envelope.status is StepStatus.EXHAUSTED:
            if not step.degrade:
                raise InnerCallError.of(envelope, name)
            step.notes.rungs.append(f"{name}[{key}]: left out, the budget has no room for it")
        step.notes.rungs += [f"{name}[{key}]: {rung}" for rung in envelope.rungs]
        return _told(envelope)

    def _told_before(self, path: str) -> Envelope | None:
        """Return how a call went wrong that the model was told of: what it said since then stands on that."""
        context, place = self._context, (path, self._call.iteration)
        if not context.resumed and place not in context.recorded:
            return None
        found = context.store.find_step_at(context.run_id, *place)
        stands = {StepStatus.FAILED, *([StepStatus.EXHAUSTED] if self._call.degrade else [])}
        return found[1] if found is not None and found[1].status in stands else None


def _told(envelope: Envelope) -> str:
    if not envelope.usable:
        return f"{envelope.status}: {envelope.error}"
    text = canonical_json(envelope.output)
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]} … cut off: {SHOWN_CHARACTERS} of {len(text)} characters"
