from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agentflow import InvalidInputError
from agentflow.worldmodel.worlds.tabletop import scene


def test_a_seed_always_gives_the_same_scene_and_another_seed_another() -> None:
    first = scene.encode_scene({"seed": 7})
    np.testing.assert_array_equal(first, scene.encode_scene({"seed": 7}))
    assert not np.array_equal(first, scene.encode_scene({"seed": 8}))


def test_random_scenes_lie_within_the_state_space_and_apart() -> None:
    for seed in range(50):
        state = scene.encode_scene({"seed": seed})
        scene.STATE_SPACE.check("state", state)
        at = scene.positions(state)
        reach = [scene.TIP_RADIUS, *(body.reach for body in scene.BODIES)]
        for i in range(5):
            for j in range(i):
                assert np.linalg.norm(at[i] - at[j]) > reach[i] + reach[j]


def test_bodies_and_tip_can_be_placed_by_hand() -> None:
    state = scene.encode_scene(
        {
            "bodies": {"red block": {"x": 0.1, "y": -0.2, "angle_degrees": 90}},
            "tip": {"x": -0.44, "y": -0.44},
            "seed": 0,
        }
    )
    columns = state[scene.body_slice(0)]
    np.testing.assert_allclose(columns[:4], [0.1, -0.2, 0.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(state[[0, 1, 4, 5]], [-0.44] * 4, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "found", "allowed"),
    [
        ({"bodies": {"red block": {"x": 0.9, "y": 0}}}, "0.9 m", "on the table"),
        ({"tip": {"x": 0, "y": -0.6}}, "-0.6 m", "on the table"),
        ({"bodies": {"red block": {"x": math.nan, "y": 0}}}, "nan", "finite"),
        ({"bodies": {"purple block": {"x": 0, "y": 0}}}, "'purple block'", "red block, blue block"),
        (
            {"bodies": {"red block": {"x": 0, "y": 0}, "glass": {"x": 0.01, "y": 0}}},
            "one place",
            "do not overlap",
        ),
        ({"seed": -1}, "-1", "greater than or equal"),
        ({"sead": 1}, "1", "extra"),
        ({"bodies": {"red block": {"x": "left", "y": 0}}}, "'left'", "valid number"),
    ],
)
def test_an_impossible_scene_is_refused_with_what_is_allowed(
    given: dict[str, Any], found: str, allowed: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        scene.encode_scene(given)
    assert found in str(caught.value)
    assert allowed in str(caught.value)


def test_a_space_names_the_first_column_that_does_not_fit() -> None:
    state = scene.encode_scene({"seed": 0})
    state[scene.body_slice(1).start] = np.nan
    with pytest.raises(InvalidInputError, match=r"blue block\.x.*nan.*from -0\.51 to 0\.51 m"):
        scene.STATE_SPACE.check("state", state)
