"""`Amounts`: one value for every budget dimension, from estimate to invoice."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

DIMENSIONS = ("tokens", "micro_usd", "gpu_ms", "frames", "wall_ms")

UNLIMITED = 2**62
"""A cap that stands for "no cap"; it still fits SQLite's signed 64-bit integers."""


class Amounts(BaseModel):
    """What a call costs: integers only, so that sums are exact.

    ``tokens`` of language models; ``micro_usd`` = 1e-6 USD; ``gpu_ms`` = milliseconds of compute on a
    world's device (on a machine without a GPU: of its CPU standing in); ``frames`` rendered;
    ``wall_ms`` = milliseconds of wall-clock time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int = Field(default=0, ge=0)
    micro_usd: int = Field(default=0, ge=0)
    gpu_ms: int = Field(default=0, ge=0)
    frames: int = Field(default=0, ge=0)
    wall_ms: int = Field(default=0, ge=0)

    def as_dict(self) -> dict[str, int]:
        """Return the five dimensions by name."""
        return {name: getattr(self, name) for name in DIMENSIONS}

    def plus(self, other: Amounts) -> Self:
        """Return the sum, dimension by dimension."""
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in DIMENSIONS})

    def minus(self, other: Amounts) -> Self:
        """Return the difference, never below zero."""
        return type(self)(**{name: max(0, getattr(self, name) - getattr(other, name)) for name in DIMENSIONS})

    def at_most(self, other: Amounts) -> Self:
        """Return the smaller of both, dimension by dimension."""
        return type(self)(**{name: min(getattr(self, name), getattr(other, name)) for name in DIMENSIONS})

    def at_least(self, other: Amounts) -> Self:
        """Return the larger of both, dimension by dimension."""
        return type(self)(**{name: max(getattr(self, name), getattr(other, name)) for name in DIMENSIONS})

    def first_above(self, cap: Amounts) -> str | None:
        """Return the first dimension in which this is above ``cap``, or None."""
        return next((name for name in DIMENSIONS if getattr(self, name) > getattr(cap, name)), None)

    @classmethod
    def unlimited(cls) -> Self:
        """Return amounts that no sum of real calls passes."""
        return cls(**dict.fromkeys(DIMENSIONS, UNLIMITED))


NOTHING = Amounts()
