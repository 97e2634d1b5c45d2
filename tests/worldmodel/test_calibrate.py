from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agentflow import WeightsError
from agentflow.worldmodel import calibrate


def _world(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spread, stirred, error of a made-up model: over-confident where it is certain, too wide elsewhere."""
    rng = np.random.default_rng(seed)
    stirred = np.maximum.accumulate(rng.random((count, 50, 4)) < 0.02, axis=1)
    spread = np.where(stirred, np.exp(rng.normal(-4, 1, (count, 50, 4))), 0.0).astype(np.float32)
    noise = np.abs(rng.normal(0, 1, spread.shape))
    error = np.where(stirred, 3 * spread**0.7 * 0.05 * noise, 1e-5 * noise).astype(np.float32)
    return spread, stirred, error


def test_each_group_is_covered_as_promised_on_fresh_data() -> None:
    fitted = calibrate.fit(*_world(1500, 0), (0, 0, 0, 0), {"seed": 0})
    spread, stirred, error = _world(1500, 1)
    inside = error <= fitted.radius(spread, stirred)
    assert abs(inside.mean() - 0.9) < 0.01
    assert abs(inside[stirred].mean() - 0.9) < 0.01
    assert abs(inside[~stirred].mean() - 0.9) < 0.01
    wide = stirred & (spread > np.quantile(spread[stirred], 5 / 6))
    assert abs(inside[wide].mean() - 0.9) < 0.03


def test_one_factor_for_all_would_fail_the_groups_that_matter() -> None:
    """The corruption that grouping exists for: a single quantile covers the average and not the movers."""
    _, stirred, error = _world(1500, 2)
    pooled = np.quantile(error, 0.9)
    assert (error <= pooled)[stirred].mean() < 0.85


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    fitted = calibrate.fit(*_world(200, 3), (0, 0, 1, 1), {"seed": 3})
    fitted.save(tmp_path / "calibration.json")
    assert calibrate.Calibration.load(tmp_path / "calibration.json") == fitted


@pytest.mark.parametrize("text", ["", "{}", '{"level": 0.9}', "[1, 2]"])
def test_a_broken_calibration_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(WeightsError, match=r"calibration\.json"):
        calibrate.Calibration.load(tmp_path / "calibration.json")
