"""Intervals for what was counted."""

from __future__ import annotations

import math


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson, 1927)."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    middle = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def paired_difference(a: list[bool], b: list[bool], z: float = 1.959964) -> tuple[float, float, float]:
    """Return the difference of two paired proportions a - b with its 95 % interval (Agresti and Min, 2005).

    Half a pseudo-observation is added to each cell, so that it holds near 0 and 1 too.
    """
    n = len(a) + 2
    only_a = sum(x and not y for x, y in zip(a, b, strict=True)) + 0.5
    only_b = sum(y and not x for x, y in zip(a, b, strict=True)) + 0.5
    difference = (only_a - only_b) / n
    error = math.sqrt(max(0.0, (only_a + only_b) - (only_a - only_b) ** 2 / n)) / n
    plain = (sum(a) - sum(b)) / len(a)
    return plain, max(-1.0, difference - z * error), min(1.0, difference + z * error)
