"""What an ``agent`` step asks a language model with, and what one that answers with a value of a type does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentflow.agent.answering import Question, answer
from agentflow.agent.conversation import MAX_TOKENS, Conversation
from agentflow.agent.toolbox import Toolbox
from agentflow.core.errors import InvalidInputError, UnsupportedCallError
from agentflow.core.records import canonical_json
from agentflow.execution.call import StepCall
from agentflow.workflow.answer_forms import answer_form
from agentflow.workflow.failures import defect
from agentflow.workflow.steps import Step

if TYPE_CHECKING:
    from agentflow.workflow.frames import Frame

MOST_ROUNDS = 50
"""Of an agent that answers."""


async def answer_step(step: Step, given: dict[str, Any], call: StepCall, frame: Frame) -> Any:
    """Return a language model's answer, of the type that the step's ``agent`` declares; see `answer`."""
    talk = conversation(step, frame, call)
    if step.agent is None:
        raise defect("agent")
    if talk is None:
        raise UnsupportedCallError("provider: embedded", f"`output: {step.agent.output.type}`", ["Plan"])
    form = answer_form(step.agent.output)
    rounds = count_of(step, "rounds", given, MOST_ROUNDS, least=2 if step.agent.tools else 1)
    prompt = given["prompt"]
    task = prompt if isinstance(prompt, str) else canonical_json(prompt)
    question = Question(task, form.read, form.schema, given["with"], rounds)
    return await answer(talk, question)


def conversation(step: Step, frame: Frame, call: StepCall) -> Conversation | None:
    """Return the talk of an agent step with its language model, or None where it has none (``embedded``)."""
    agent = step.agent
    if agent is None:
        raise defect("agent")
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
