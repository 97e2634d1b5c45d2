"""`Plan`: what an agent gives back, typed: the goal, the candidates that passed, those that did not and why."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from agentflow.agent.goals import Goal


class Candidate(BaseModel):
    """A sequence of actions that was tried in the world model.

    ``scores``: ``goal`` (m left at the end), ``risk`` (probability of touching what is to be avoided),
    ``uncertainty`` (m, 90 % radius of the body at the end), ``effort`` (m of tip travel), ``cost`` (their
    weighted sum).
    """

    model_config = ConfigDict(frozen=True)

    source: str
    actions: list[list[float]]
    rationale: str = ""
    scores: dict[str, float] = Field(default_factory=dict)
    trusted_steps: int | None = None
    violations: list[str] = Field(default_factory=list)
    round: int = 1


class Plan(BaseModel):
    """The candidates that passed every guardrail, best first; ``chosen`` is the first of them."""

    model_config = ConfigDict(frozen=True)

    goal: Goal
    model: str
    candidates: list[Candidate]
    chosen: int = 0
    rejected: list[Candidate] = Field(default_factory=list)
    rounds: int = 1
    tried: int = 0
    """How many sequences were rolled out."""
    history: list[float] = Field(default_factory=list)
    """The best cost after each round."""
    do_nothing_m: float = 0.0
    """How far the body stays from its place when nothing is done."""
    rungs: list[str] = Field(default_factory=list)
