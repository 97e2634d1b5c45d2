from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from agentflow import InvalidInputError
from agentflow.agent.search import Search, SearchSettings, bounds, search
from agentflow.worldmodel.contract import Axis, Floats, Rollout, Space

AXIS = Axis("x", "m", -0.1, 0.1)


class Line:
    """A point on a line that goes where it is told: the simplest world there is."""

    name = "line"
    entities = ("point",)
    state_space = Space((Axis("x", "m", -10, 10),))
    action_space = Space((AXIS,))

    def predict(self, state: Floats, actions: Floats, *, stop: Any = None) -> Rollout:
        states = np.concatenate([np.zeros_like(actions[:, :1]), np.cumsum(actions, 1)], 1) + state
        return Rollout(self.name, self.entities, actions, states.astype(np.float32))


@dataclass
class Reach:
    place: float

    def propose(self, state: Floats, count: int, horizon_steps: int, rng: np.random.Generator) -> Floats:
        actions = rng.uniform(-0.05, 0.05, (count, horizon_steps, 1)).astype(np.float32)
        actions[0] = 0
        return actions

    def distance(self, states: Floats) -> Floats:
        return np.abs(states[..., 0] - self.place)

    def objective(self, rollout: Rollout, state: Floats) -> dict[str, Floats]:
        return {"goal": self.distance(rollout.states[:, -1])}

    def cost(self, terms: dict[str, Floats]) -> Floats:
        return terms["goal"]


def _search(seed: int = 0, **settings: Any) -> Any:
    chosen = SearchSettings(**{"candidates": 64, "horizon_steps": 20, "rounds": 5, "noise": 0.05, **settings})
    return search(Line(), np.zeros(1, np.float32), Reach(0.8), np.random.default_rng(seed), chosen)  # type: ignore[arg-type]


def test_search_comes_near_the_goal_and_more_rounds_come_nearer() -> None:
    one, five = _search(rounds=1), _search(rounds=5)
    assert five.cost[0] < one.cost[0] < 0.8


def test_the_same_seed_finds_the_same_plan() -> None:
    np.testing.assert_array_equal(_search(3).actions, _search(3).actions)
    assert not np.array_equal(_search(3).actions[0], _search(4).actions[0])


def test_no_candidate_leaves_the_action_space() -> None:
    low, high = bounds(Line())  # type: ignore[arg-type]
    settings = SearchSettings(candidates=32, horizon_steps=20, noise=5.0)
    one = Search(np.zeros(1, np.float32), Reach(0.8), np.random.default_rng(0), settings, low, high)
    for _ in range(3):
        batch, names = one.ask()
        assert (np.abs(batch) <= 0.1).all()
        one.tell(Line().predict(one.state, batch), names)


def test_do_nothing_is_always_tried_first_and_seeds_join_the_pool() -> None:
    low, high = bounds(Line())  # type: ignore[arg-type]
    one = Search(
        np.zeros(1, np.float32), Reach(0.8), np.random.default_rng(0), SearchSettings(8, 20, 1), low, high
    )
    batch, names = one.ask([("mine", np.full((8, 1), 0.1, np.float32))])
    assert names[:2] == ["do nothing", "mine"]
    np.testing.assert_array_equal(batch[0], 0)
    np.testing.assert_allclose(batch[1, :, 0], [0.1] * 8 + [0.0] * 12)
    pool = one.tell(Line().predict(one.state, batch), names)
    assert pool.sources[0] == "mine"


def test_a_refused_sequence_falls_behind() -> None:
    low, high = bounds(Line())  # type: ignore[arg-type]
    one = Search(
        np.zeros(1, np.float32), Reach(0.8), np.random.default_rng(0), SearchSettings(8, 20, 1), low, high
    )
    batch, names = one.ask([("mine", np.full((8, 1), 0.1, np.float32))])
    one.tell(Line().predict(one.state, batch), names)
    one.penalise(0)
    one.sort()
    assert one.pool is not None
    assert one.pool.sources[0] != "mine"


def test_a_horizon_that_a_budget_shortened_is_searched_on() -> None:
    low, high = bounds(Line())  # type: ignore[arg-type]
    one = Search(
        np.zeros(1, np.float32), Reach(0.8), np.random.default_rng(0), SearchSettings(8, 20, 3), low, high
    )
    for horizon in (20, 9, 9):
        batch, names = one.ask([("mine", np.full((20, 1), 0.1, np.float32))])
        pool = one.tell(Line().predict(one.state, batch[:, :horizon]), names)
        assert pool.actions.shape[1] == horizon
    assert batch.shape[1] == 9


def test_no_rounds_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        _search(rounds=0)
