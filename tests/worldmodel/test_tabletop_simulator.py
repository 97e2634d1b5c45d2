from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from agentflow.worldmodel.worlds.tabletop import pushing, scene, task
from agentflow.worldmodel.worlds.tabletop.simulator import TabletopSimulator, joint_angles


@pytest.fixture(scope="module")
def simulator() -> Iterator[TabletopSimulator]:
    world = TabletopSimulator()
    yield world
    world.close()


def _starts(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([scene.random_state(rng) for _ in range(count)])


def _pushes(starts: np.ndarray, steps: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bodies = rng.integers(0, 3, len(starts))
    return pushing.push_paths(starts, bodies, rng.uniform(-0.4, 0.4, (len(starts), 2)), steps, rng)


def test_without_an_action_nothing_moves(simulator: TabletopSimulator) -> None:
    starts = _starts(8)
    rollout = simulator.predict(starts, np.zeros((8, 20, 2), np.float32))
    np.testing.assert_allclose(rollout.states[:, -1], starts, atol=1e-5)


def test_the_tip_follows_its_command(simulator: TabletopSimulator) -> None:
    starts = _starts(64)
    rollout = simulator.predict(starts, _pushes(starts, 30))
    gap = np.linalg.norm(rollout.states[:, 1:, 0:2] - rollout.states[:, 1:, 4:6], axis=-1)
    assert np.percentile(gap, 99) <= 0.02


def test_friction_is_the_same_in_every_direction(simulator: TabletopSimulator) -> None:
    slides = []
    for angle in np.linspace(0, 2 * np.pi, 7):
        state = scene.encode_scene({"seed": 0, "tip": {"x": -0.45, "y": -0.45}})
        for index, corner in enumerate([(0, 0), (0.35, 0.35), (-0.35, 0.35), (0.35, -0.35)]):
            state[scene.body_slice(index)] = [*corner, 1, 0, 0, 0, 0]
        columns = state[scene.body_slice(0)]
        columns[4:6] = 0.4 * np.cos(angle), 0.4 * np.sin(angle)
        end = simulator.predict(state, np.zeros((1, 8, 2), np.float32)).states[0, -1]
        slides.append(float(np.hypot(*end[scene.body_slice(0)][:2])))
    assert min(slides) > 0.01
    assert max(slides) / min(slides) < 1.02


def test_a_push_moves_the_body_and_a_body_moves_the_next(simulator: TabletopSimulator) -> None:
    state = scene.encode_scene(
        {
            "tip": {"x": -0.3, "y": 0},
            "bodies": {
                "red block": {"x": -0.15, "y": 0},
                "green disc": {"x": 0.0, "y": 0},
                "blue block": {"x": 0.3, "y": 0.3},
                "glass": {"x": 0.3, "y": -0.3},
            },
        }
    )
    end = simulator.predict(state, np.tile(np.array([0.03, 0], np.float32), (1, 12, 1))).states[0, -1]
    moved = scene.positions(end)[:, 0] - scene.positions(state)[:, 0]
    assert moved[1] > 0.1
    assert moved[3] > 0.05
    np.testing.assert_allclose(moved[[2, 4]], 0, atol=1e-4)


def test_bodies_stay_within_the_rim(simulator: TabletopSimulator) -> None:
    starts = _starts(32, seed=5)
    aims = np.tile(np.array([[0.9, 0.9]]), (32, 1))
    actions = pushing.push_paths(starts, np.arange(32) % 3, aims, 40, np.random.default_rng(0))
    states = simulator.predict(starts, actions).states
    assert np.abs(scene.positions(states)).max() < scene.TABLE_HALF


def test_a_batch_gives_what_each_sequence_gives_alone(simulator: TabletopSimulator) -> None:
    starts = _starts(4, seed=2)
    actions = _pushes(starts, 15)
    together = simulator.predict(starts, actions).states
    alone = np.concatenate([simulator.predict(starts[i], actions[i : i + 1]).states for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_going_on_from_a_state_is_like_never_having_stopped(simulator: TabletopSimulator) -> None:
    starts = _starts(32, seed=3)
    actions = _pushes(starts, 20)
    whole = simulator.predict(starts, actions).states
    second = simulator.predict(whole[:, 10], actions[:, 10:]).states
    error = np.linalg.norm(scene.positions(second)[:, -1] - scene.positions(whole)[:, -1], axis=-1)
    assert np.median(error) < 5e-4


def test_joint_angles_reach_the_whole_table() -> None:
    grid = np.stack(np.meshgrid(*[np.linspace(-scene.TIP_LIMIT, scene.TIP_LIMIT, 15)] * 2), -1).reshape(-1, 2)
    shoulder, elbow = joint_angles(grid).T
    upper, fore = scene.LINKS
    x = scene.BASE[0] + upper * np.cos(shoulder) + fore * np.cos(shoulder + elbow)
    y = scene.BASE[1] + upper * np.sin(shoulder) + fore * np.sin(shoulder + elbow)
    np.testing.assert_allclose(np.stack([x, y], -1), grid, atol=1e-6)


def test_clearance_is_the_gap_to_the_discs_edge() -> None:
    state = scene.encode_scene(
        {
            "tip": {"x": 0.0, "y": 0.2},
            "bodies": {
                "glass": {"x": 0.0, "y": 0.0},
                "red block": {"x": 0.2, "y": 0.0},
                "blue block": {"x": -0.3, "y": 0.0, "angle_degrees": 90},
                "green disc": {"x": 0.0, "y": -0.3},
            },
        }
    )
    gaps = task.clearance(state[None], scene.GLASS)[0]
    np.testing.assert_allclose(gaps, [0.2 - 0.065, 0.2 - 0.1, 0.3 - 0.08, 0.3 - 0.1], atol=1e-6)
