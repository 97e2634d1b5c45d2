"""What an ``agent`` step does: it plans in a world, or answers with a value of a declared type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agentflow.agent.goals import Place, Thing
from agentflow.agent.plan import Plan
from agentflow.agent.planner import Planner, PlanRequest
from agentflow.agent.proposers import EmbeddedProposer, ModelProposer
from agentflow.core.errors import InvalidInputError
from agentflow.execution.call import StepCall
from agentflow.guard.engine import GuardEngine
from agentflow.workflow.agents import answer_step, conversation, count_of
from agentflow.workflow.steps import Agent, Step

if TYPE_CHECKING:
    from agentflow.workflow.frames import Frame

_GOAL_AFTER = re.compile(r"(?:^|\b)goal\s*:\s*(?P<goal>.+)$", re.IGNORECASE | re.DOTALL)


async def plan_step(step: Step, given: dict[str, Any], call: StepCall, frame: Frame) -> Any:
    """Do what the step's ``agent`` says; see `Planner.plan` and `answer_step` for what is raised."""
    agent = step.agent
    if agent is None or call.guards is None:
        raise InvalidInputError(f"step '{step.id}'", "no agent", "agent: {model, prompt}")
    call.notes.rungs.clear()  # of an attempt before this one
    if not agent.plans:
        return await answer_step(step, agent, given, call, frame)
    return await _plan(step, agent, given, call, call.guards, frame)


async def _plan(
    step: Step, agent: Agent, given: dict[str, Any], call: StepCall, guards: GuardEngine, frame: Frame
) -> Plan:
    context = frame.context
    world: Any = context.worlds(agent.world)
    request = _request(step, given)

    def place(state: Any) -> Place:
        from agentflow.worldmodel.worlds.tabletop.scene import TABLE_HALF

        return Place(tuple(Thing(**thing) for thing in world.things(state)), TABLE_HALF)

    talk = conversation(agent, call, frame)
    proposer = EmbeddedProposer(place) if talk is None else ModelProposer(talk, place, world.push)
    planner = Planner(
        context,
        world,
        guards,
        call.scope,
        call.path,
        proposer,
        iteration=call.iteration,
        notes=call.notes,
        degrade=call.degrade,
        view=frame.view,
    )
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
        candidates=count_of(step, "candidates", given, 4096, least=2),
        horizon_steps=count_of(step, "horizon", given, 50),
        rounds=count_of(step, "rounds", given, 20),
        keep=count_of(step, "keep", given, 64),
    )
