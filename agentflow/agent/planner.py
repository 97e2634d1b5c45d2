"""The planner: propose, roll out, score, guard, revise; only what passed every guardrail comes back.

::

    sentence ▸ Goal ▸ guard(plan) ▸ pool (model's proposals, search, "do nothing") ▸ limits ▸ one batched rollout
        ▸ scores ▸ guard(action, predicted_state) ▸ none passed or not near enough? violations to the model,
        search again from the best, at most R rounds
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from agentflow.agent import goals
from agentflow.agent.goals import Goal
from agentflow.agent.plan import Candidate, Plan
from agentflow.agent.search import Pool, Search, SearchSettings, bounds
from agentflow.core.amounts import Amounts
from agentflow.core.errors import GuardrailBlockedError
from agentflow.core.protocols import Call
from agentflow.core.records import Envelope, GuardAction, Hook, StepStatus
from agentflow.execution import values
from agentflow.execution.call import InnerCallError, Notes, Rung, StepCall
from agentflow.execution.context import RunContext
from agentflow.execution.events import GuardrailRan, Progress
from agentflow.execution.metering import metered
from agentflow.execution.step import perform
from agentflow.guard.engine import GuardEngine
from agentflow.worldmodel.contract import Floats, Rollout

COMFORT = 0.85
"""The share of the trusted radius within which a step is trusted comfortably."""
UNTRUSTED_COST_M = 0.3
"""What a plan pays, in metres from the goal, when none of its steps is."""
NEAR_ENOUGH = 0.4
"""A round is the last when the best that passed is within this share of the goal's tolerance."""


@dataclass(frozen=True)
class PlanRequest:
    """What an agent step asks for."""

    sentence: str
    scene: dict[str, Any]
    model: str = "embedded"
    candidates: int = 64
    horizon_steps: int = 30
    rounds: int = 3
    keep: int = 4


@dataclass(frozen=True)
class Proposal:
    """What a language model made of the request: the goal, and pushes that it would try."""

    goal: Goal
    seeds: tuple[tuple[str, Floats, str], ...] = ()
    """Name, actions ``[H, A]``, rationale."""


class Proposer(Protocol):
    """Turns a sentence into a goal, and violations into new proposals."""

    async def propose(self, request: PlanRequest, state: Floats, violations: list[str]) -> Proposal:
        """Return the goal and what to try; ``violations`` say what was wrong with earlier proposals."""
        ...


