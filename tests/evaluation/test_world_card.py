from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agentflow import WeightsError
from agentflow.evaluation import planning, world_card
from agentflow.worldmodel.worlds.tabletop.world import WEIGHTS, TabletopWorld


def _weights(folder: Path) -> Path:
    folder.mkdir()
    for name in ("tabletop.safetensors", "training.json"):
        shutil.copy(WEIGHTS / name, folder / name)
    return folder


def test_evaluating_writes_a_card_whose_digests_hold_and_whose_figures_are_its_own(tmp_path: Path) -> None:
    folder = _weights(tmp_path / "weights")
    said: list[str] = []
    card = world_card.run(
        folder,
        episodes=12,
        scenes=3,
        threads=1,
        calibration_episodes=60,
        protocol=planning.Protocol(candidates=12, rounds=2, replans=4),
        on_progress=lambda text, done, total: said.append(text),
    )
    assert json.loads((folder / "card.json").read_text()) == json.loads(json.dumps(card))
    for name, key in (("tabletop.safetensors", "weights_sha256"), ("calibration.json", "calibration_sha256")):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == card[key]
    assert card["evaluation"]["predictions"]["episodes"] == 36
    assert card["evaluation"]["planning"]["scenes"] == 3
    assert TabletopWorld("cpu", folder).card()["weights_sha256"] == card["weights_sha256"]
    assert "calibrating" in said


def test_an_evaluation_that_is_cut_off_leaves_the_old_card(tmp_path: Path) -> None:
    folder = _weights(tmp_path / "weights")
    (folder / "card.json").write_text('{"name": "old"}')

    def stop(text: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world_card.run(folder, episodes=2, scenes=1, threads=1, calibration_episodes=10, on_progress=stop)
    assert (folder / "card.json").read_text() == '{"name": "old"}'


def test_weights_without_their_training_report_are_refused(tmp_path: Path) -> None:
    folder = _weights(tmp_path / "weights")
    (folder / "training.json").unlink()
    with pytest.raises(WeightsError, match=r"training\.json"):
        world_card.run(folder, episodes=2, scenes=1, threads=1)


def _card() -> dict[str, Any]:
    card: dict[str, Any] = json.loads((WEIGHTS / "card.json").read_text())
    return card


def test_a_model_no_better_than_nothing_changes_is_not_admitted() -> None:
    card = _card()
    assert world_card.admitted(card)
    row = card["evaluation"]["predictions"]["by_horizon"]["25"]
    row["median"]["model"] = row["median"]["still"]
    assert not world_card.admitted(card)


def test_a_model_that_plans_no_better_than_a_rule_is_not_admitted() -> None:
    card = _card()
    arms = card["evaluation"]["planning"]["arms"]
    arms["model"]["interval95"] = arms["without_model"]["interval95"]
    assert not world_card.admitted(card)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda e: e["predictions"]["by_horizon"]["10"]["median"].update(model=1.3),
            "median error at 10 steps",
        ),
        (
            lambda e: e["predictions"]["by_horizon"]["25"].update(rmse_over_floor=2.4),
            "2.4 × the simulator's own",
        ),
        (
            lambda e: e["predictions"]["by_horizon"]["50"]["rmse"].update(model=15.0),
            "half of the better baseline",
        ),
        (
            lambda e: e["predictions"]["by_horizon"]["25"]["coverage90"].update(all=0.95),
            "95.0%, not 88 to 92",
        ),
        (
            lambda e: e["predictions"]["by_horizon"]["50"]["coverage90"].update(moved=0.8),
            "moved blocks at 50 steps",
        ),
        (lambda e: e["planning"]["model_minus_simulator"].update(points=-9.0), "9.0 points below"),
        (
            lambda e: e["planning"]["model_minus_simulator"].update(interval95=[-8.0, 1.0]),
            "does not show it",
        ),
    ],
)
def test_a_card_says_where_it_stands_below_its_aims(change: Any, said: str) -> None:
    card = _card()
    assert world_card.shortfalls(card) == []
    change(card["evaluation"])
    assert len(world_card.shortfalls(card)) == 1
    assert said in world_card.shortfalls(card)[0]
