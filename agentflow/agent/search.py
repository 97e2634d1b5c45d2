"""Search over action sequences with a world's predictions: proposals, then the cross-entropy method.

Each round is one batched rollout. Later rounds perturb the elites smoothly and also cut them where they were
best, since a push that goes too far is right up to a step that its own rollout shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agentflow.core.errors import InvalidInputError
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
    """Sequences that were tried, with what was predicted for them, best first."""

    actions: Floats
    sources: list[str]
    rollout: Rollout
    terms: dict[str, Floats]
    cost: Floats

    def __len__(self) -> int:
        return len(self.sources)


class Search:
    """Ask for a batch, roll it out, tell; as often as the budget allows. `pool` holds the best so far.

    Args:
        state: ``[D]``, where all sequences start.
        task: proposes and judges.
        rng: all randomness.
        settings: see `SearchSettings`.
        low: the action space's lower bounds, so that no perturbation leaves it.
        high: the upper bounds.
    """

    def __init__(
        self,
        state: Floats,
        task: Task,
        rng: np.random.Generator,
        settings: SearchSettings,
        low: Floats,
        high: Floats,
    ) -> None:
        self.state, self.task, self.settings = state, task, settings
        self._rng, self._low, self._high = rng, low, high
        self.pool: Pool | None = None
        self.turn = 0
        self.history: list[float] = []

    def ask(self, seeds: Sequence[tuple[str, Floats]] = ()) -> tuple[Floats, list[str]]:
        """Return actions ``[N, H, A]`` to roll out, and where each comes from.

        Args:
            seeds: named sequences ``[h, A]`` that join this round (a model's proposals, the last plan).
        """
        settings = self.settings
        if self.pool is None:
            batch = self.task.propose(self.state, settings.candidates, settings.horizon_steps, self._rng)
            names = ["do nothing"] + ["push"] * (len(batch) - 1)
        else:
            batch, names = _next_round(
                self.pool, self.task, self._rng, settings, settings.noise * 0.5 ** (self.turn - 1)
            )
        for index, (name, actions) in enumerate(list(seeds)[: max(0, len(batch) - 2)]):
            batch[1 + index], names[1 + index] = _fit(actions, batch.shape[1]), name
        return np.clip(batch, self._low, self._high).astype(np.float32), names

    def tell(self, rollout: Rollout, names: list[str], extra: Floats | float = 0.0) -> Pool:
        """Take in what was predicted and return the best of all rounds; ``extra[N]`` is added to the task's cost."""
        terms = self.task.objective(rollout, self.state)
        pool = Pool(
            rollout.actions, names[: len(rollout.actions)], rollout, terms, self.task.cost(terms) + extra
        )
        # a budget may have shortened the horizon since the last round: then what was found at the old one is over
        same = self.pool is not None and self.pool.actions.shape[1] == pool.actions.shape[1]
        joined = _joined(self.pool, pool) if self.pool is not None and same else pool
        self.pool = _best(joined, self.settings.elites * 2)
        self.turn += 1
        self.history.append(float(self.pool.cost[0]))
        return self.pool

    def penalise(self, index: int, cost: float = 1.0) -> None:
        """Make a sequence that a guardrail refused a poor parent."""
        if self.pool is not None:
            self.pool.cost[index] += cost

    def sort(self) -> None:
        """Put the pool in order again after `penalise`."""
        if self.pool is not None:
            self.pool = _best(self.pool, len(self.pool))


def search(
    world: WorldModel,
    state: Floats,
    task: Task,
    rng: np.random.Generator,
    settings: SearchSettings,
    *,
    seeds: Sequence[tuple[str, Floats]] = (),
    stop: Callable[[], None] | None = None,
) -> Pool:
    """Search in ``world`` (a simulator serves as well) and return the best of all rounds, best first."""
    low, high = bounds(world)
    state_search = Search(state, task, rng, settings, low, high)
    pool: Pool | None = None
    for _ in range(settings.rounds):
        batch, names = state_search.ask(seeds if pool is None else ())
        pool = state_search.tell(world.predict(state, batch, stop=stop), names)
    if pool is None:
        raise InvalidInputError("rounds", str(settings.rounds), "at least 1")
    return pool


def bounds(world: WorldModel) -> tuple[Floats, Floats]:
    """Return the lower and upper bounds ``[A]`` of a world's actions."""
    axes = world.action_space.axes
    return np.array([a.low for a in axes], np.float32), np.array([a.high for a in axes], np.float32)


def _fit(actions: Floats, horizon: int) -> Floats:
    out = np.zeros((horizon, actions.shape[-1]), np.float32)
    out[: min(horizon, len(actions))] = actions[:horizon]
    return out


def _next_round(
    kept: Pool, task: Task, rng: np.random.Generator, settings: SearchSettings, noise: float
) -> tuple[Floats, list[str]]:
    elites = kept.actions[: settings.elites]
    count, horizon, size = settings.candidates, elites.shape[1], elites.shape[-1]
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
    return batch.astype(np.float32), names


def _smooth(knots: Floats, steps: int) -> Floats:
    """Return ``[N, steps, A]`` drawn as straight lines between knots ``[N, K, A]``."""
    at = np.linspace(0, knots.shape[1] - 1, steps)
    low = np.minimum(at.astype(int), knots.shape[1] - 2)
    share = (at - low)[None, :, None]
    line: Floats = knots[:, low] * (1 - share) + knots[:, low + 1] * share
    return line


def _joined(a: Pool, b: Pool) -> Pool:
    return Pool(
        np.concatenate([a.actions, b.actions]),
        a.sources + b.sources,
        Rollout.joined(a.rollout, b.rollout),
        {name: np.concatenate([a.terms[name], b.terms[name]]) for name in a.terms},
        np.concatenate([a.cost, b.cost]),
    )


def _best(pool: Pool, count: int) -> Pool:
    order = np.argsort(pool.cost, kind="stable")[:count]
    return Pool(
        pool.actions[order],
        [pool.sources[i] for i in order],
        pool.rollout.rows(order),
        {name: values[order] for name, values in pool.terms.items()},
        pool.cost[order],
    )
