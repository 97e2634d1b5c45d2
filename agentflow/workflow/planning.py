"""What an ``agent`` step does: builds the planner with its proposer and the agent's own tools, and plans."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from agentflow.agent.goals import Place, Thing
from agentflow.agent.plan import Plan
from agentflow.agent.planner import Planner, PlanRequest
from agentflow.agent.proposers import MAX_TOKENS, EmbeddedProposer, ModelProposer
from agentflow.core.errors import InvalidInputError, UnsupportedCallError
from agentflow.core.protocols import ChatModel
from agentflow.core.records import canonical_json
from agentflow.core.registry import ToolSpec
from agentflow.execution.call import StepCall
from agentflow.execution.step import perform
from agentflow.execution.tools import tool_step
from agentflow.workflow.steps import Step

if TYPE_CHECKING:
    from agentflow.workflow.frames import Frame

_GOAL_AFTER = re.compile(r"(?:^|\b)goal\s*:\s*(?P<goal>.+)$", re.IGNORECASE | re.DOTALL)


async def plan_step(step: Step, given: dict[str, Any], call: StepCall, frame: Frame) -> Plan:
    """Plan as the step's ``agent`` says; see `Planner.plan` for what is raised."""
    agent = step.agent
    if agent is None or call.guards is None:
        raise InvalidInputError(f"step '{step.id}'", "no agent", "agent: {model, prompt}")
    if agent.output.type != "Plan":
        raise UnsupportedCallError("agent", f"output '{agent.output.type}'", ["Plan"])
    context = frame.context
    world: Any = context.worlds(agent.world)
    request = _request(step, given)

    def place(state: Any) -> Place:
        from agentflow.worldmodel.worlds.tabletop.scene import TABLE_HALF

        return Place(tuple(Thing(**thing) for thing in world.things(state)), TABLE_HALF)

    chat: ChatModel | None = frame.models(agent.model)
    proposer = (
        EmbeddedProposer(place) if chat is None else _model_proposer(step, chat, place, world, frame, call)
    )
    planner = Planner(
        context,
        world,
        call.guards,
        call.scope,
        call.path,
        proposer,
        iteration=call.iteration,
        notes=call.notes,
        degrade=call.degrade,
        view=frame.view,
    )
    if isinstance(proposer, ModelProposer):
        proposer.call = planner.call
    with context.tracer.plan(agent.model, inputs={"sentence": request.sentence}) as span:
        plan = await planner.plan(request)
        span.output({"goal": plan.goal.model_dump(mode="json"), "candidates": len(plan.candidates)})
    return plan


def _request(step: Step, given: dict[str, Any]) -> PlanRequest:
    extra = dict(given["with"])
    prompt = str(given["prompt"])
    found = _GOAL_AFTER.search(prompt)
    sentence = extra.pop("goal", None) or (found["goal"].strip() if found else prompt)
    scene = extra.pop("scene", {})
    if extra:
        raise InvalidInputError(f"step '{step.id}': with", f"'{next(iter(extra))}'", "goal, scene")
    return PlanRequest(
        sentence=str(sentence),
        scene=scene,
        model=given["model"],
        candidates=_count(step, "candidates", given, 4096),
        horizon_steps=_count(step, "horizon", given, 50),
        rounds=_count(step, "rounds", given, 20),
        keep=_count(step, "keep", given, 64),
    )


def _count(step: Step, name: str, given: dict[str, Any], most: int) -> int:
    value = given[name]
    least = 2 if name == "candidates" else 1
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInputError(
            f"step '{step.id}': agent.{name}", repr(value), f"a whole number from {least} to {most}"
        )
    return value


def _model_proposer(
    step: Step,
    chat: ChatModel,
    place: Callable[[Any], Place],
    world: Any,
    frame: Frame,
    call: StepCall,
) -> ModelProposer:
    agent = step.agent
    allowed = {name: frame.context.registry.tools.get(name) for name in (agent.tools if agent else ())}
    by_wire = {name.replace(".", "_"): spec for name, spec in allowed.items()}

    async def run_tool(name: str, arguments: dict[str, Any], key: str) -> str:
        """Perform one of the agent's tools through the envelope; a failure is told to the model."""
        if name not in by_wire:
            return f"there is no tool '{name}' for you; there are: {', '.join(by_wire) or 'none'}"
        envelope = await perform(
            frame.context,
            tool_step(
                frame.context, by_wire[name], id=step.id, path=f"{call.path}/{name}[{key}]", kind="agent_call",
                iteration=call.iteration, inputs=lambda: arguments, scope=call.scope, guards=call.guards,
                world=agent.world if agent else None, labels=("model",), view=frame.view,
            ),
        )  # fmt: skip
        return canonical_json(envelope.output) if envelope.usable else f"refused: {envelope.error}"

    spec = frame.model_specs.get(agent.model) if agent else None
    return ModelProposer(
        chat,
        provider=getattr(spec, "provider", ""),
        max_tokens=getattr(spec, "max_tokens", MAX_TOKENS),
        place=place,
        make_push=world.push,
        tools=[declaration(name, spec) for name, spec in by_wire.items()],
        run_tool=run_tool,
        tracer=frame.context.tracer,
    )


def declaration(name: str, spec: ToolSpec) -> dict[str, Any]:
    """Return a tool as OpenAI-compatible endpoints want it declared.

    Raises:
        InvalidInputError: one of its inputs is nothing that a model could write.
    """
    try:
        properties = {key: TypeAdapter(spec.hints.get(key, Any)).json_schema() for key in spec.inputs}
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError(
            "agent.tools", f"'{spec.name}' ({reason})", "tools whose inputs are JSON"
        ) from error
    required = [key for key, parameter in spec.inputs.items() if parameter.default is parameter.empty]
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": spec.description,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }
