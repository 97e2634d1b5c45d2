"""Search over action sequences with a world's predictions: proposals, then the cross-entropy method.

Each round is one batched rollout. Later rounds perturb the elites smoothly and also cut them where they were
best, since a push that goes too far is right up to a step that its own rollout shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from agentflow.worldmodel.contract import Floats, Rollout, WorldModel


class Task(Protocol):
    """A goal in a world's terms."""

    def propose(self, state: Floats, count: int, horizon_steps: int, rng: np.random.Generator) -> Floats:
        """Return actions ``[count, H, A]`` worth trying, "do nothing" first."""
        ...

    def distance(self, states: Floats) -> Floats:
        """Return how far states are from the goal."""
        ...

    def objective(self, rollout: Rollout, state: Floats) -> dict[str, Floats]:
        """Return named terms ``[B]``."""
        ...

    def cost(self, terms: dict[str, Floats]) -> Floats:
        """Return the weighted terms ``[B]``; lower is better."""
        ...


@dataclass(frozen=True)
class SearchSettings:
    """How hard to search: sequences a round, steps, rounds, how many survive a round."""

    candidates: int = 64
    horizon_steps: int = 30
    rounds: int = 3
    elites: int = 8
    noise: float = 0.012
    """The first perturbation's σ (action units); it halves each round."""


@dataclass
class Pool:
    """Every sequence that was tried, best first after `rank`."""

    actions: Floats
    sources: list[str]
    rollout: Rollout
    terms: dict[str, Floats]
    cost: Floats
    rounds: int = 1
    spent_sequences: int = 0
    history: list[float] = field(default_factory=list)


def search(
    world: WorldModel,
    state: Floats,
    task: Task,
    rng: np.random.Generator,
    settings: SearchSettings,
    *,
    seeds: list[tuple[str, Floats]] | None = None,
    stop: Callable[[], None] | None = None,
    on_round: Callable[[int, float], None] | None = None,
) -> Pool:
    """Return the elites of all rounds, best first; "do nothing" is always among what was tried.

    Args:
        world: predicts; a simulator serves as well.
        state: ``[D]``.
        task: proposes and judges.
        rng: all randomness.
        settings: see `SearchSettings`.
        seeds: named sequences ``[H, A]`` that join the first round (a model's proposals, the last plan).
        stop: called between steps of a rollout.
        on_round: called with the round and its best cost.
    """
    first = task.propose(state, settings.candidates, settings.horizon_steps, rng)
    sources = ["do nothing"] + ["push"] * (len(first) - 1)
    for index, (name, actions) in enumerate((seeds or [])[: settings.candidates - 2]):
        first[1 + index], sources[1 + index] = _fit(actions, settings.horizon_steps), name
    kept: Pool | None = None
    batch, names = first, sources
    history: list[float] = []
    for turn in range(settings.rounds):
        rollout = world.predict(state, batch, stop=stop)
        terms = task.objective(rollout, state)
        pool = Pool(batch, names, rollout, terms, task.cost(terms))
        kept = pool if kept is None else _joined(kept, pool)
        kept = _best(kept, settings.elites * 2)
        history.append(float(kept.cost[0]))
        if on_round is not None:
            on_round(turn + 1, history[-1])
        if turn + 1 < settings.rounds:
            batch, names = _next_round(kept, task, rng, settings, settings.noise * 0.5**turn)
    assert kept is not None  # noqa: S101 - rounds >= 1 by the schema
    kept.rounds, kept.history = settings.rounds, history
    kept.spent_sequences = settings.rounds * settings.candidates
    return kept


def _fit(actions: Floats, horizon: int) -> Floats:
    out = np.zeros((horizon, actions.shape[-1]), np.float32)
    out[: min(horizon, len(actions))] = actions[:horizon]
    return out


def _next_round(
    kept: Pool, task: Task, rng: np.random.Generator, settings: SearchSettings, noise: float
) -> tuple[Floats, list[str]]:
    elites = kept.actions[: settings.elites]
    count, horizon, size = settings.candidates, settings.horizon_steps, elites.shape[-1]
    # favour the best: parent k is drawn with weight 1/(k+1)
    weight = 1 / (1 + np.arange(len(elites)))
    parents = rng.choice(len(elites), count, p=weight / weight.sum())
    batch = elites[parents].copy()
    knots = rng.normal(0, noise, (count, horizon // 5 + 2, size))
    batch = batch + _smooth(knots, horizon)
    names = ["refined"] * count
    cuts = min(len(elites), count // 4)
    distance = task.distance(kept.rollout.states[:cuts, 1:])
    for row in range(cuts):
        at = int(np.clip(distance[row].argmin() + 1 + rng.integers(-2, 2), 1, horizon))
        batch[row] = elites[row]
        batch[row, at:] = 0.0
        names[row] = "cut"
    return np.clip(batch, -np.abs(_limit(kept)), np.abs(_limit(kept))).astype(np.float32), names


def _limit(kept: Pool) -> float:
    return float(max(np.abs(kept.actions).max(), 1e-6))


def _smooth(knots: Floats, steps: int) -> Floats:
    """Return ``[N, steps, A]`` drawn as straight lines between knots ``[N, K, A]``."""
    at = np.linspace(0, knots.shape[1] - 1, steps)
    low = np.minimum(at.astype(int), knots.shape[1] - 2)
    share = (at - low)[None, :, None]
    line: Floats = knots[:, low] * (1 - share) + knots[:, low + 1] * share
    return line


def _joined(a: Pool, b: Pool) -> Pool:
    def together(x: Floats | None, y: Floats | None, axis: int = 0) -> Floats | None:
        return None if x is None or y is None else np.concatenate([x, y], axis)

    rollout = Rollout(
        a.rollout.world,
        a.rollout.entities,
        np.concatenate([a.rollout.actions, b.rollout.actions]),
        np.concatenate([a.rollout.states, b.rollout.states]),
        together(a.rollout.radius90, b.rollout.radius90),
        together(a.rollout.trusted_steps, b.rollout.trusted_steps),  # type: ignore[arg-type]
        together(a.rollout.members, b.rollout.members, 1),
        a.rollout.meta,
    )
    terms = {name: np.concatenate([a.terms[name], b.terms[name]]) for name in a.terms}
    return Pool(
        np.concatenate([a.actions, b.actions]), a.sources + b.sources, rollout, terms,
        np.concatenate([a.cost, b.cost]),
    )  # fmt: skip


def _best(pool: Pool, count: int) -> Pool:
    order = np.argsort(pool.cost, kind="stable")[:count]
    rollout = pool.rollout
    picked = Rollout(
        rollout.world,
        rollout.entities,
        rollout.actions[order],
        rollout.states[order],
        None if rollout.radius90 is None else rollout.radius90[order],
        None if rollout.trusted_steps is None else rollout.trusted_steps[order],
        None if rollout.members is None else rollout.members[:, order],
        rollout.meta,
    )
    return Pool(
        pool.actions[order], [pool.sources[i] for i in order], picked,
        {name: values[order] for name, values in pool.terms.items()}, pool.cost[order],
    )  # fmt: skip
