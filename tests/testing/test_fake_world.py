"""The fake world: exact dynamics, the errors and costs that a test sets, and a whole workflow around it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from agentflow import InvalidInputError, WorldModel
from agentflow.testing import Bench, FakeWorld, assert_booked_once, assert_spent, assert_status, envelopes

START = {"bodies": {"red block": {"x": 0.0, "y": 0.0}}, "tip": {"x": 0.2, "y": 0.0}}


def moves(*steps: tuple[float, float]) -> Any:
    return np.array([steps], np.float32)


def pushed(world: FakeWorld, **options: Any) -> Any:
    return world.predict(world.encode(START), moves(*[(-0.04, 0.0)] * 5), **options)


def test_a_tip_pushes_what_stands_in_its_way_and_nothing_else() -> None:
    world = FakeWorld()
    assert isinstance(world, WorldModel)
    rollout = pushed(world)
    np.testing.assert_allclose(rollout.states[0, :, 0], [0.2, 0.16, 0.12, 0.08, 0.04, 0.0], atol=1e-6)
    red = rollout.states[0, :, 2:4]
    np.testing.assert_allclose(red[:, 0], [0, 0, 0, 0, -0.01, -0.05], atol=1e-6)
    np.testing.assert_allclose(rollout.states[0, 1:, 4:], rollout.states[0, :-1, 4:])
    assert (rollout.radius90, rollout.trusted_steps) == (None, None)


def test_what_is_fixed_is_never_moved() -> None:
    world = FakeWorld(fixed=["red block"])
    assert not pushed(world).states[0, :, 2:4].any()


def test_set_errors_are_in_the_prediction_and_not_in_the_truth() -> None:
    world = FakeWorld(bias_m=(0.01, 0.0), trusted_steps=3)
    rollout, truth = pushed(world), pushed(world.truth)
    off = rollout.states - truth.states
    np.testing.assert_allclose(off[0, :, 2], 0.01 * np.arange(6), atol=1e-6)
    np.testing.assert_allclose(off[0, :, :2], 0)
    assert list(rollout.trusted_steps) == [3]
    assert (world.card()["kind"], world.truth.card()["kind"]) == ("fake", "simulator")


def test_the_radius_of_set_noise_holds_nine_in_ten_of_the_errors() -> None:
    world = FakeWorld(noise_m=0.01, seed=3)
    many = np.zeros((500, 10, 2), np.float32)
    rollout = world.predict(world.encode({}), many)
    errors = np.linalg.norm((rollout.states - rollout.states[:, :1])[:, 1:].reshape(500, 10, -1, 2), axis=-1)
    assert rollout.radius90 is not None
    inside = (errors[..., 1:] <= rollout.radius90[:, 1:, 1:]).mean()
    assert 0.89 < inside < 0.91  # 20,000 errors of seed 3


def test_a_prediction_fails_where_it_is_told_to() -> None:
    seen: list[int] = []
    world = FakeWorld(fail_at=3, failure=OSError("the link is down"))
    with pytest.raises(OSError, match="the link is down"):
        pushed(world, stop=lambda: seen.append(1))
    assert len(seen) == 3
    assert world.predictions == [(1, 5)]


def test_scenes_and_actions_that_cannot_be_are_refused() -> None:
    world = FakeWorld()
    with pytest.raises(InvalidInputError, match=r"scene\.bodies: found 'unicorn'"):
        world.encode({"bodies": {"unicorn": {"x": 0, "y": 0}}})
    with pytest.raises(InvalidInputError, match=r"scene, tip.x: found 3; allowed: .* -0.5 to 0.5 m"):
        world.encode({"tip": {"x": 3, "y": 0}})
    with pytest.raises(InvalidInputError, match=r"actions, tip\.dx"):
        world.predict(world.encode({}), moves((1.0, 0.0)))


def test_a_workflow_with_an_agent_runs_on_it_and_costs_what_the_test_says(pushing: Bench) -> None:
    world = FakeWorld(trusted_steps=50, gpu_ms_per_predict=7, gpu_ms_per_frame=2)
    flow = pushing.open(worlds={"tabletop": world})
    asked = flow.run("push")
    assert_status(asked, "waiting", plan="ok", simulate="ok", choose="ok")
    result = flow.decide(asked.run_id, "approve", by="a test")
    assert_status(result, "succeeded", ask="ok", film="ok")
    assert result.outputs["distance_m"] < 0.03
    assert envelopes(result)["plan/predict[1]"].usage.gpu_ms == 7
    frames = result.usage.spent.frames
    assert frames > 10
    assert_spent(result, gpu_ms=7 * len(world.predictions) + 2 * frames)
    assert_booked_once(result)


def test_a_budget_that_cannot_pay_for_a_prediction_makes_none(pushing: Bench) -> None:
    world = FakeWorld(trusted_steps=50, gpu_ms_per_predict=61_000)
    result = pushing.open(worlds={"tabletop": world}).run("push")
    assert_status(result, "exhausted", plan="exhausted")
    assert world.predictions == []
    assert_spent(result, gpu_ms=0)


def test_a_world_that_costs_more_than_it_said_is_stopped_at_its_hold(pushing: Bench) -> None:
    world = FakeWorld(trusted_steps=50, gpu_ms_per_predict=20, estimated_gpu_ms=10)
    result = pushing.open(worlds={"tabletop": world}).run("push")
    assert_status(result, "exhausted")
    assert world.predictions == [(24, 24)]  # begun, and refused at its first step


WITHOUT_TORCH = """
import sys
from agentflow.testing import Bench, FakeWorld
from pathlib import Path

flow = Bench(Path(sys.argv[1])).open(worlds={"tabletop": FakeWorld(trusted_steps=50)})
print(flow.run("push").status, sorted({"torch", "mujoco", "pytest"} & set(sys.modules)))
flow.close()
"""


def test_none_of_it_needs_torch_or_a_test_framework(pushing: Bench) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(pushing.root)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.split(" ", 1) == ["waiting", "[]\n"], done.stderr