@dataclass
class Planner:
    """One agent step at work. Every prediction and every chat passes the envelope, on the step's own budget."""

    context: RunContext
    world: Any
    guards: GuardEngine
    scope: str
    path: str
    proposer: Proposer
    iteration: str = ""
    """Which pass of a loop: each searches with randomness of its own."""
    notes: Notes = field(default_factory=Notes)
    """Receives the verdicts, and what was given up for the budget."""
    degrade: bool = False
    """Whether something may be given up for it."""
    view: Mapping[str, Any] = field(default_factory=dict)
    """What guardrails see of the workflow: inputs and steps so far."""

    async def plan(self, request: PlanRequest) -> Plan:
        """Return a plan.

        Raises:
            GoalNotUnderstoodError: the sentence says nothing that the proposer can turn into a goal.
            GuardrailBlockedError: the goal, or every candidate of every round, was refused.
            InnerCallError: a prediction or a chat failed, or does not fit into the budget even at the end of
                the ladder.
        """
        state = self.world.encode(request.scene)
        proposal = await self.proposer.propose(request, state, [])
        goal = proposal.goal
        asked = {"goal": goal.model_dump(mode="json"), "scene": request.scene}
        checked = await self._check(Hook.PLAN, asked)
        checked.raise_if_blocked()
        goal = Goal.model_validate(checked.value["goal"])
        task = self.world.task(goals.describe(goal))
        settings = SearchSettings(request.candidates, request.horizon_steps, request.rounds)
        low, high = bounds(self.world)
        search = Search(state, task, self._rng(), settings, low, high)
        found = _Found(search, request, goal, state)
        for turn in range(1, request.rounds + 1):
            try:
                await self._round(found, proposal, turn)
            except InnerCallError as error:
                if not (error.status is StepStatus.EXHAUSTED and found.passed and self.degrade):
                    raise
                self.notes.rungs.append(f"round {turn}: left out, the budget has no room for it")
                break
            if found.near_enough() or turn == request.rounds:
                break
            if not found.passed and found.violations:
                proposal = await self.proposer.propose(request, state, found.violations)
        if not found.passed:
            raise found.refusal()
        return found.plan()

    def _rng(self) -> np.random.Generator:
        again = int(self.iteration or 0)
        return np.random.default_rng([self.context.seed, again] if again else self.context.seed)

    async def _round(self, found: _Found, proposal: Proposal, turn: int) -> None:
        seeds = [(name, actions) for name, actions, _ in proposal.seeds]
        found.rationales |= {name: text for name, _, text in proposal.seeds}
        batch, names = found.search.ask(seeds)
        rollout, rungs = await self._predict(found.state, batch, turn)
        found.rungs += rungs
        self.notes.rungs += [f"round {turn}: {rung}" for rung in rungs]
        found.tried += len(rollout.actions)
        pool = found.search.tell(rollout, names, _distrust(rollout, self.world.card()))
        if turn == 1:
            found.do_nothing_m = float(found.search.task.distance(rollout.states[0, -1]))
        text = f"round {turn}: best {100 * float(pool.terms['goal'][0]):.1f} cm from the goal"
        self.context.tell(Progress(self.context.run_id, self.path, text, turn, found.request.rounds))
        await self._guard(found, pool, turn)

    async def _guard(self, found: _Found, pool: Pool, turn: int) -> None:
        """Run the guardrails of action and predicted state over the best, until enough have passed."""
        passed = 0
        for index in range(len(pool)):
            if passed >= found.request.keep:
                break
            key = pool.actions[index].tobytes()
            if key not in found.judged:
                rollout, why, found.refused_at = await self._judge(found, pool, index)
                found.judged[key] = not why
                candidate = found.candidate(pool, index, turn, rollout)
                if why:
                    found.rejected.append(candidate.model_copy(update={"violations": why}))
                    found.search.penalise(index)
                    found.violations += why
                else:
                    found.passed.append(candidate)
            passed += found.judged[key]
        found.passed.sort(key=lambda candidate: candidate.scores["cost"])
        found.search.sort()

    async def _judge(self, found: _Found, pool: Pool, index: int) -> tuple[Rollout, list[str], Hook]:
        """Return the rollout as the guardrails let it pass (a shorter one, perhaps), or why they do not, and where."""
        rollout = pool.rollout.pick(index)
        actions = {"scene": found.request.scene, "actions": rollout.actions[0].tolist()}
        for hook, value in ((Hook.ACTION, actions), (Hook.PREDICTED_STATE, {"rollout": rollout})):
            checked = await self._check(hook, value)
            if checked.blocked is not None:
                return rollout, [f"{checked.blocked.guardrail}: {checked.blocked.reason}"], hook
            if hook is Hook.ACTION and checked.value is not value:
                changed = next(r for r in checked.records if r.action is not GuardAction.ALLOW)
                return rollout, [f"{changed.guardrail}: it would have to be changed: {changed.reason}"], hook
            if hook is Hook.PREDICTED_STATE:
                rollout = checked.value["rollout"]
        return rollout, [], Hook.PREDICTED_STATE

    async def _check(self, hook: Hook, value: Any) -> Any:
        checked = await self.guards.check(hook, value, step=self.path, labels=("agent",), run=self.view)
        self.notes.verdicts += checked.records
        for record in checked.records:
            self.context.tell(GuardrailRan(self.context.run_id, self.path, record=record))
        return checked

    async def _predict(self, state: Floats, batch: Floats, turn: int) -> tuple[Rollout, list[str]]:
        """Roll a batch out within the envelope; where the budget has no room, fewer candidates and steps."""
        world = self.world

        def estimate(given: dict[str, Any]) -> Amounts:
            amounts: Amounts = world.estimate(given["sequences"], given["horizon_steps"])
            return amounts

        async def body(ticket: Call, given: dict[str, Any]) -> Rollout:
            actions = batch[: given["sequences"], : given["horizon_steps"]]
            with self.context.tracer.tool(f"{world.name}.predict", arguments=given) as span:
                predict = metered(world, ticket.meter).predict
                rollout = await self.context.workers.stoppable(lambda: predict(state, actions), ticket)
                span.usage(ticket.meter.spent)
            return Rollout(
                rollout.world, rollout.entities, rollout.actions, rollout.states, rollout.radius90,
                rollout.trusted_steps, None, {},
            )  # fmt: skip

        inputs = {
            "world": world.name,
            "sequences": len(batch),
            "horizon_steps": int(batch.shape[1]),
            "actions_digest": values.digest(batch),
        }
        envelope = await self.call(
            f"predict[{turn}]", f"{world.name}.predict", inputs, body, estimate=estimate,
            before=Hook.TOOL_ARGS, after=Hook.TOOL_RESULT, ladder=_ladder(len(batch), int(batch.shape[1])),
        )  # fmt: skip
        rollout = values.decode(envelope.output, self.context.artifacts)
        return rollout, envelope.rungs

    async def call(
        self,
        name: str,
        what: str,
        inputs: dict[str, Any],
        body: Callable[[Call, dict[str, Any]], Any],
        **options: Any,
    ) -> Envelope:
        """Put one of the agent's own calls through the envelope; what went wrong in it is raised here."""
        envelope = await perform(
            self.context,
            StepCall(
                id=self.path, path=f"{self.path}/{name}", iteration=self.iteration, kind="agent_call", name=what,
                inputs=lambda: inputs, body=body, scope=self.scope, guards=self.guards, labels=("agent",),
                degrade=self.degrade, view=self.view, **options,
            ),
        )  # fmt: skip
        if not envelope.usable:
            raise InnerCallError.of(envelope, what)
        return envelope


