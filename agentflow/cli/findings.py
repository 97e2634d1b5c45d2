"""`Findings`: the plan, the prediction and what the true simulator said, where a run's steps produced them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

if TYPE_CHECKING:
    from agentflow.agent.plan import Candidate, Plan
    from agentflow.worldmodel.contract import Rollout

_ROUNDED = 2e-5
"""A plan holds its actions to five places."""
_DISTANCES = ("predicted_distance_m", "true_distance_m", "start_distance_m")


@dataclass(frozen=True)
class Prediction:
    """A predicted course. ``radius_m[H+1]`` holds the true position of ``body`` with 90 % probability at each step."""

    steps: int
    trusted_steps: int | None
    body: str = ""
    radius_m: tuple[float, ...] = ()

    @property
    def final_radius_m(self) -> float | None:
        """The radius at the end, or None where the uncertainty is not calibrated."""
        return self.radius_m[-1] if self.radius_m else None


@dataclass(frozen=True)
class Verification:
    """A plan, executed in the true simulator; ``facts`` are what else it says (yes or no)."""

    step: str
    predicted_m: float
    true_m: float
    start_m: float | None
    facts: Mapping[str, bool]


@dataclass(frozen=True)
class Findings:
    """What a run found out; each is None where no step produced it. ``chosen`` is one of the plan's candidates."""

    plan: Plan | None = None
    chosen: Candidate | None = None
    scores: Mapping[str, float] | None = None
    """What the workflow's own scorers gave to the chosen one."""
    prediction: Prediction | None = None
    verification: Verification | None = None


def find(outputs: Mapping[str, Any], base: Path) -> Findings:
    """Return what is found in the ``outputs`` of a run's steps; rollouts are read from the artifacts in ``base``."""
    plan = next((plan for output in outputs.values() if (plan := _plan(output))), None)
    best = next((best for output in outputs.values() if (best := _best(output))), None)
    verification = next((truth for item in outputs.items() if (truth := _verification(*item))), None)
    rollout = _rollout(best, base) or next(_rollouts(outputs, verification, base), None)
    chosen = _chosen(plan, rollout)
    return Findings(
        plan=plan,
        chosen=chosen,
        scores=_scores(best),
        prediction=_prediction(rollout, plan, chosen),
        verification=verification,
    )


def _plan(output: Any) -> Plan | None:
    if not (isinstance(output, Mapping) and {"goal", "candidates"} <= set(output)):
        return None
    from agentflow.agent.plan import Plan

    try:
        plan = Plan.model_validate(output)
    except ValidationError:
        return None
    return plan if plan.candidates and 0 <= plan.chosen < len(plan.candidates) else None


def _best(output: Any) -> Mapping[str, Any] | None:
    if isinstance(output, Mapping) and "scored" in output and isinstance(output.get("best"), Mapping):
        return dict(output["best"])
    return None


def _scores(best: Mapping[str, Any] | None) -> Mapping[str, float] | None:
    if best is None:
        return None
    return {
        name: float(value)
        for name, value in best.items()
        if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool))
        if name not in ("index", "steps", "trusted_steps")
    }


def _verification(step: str, output: Any) -> Verification | None:
    if not isinstance(output, Mapping):
        return None
    predicted, true, start = (output.get(name) for name in _DISTANCES)
    if not (isinstance(predicted, int | float) and isinstance(true, int | float)):
        return None
    facts = {name: value for name, value in output.items() if isinstance(value, bool)}
    return Verification(
        step, float(predicted), float(true), float(start) if isinstance(start, int | float) else None, facts
    )


def _rollouts(outputs: Mapping[str, Any], verification: Verification | None, base: Path) -> Iterator[Rollout]:
    for step, output in outputs.items():
        if verification is None or step != verification.step:
            found = _rollout(output, base)
            if found is not None:
                yield found


def _rollout(output: Any, base: Path) -> Rollout | None:
    """Read the rollout that a step's output refers to; one that is gone or torn is none."""
    reference = output.get("rollout") if isinstance(output, Mapping) else None
    if not (isinstance(reference, Mapping) and reference.get("type") == "rollout"):
        return None
    from agentflow.core.errors import InvalidInputError
    from agentflow.store.artifacts import FileArtifacts
    from agentflow.worldmodel.contract import Rollout

    try:
        return Rollout.from_bytes(FileArtifacts(base).path(str(reference.get("artifact"))).read_bytes())
    except (InvalidInputError, OSError):
        return None


def _chosen(plan: Plan | None, rollout: Rollout | None) -> Candidate | None:
    """Return the candidate whose actions the rollout took; without one, the plan's own choice."""
    if plan is None:
        return None
    import numpy as np

    if rollout is not None:
        taken = rollout.actions[0]
        for candidate in plan.candidates:
            actions = np.asarray(candidate.actions, np.float32)
            if actions.shape == taken.shape and np.allclose(actions, taken, atol=_ROUNDED):
                return candidate
    return plan.candidates[plan.chosen]


def _prediction(rollout: Rollout | None, plan: Plan | None, chosen: Candidate | None) -> Prediction | None:
    if rollout is None:
        if chosen is None:
            return None
        radius = chosen.scores.get("uncertainty")
        body = plan.goal.body if plan else ""
        return Prediction(
            len(chosen.actions), chosen.trusted_steps, body, () if radius is None else (radius,)
        )
    trusted = None if rollout.trusted_steps is None else int(rollout.trusted_steps[0])
    if rollout.radius90 is None:
        return Prediction(rollout.horizon, trusted)
    radius90 = rollout.radius90[0]
    wanted = plan.goal.body if plan else ""
    index = rollout.entities.index(wanted) if wanted in rollout.entities else int(radius90[-1].argmax())
    return Prediction(
        rollout.horizon, trusted, rollout.entities[index], tuple(float(r) for r in radius90[:, index])
    )
