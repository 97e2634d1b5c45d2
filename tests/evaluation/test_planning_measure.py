from __future__ import annotations

import numpy as np

from agentflow.evaluation import planning
from agentflow.evaluation.statistics import paired_difference, wilson
from agentflow.worldmodel.worlds.tabletop import scene
from agentflow.worldmodel.worlds.tabletop.simulator import TabletopSimulator


def test_wilson_gives_the_textbook_interval() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(20, 20)[0] < 0.85


def test_the_paired_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        hard = rng.random(100)
        a, b = (
            list(rng.random(100) < 0.95 - 0.3 * (hard > 0.8)),
            list(rng.random(100) < 0.90 - 0.3 * (hard > 0.8)),
        )
        _, low, high = paired_difference(a, b)
        held += low <= 0.05 <= high
    assert held / 600 >= 0.93


def test_cases_are_the_same_every_time_and_in_half_of_them_the_glass_is_in_the_way() -> None:
    first, again = planning.cases(12), planning.cases(12)
    assert [c.task for c in first] == [c.task for c in again]
    assert [c.blocked for c in first] == [False, True] * 6
    for case in first:
        start = scene.positions(case.state)[1 + case.task.body]
        assert 0.15 < np.linalg.norm(start - np.array(case.task.place)) < 0.40


def test_the_simulator_as_its_own_model_plans_like_itself_and_better_than_chance() -> None:
    simulator = TabletopSimulator()
    try:
        report = planning.measure(
            simulator, simulator, 4, planning.Protocol(candidates=16, rounds=2, replans=6)
        )
    finally:
        simulator.close()
    arms = report["arms"]
    assert arms["model"] == arms["simulator"]  # the same predictor, the same search, the same randomness
    assert arms["simulator"]["median_final_cm"] < arms["random"]["median_final_cm"]
    assert report["model_minus_simulator"]["points"] == 0
