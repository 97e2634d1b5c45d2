"""What an ``agent`` step asks a language model with, and what one that answers with a value of a type does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentflow.agent.answering import Question, answer, opening
from agentflow.agent.conversation import MAX_TOKENS, Conversation
from agentflow.agent.toolbox import Toolbox
from agentflow.core.errors import InvalidInputError, UnsupportedCallError
from agentflow.core.records import canonical_json
from agentflow.execution.call import StepCall
from agentflow.workflow.answer_forms import answer_form
from agentflow.workflow.steps import Agent, Step

if TYPE_CHECKING:
    from agentflow.workflow.frames import Frame

MOST_ROUNDS = 50
"""Of an agent that answers."""


async def answer_step(step: Step, agent: Agent, given: dict[str, Any], call: StepCall, frame: Frame) -> Any:
    """Return a language model's answer, of the type that ``agent`` declares; see `answer`."""
    talk = conversation(agent, call, frame)
    if talk is None:
        raise UnsupportedCallError("provider: embedded", f"`output: {agent.output.type}`", ["Plan"])
    prompt, form = given["prompt"], answer_form(agent.output)
    question = Question(
        opening(prompt if isinstance(prompt, str) else canonical_json(prompt), given["with"]),
        form.schema,
        form.read,
        count_of(step, "rounds", given, MOST_ROUNDS, least=2 if agent.tools else 1),
        "Raise the agent's `rounds`, say the task more plainly, or use a stronger model.",
    )
    return await answer(talk, question)


def conversation(agent: Agent, call: StepCall, frame: Frame) -> Conversation | None:
    """Return the talk of an agent's step with its language model, or None where it has none (``embedded``)."""
    chat = frame.models(agent.model)
    if chat is None:
        return None
    context, spec = frame.context, frame.model_specs.get(agent.model)
    tools = [context.registry.tools.get(name) for name in agent.tools]
    return Conversation(
        context,
        call,
        chat,
        Toolbox(context, call, tools, agent.world),
        provider=getattr(spec, "provider", ""),
        max_tokens=agent.max_tokens or int(getattr(spec, "max_tokens", MAX_TOKENS)),
    )


def count_of(step: Step, name: str, given: dict[str, Any], most: int, *, least: int = 1) -> int:
    """Return a number of the step's ``agent``, resolved.

    Raises:
        InvalidInputError: it is no whole number from ``least`` to ``most``.
    """
    value = given[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInputError(
            f"step '{step.id}': agent.{name}", repr(value), f"a whole number from {least} to {most}"
        )
    return value
