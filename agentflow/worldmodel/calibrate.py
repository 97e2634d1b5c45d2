"""Calibration: from an ensemble's raw spread to a radius that holds 90 % of true positions, group by group.

Split-conformal quantiles, conditional on what was predicted (Mondrian; Vovk et al., 2003): most things rest, so one
factor for all would be right on average and wrong for every block that moves. Groups are "nothing came near it"
and, for the rest, bins of the predicted spread, separately at each horizon and for each kind of entity.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentflow.core.errors import WeightsError

KNOTS = (1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 30, 35, 40, 45, 50)
BINS = 6


@dataclass(frozen=True)
class Table:
    """The figures of one kind of entity, by horizon: K knots.

    Attributes:
        rest: ``[K]`` radius (m) where nothing came near it.
        edges: ``[K][BINS - 1]`` borders between bins of predicted spread (m).
        factors: ``[K][BINS]`` what the spread is multiplied by.
    """

    rest: tuple[float, ...]
    edges: tuple[tuple[float, ...], ...]
    factors: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Calibration:
    """Factors by kind of entity, horizon and group; between knots they are interpolated.

    Attributes:
        level: the share of true positions that a radius holds.
        knots: horizons in steps, K of them.
        kinds: for each entity, which of ``tables`` is its own.
        tables: one a kind.
        fitted_on: where the figures come from.
    """

    level: float
    knots: tuple[int, ...]
    kinds: tuple[int, ...]
    tables: tuple[Table, ...]
    fitted_on: dict[str, Any]

    def radius(self, spread: NDArray[Any], stirred: NDArray[Any]) -> NDArray[Any]:
        """Return the radius ``[B, H, E]`` (m) for raw ``spread[B, H, E]`` of steps 1..H.

        Args:
            spread: σ of the predicted position (m); its largest value so far counts.
            stirred: whether anything came near the entity so far.
        """
        out = np.empty_like(spread)
        horizon = spread.shape[1]
        for kind, table in enumerate(self.tables):
            own = [entity for entity, of in enumerate(self.kinds) if of == kind]
            rest = _by_step(self.knots, tuple((r,) for r in table.rest), horizon)[:, 0]
            edges = _by_step(self.knots, table.edges, horizon)
            factors = _by_step(self.knots, table.factors, horizon)
            for h in range(horizon):
                wide = spread[:, h, own]
                group = np.searchsorted(edges[h], wide)
                out[:, h, own] = np.where(stirred[:, h, own], wide * factors[h][group], rest[h])
        return out

    def save(self, path: Path) -> None:
        """Write the figures as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            WeightsError: the file is missing or does not hold a calibration.
        """

        def rows(raw: Any) -> tuple[tuple[float, ...], ...]:
            return tuple(tuple(row) for row in raw)

        try:
            raw = json.loads(path.read_text())
            tables = tuple(
                Table(tuple(t["rest"]), rows(t["edges"]), rows(t["factors"])) for t in raw["tables"]
            )
            return cls(raw["level"], tuple(raw["knots"]), tuple(raw["kinds"]), tables, raw["fitted_on"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            expected = "the calibration that `agentflow world evaluate` writes"
            raise WeightsError(str(path), str(error), expected) from error


@lru_cache(maxsize=256)
def _by_step(knots: tuple[int, ...], rows: tuple[tuple[float, ...], ...], horizon: int) -> NDArray[Any]:
    """Return ``rows[K][G]`` at steps 1 to ``horizon``, ``[H, G]``: straight lines between knots."""
    steps = np.arange(1, horizon + 1)
    return np.stack([np.interp(steps, knots, column) for column in np.array(rows).T], -1)


def fit(
    spread: NDArray[Any],
    stirred: NDArray[Any],
    error: NDArray[Any],
    kinds: tuple[int, ...],
    fitted_on: dict[str, Any],
    level: float = 0.9,
) -> Calibration:
    """Return the calibration under which ``level`` of ``error[B, H, E]`` (m) lies within the radius, group by group.

    Args:
        spread: see `Calibration.radius`.
        stirred: see `Calibration.radius`.
        error: how far the truth lay from the prediction.
        kinds: for each entity, its kind; kinds are counted from 0.
        fitted_on: what to write down about the data.
        level: the share to hold. Quantiles carry the finite-sample correction of split-conformal
            prediction, (n + 1)·level of n.
    """
    knots = tuple(k for k in KNOTS if k <= spread.shape[1])
    tables = []
    for kind in range(max(kinds) + 1):
        own = [entity for entity, of in enumerate(kinds) if of == kind]
        tables.append(_table(spread[..., own], stirred[..., own], error[..., own], knots, level))
    return Calibration(level, knots, tuple(kinds), tuple(tables), fitted_on)


def _table(
    spread: NDArray[Any], stirred: NDArray[Any], error: NDArray[Any], knots: tuple[int, ...], level: float
) -> Table:
    rest, edges, factors = [], [], []
    for knot in knots:
        s, t, e = (part[:, knot - 1].ravel() for part in (spread, stirred, error))
        rest.append(_quantile(e[~t], level))
        border = np.quantile(s[t], np.linspace(0, 1, BINS + 1)[1:-1]) if t.any() else np.zeros(BINS - 1)
        group = np.searchsorted(border, s[t])
        ratio = e[t] / np.maximum(s[t], 1e-7)
        edges.append(tuple(round(float(b), 7) for b in border))
        factors.append(tuple(_quantile(ratio[group == g], level) for g in range(BINS)))
    return Table(tuple(rest), tuple(edges), tuple(factors))


def _quantile(values: NDArray[Any], level: float) -> float:
    if len(values) == 0:
        return 0.0
    rank = min(1.0, np.ceil((len(values) + 1) * level) / len(values))
    return float(f"{np.quantile(values, rank, method='higher'):.7g}")
