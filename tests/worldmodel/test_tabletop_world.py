from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from agentflow import InvalidInputError, WeightsError
from agentflow.worldmodel import catalog
from agentflow.worldmodel.worlds.tabletop import dynamics, measure, scene, training
from agentflow.worldmodel.worlds.tabletop.world import TRUST_RADIUS_M, WEIGHTS, TabletopWorld


@pytest.fixture(scope="module")
def world() -> TabletopWorld:
    return TabletopWorld("cpu")


@pytest.fixture(scope="module")
def held_out() -> tuple[np.ndarray, np.ndarray]:
    return measure.windows(60, seed=901, threads=1)


def _still(horizon: int) -> np.ndarray:
    return np.zeros((1, horizon, 2), np.float32)


def test_states_of_the_network_are_the_states_of_the_world() -> None:
    states = torch.from_numpy(np.stack([scene.encode_scene({"seed": s}) for s in range(5)]))[None]
    torch.testing.assert_close(dynamics.pack(dynamics.unpack(states)), states)


def test_what_nothing_comes_near_stays_exactly_where_it_is(world: TabletopWorld) -> None:
    start = scene.encode_scene({"seed": 1})
    rollout = world.predict(start, _still(20))
    bodies = scene.positions(rollout.states)[0, :, 1:]
    np.testing.assert_allclose(bodies, np.broadcast_to(bodies[0], bodies.shape), atol=1e-6)


def test_a_batch_predicts_what_each_sequence_predicts_alone(
    world: TabletopWorld, held_out: tuple[np.ndarray, np.ndarray]
) -> None:
    states, actions = held_out
    together = world.predict(states[:6, 0], actions[:6, :10]).states
    alone = np.concatenate([world.predict(states[i, 0], actions[i : i + 1, :10]).states for i in range(6)])
    # rounding differs with the batch, and where a face lies flush on another it decides which corner counts
    gap = np.linalg.norm(scene.positions(together) - scene.positions(alone), axis=-1)
    assert gap.max() < 0.005


def test_on_held_out_episodes_it_beats_both_baselines_and_its_aims(
    world: TabletopWorld, held_out: tuple[np.ndarray, np.ndarray]
) -> None:
    states, actions = held_out
    predicted = world.predict(states[:, 0], actions).states
    at = scene.positions(states)[:, :, 1:4]
    error = np.linalg.norm(scene.positions(predicted)[:, :, 1:4] - at, axis=-1)
    still = np.linalg.norm(at - at[:, :1], axis=-1)
    for steps, aim in ((10, 0.012), (25, 0.020), (50, 0.035)):
        moved = still[:, steps] > 0.01
        assert np.median(error[:, steps][moved]) < aim
        assert np.median(error[:, steps][moved]) < np.median(still[:, steps][moved]) / 2


def test_shuffled_actions_predict_worse(
    world: TabletopWorld, held_out: tuple[np.ndarray, np.ndarray]
) -> None:
    """A model that ignores what is done would not notice."""
    states, actions = held_out
    at = scene.positions(states)[:, 25, 1:4]

    def error(moves: np.ndarray) -> float:
        end = scene.positions(world.predict(states[:, 0], moves).states)[:, 25, 1:4]
        return float(np.linalg.norm(end - at, axis=-1).mean())

    assert error(actions) < 0.5 * error(np.roll(actions, 1, axis=0))


def test_the_radius_covers_held_out_truth_and_trust_follows_it(
    world: TabletopWorld, held_out: tuple[np.ndarray, np.ndarray]
) -> None:
    states, actions = held_out
    rollout = world.predict(states[:, 0], actions)
    assert rollout.radius90 is not None
    assert rollout.trusted_steps is not None
    error = np.linalg.norm(scene.positions(rollout.states) - scene.positions(states), axis=-1)
    inside = (error <= rollout.radius90)[:, 1:, 1:]
    assert 0.84 < inside.mean() < 0.96
    for row, trusted in enumerate(rollout.trusted_steps):
        within = rollout.radius90[row].max(-1) <= TRUST_RADIUS_M
        assert within[: trusted + 1].all()
        assert trusted == rollout.horizon or not within[trusted + 1]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.full((1, 3, 2), np.nan), "nan"),
        (np.full((1, 3, 2), 0.5), "0.5"),
        (np.zeros((1, 51, 2)), "H from 1 to 50"),
        (np.zeros((3, 2)), "shape"),
        (np.zeros((1, 0, 2)), "shape"),
    ],
)
def test_actions_that_cannot_be_are_refused(world: TabletopWorld, actions: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        world.predict(scene.encode_scene({"seed": 0}), actions)


def test_a_state_that_cannot_be_is_refused(world: TabletopWorld) -> None:
    state = scene.encode_scene({"seed": 0})
    state[0] = 5.0
    with pytest.raises(InvalidInputError, match=r"tip\.x"):
        world.predict(state, _still(3))


def test_a_prediction_stops_when_its_caller_says_so(world: TabletopWorld) -> None:
    seen = []

    def stop() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        world.predict(scene.encode_scene({"seed": 0}), _still(30), stop=stop)
    assert len(seen) == 3


def test_weights_that_are_not_the_cards_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    data = bytearray((folder / "tabletop.safetensors").read_bytes())
    data[-5] ^= 1
    (folder / "tabletop.safetensors").write_bytes(data)
    with pytest.raises(
        WeightsError, match=r"tabletop\.safetensors: sha256 .*expected the file of the world card"
    ):
        TabletopWorld("cpu", folder)


def test_a_file_that_is_no_weights_is_refused_even_when_the_card_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(WEIGHTS, folder)
    (folder / "tabletop.safetensors").write_bytes(b"not weights")
    card = json.loads((folder / "card.json").read_text())
    del card["weights_sha256"]
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="not loadable"):
        TabletopWorld("cpu", folder)


def test_the_shipped_card_carries_figures_and_stands_by_them() -> None:
    card = json.loads((WEIGHTS / "card.json").read_text())
    assert card["admitted"] is True
    predictions = card["evaluation"]["predictions"]
    assert predictions["episodes"] >= 1200
    assert len(predictions["seeds"]) == 3
    assert card["evaluation"]["planning"]["scenes"] >= 100
    assert card["training"]["weights_sha256"] == card["weights_sha256"]
    assert card["training"]["data"]["seed"] not in (measure.CALIBRATION_SEED, *measure.EVALUATION_SEEDS)


def test_training_from_nothing_learns_and_leaves_weights_that_load(tmp_path: Path) -> None:
    report = training.run(tmp_path, minutes=0.1, count=24, seed=3, threads=1)
    assert report["updates"] > 3
    world = TabletopWorld("cpu", tmp_path)
    assert world.digest == report["weights_sha256"]
    rollout = world.predict(scene.encode_scene({"seed": 0}), _still(2))
    assert rollout.radius90 is None  # nothing calibrated it, so it claims nothing


def test_the_catalog_opens_worlds_by_name() -> None:
    assert "tabletop" in catalog.names()
    assert catalog.open_simulator("tabletop").card()["kind"] == "simulator"