@dataclass
class _Found:
    """What the rounds have found so far."""

    search: Search
    request: PlanRequest
    goal: Goal
    state: Floats
    passed: list[Candidate] = field(default_factory=list)
    rejected: list[Candidate] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    judged: dict[bytes, bool] = field(default_factory=dict)
    """Sequences that guardrails have looked at, and whether they passed."""
    rationales: dict[str, str] = field(default_factory=dict)
    rungs: list[str] = field(default_factory=list)
    tried: int = 0
    do_nothing_m: float = 0.0
    refused_at: Hook = Hook.PREDICTED_STATE

    def near_enough(self) -> bool:
        """Whether the best that passed needs no further round."""
        return bool(self.passed) and self.passed[0].scores["goal"] < NEAR_ENOUGH * self.goal.tolerance_m

    def candidate(self, pool: Pool, index: int, turn: int, rollout: Rollout) -> Candidate:
        """Return one of the pool as it goes into a plan: with ``rollout``, which guardrails may have cut."""
        terms = self.search.task.objective(rollout, self.state)
        scores = {name: round(float(term[0]), 5) for name, term in terms.items()}
        scores["cost"] = round(float(self.search.task.cost(terms)[0]), 5)
        source = pool.sources[index]
        return Candidate(
            source=source,
            actions=[[round(float(x), 5) for x in step] for step in rollout.actions[0]],
            rationale=self.rationales.get(source, _why(source)),
            scores=scores,
            trusted_steps=None if rollout.trusted_steps is None else int(rollout.trusted_steps[0]),
            round=turn,
        )

    def refusal(self) -> GuardrailBlockedError:
        """Return the error of a search in which nothing passed."""
        name, _, reason = (
            self.violations[-1] if self.violations else "planner: nothing was found"
        ).partition(": ")
        return GuardrailBlockedError(
            name,
            self.refused_at,
            f"none of {self.tried} candidates passed in {self.search.turn} rounds; the last one: {reason}",
        )

    def plan(self) -> Plan:
        """Return the plan."""
        return Plan(
            goal=self.goal,
            model=self.request.model,
            candidates=self.passed[: self.request.keep],
            rejected=self.rejected[-8:],
            rounds=self.search.turn,
            tried=self.tried,
            history=[round(cost, 5) for cost in self.search.history],
            do_nothing_m=round(self.do_nothing_m, 5),
            rungs=self.rungs,
        )


def _distrust(rollout: Rollout, card: dict[str, Any]) -> Floats | float:
    """Return a cost ``[B]`` (m) for steps that are not comfortably within the trusted radius.

    A guardrail cuts what is not trusted, so a plan that ends there should not win; and one that just holds may just not
    hold when it is predicted again in another batch.
    """
    bound = card.get("trusted_while_radius90_m_within")
    if bound is None or rollout.radius90 is None:
        return 0.0
    comfortable: Floats = (rollout.radius90[:, 1:].max(-1) <= COMFORT * bound).mean(1)
    return UNTRUSTED_COST_M * (1.0 - comfortable)


def _why(source: str) -> str:
    return {
        "do nothing": "the baseline: leave everything as it is",
        "push": "a push from behind the body towards its place",
        "refined": "a good push, changed a little",
        "cut": "a good push, ended where it was best",
    }.get(source, source)


def _ladder(candidates: int, horizon: int) -> list[Rung]:
    """Return what planning gives up: candidates down to 8, then steps down to 10."""
    rungs: list[Rung] = []
    while candidates > 8:
        fewer = max(8, candidates // 2)
        rungs.append((f"{candidates} → {fewer} candidates", _with("sequences", fewer)))
        candidates = fewer
    while horizon > 10:
        shorter = max(10, horizon * 2 // 3)
        rungs.append((f"horizon {horizon} → {shorter} steps", _with("horizon_steps", shorter)))
        horizon = shorter
    return rungs


def _with(name: str, value: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: {**given, name: value}
