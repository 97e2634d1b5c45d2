"""Anti-aliased drawing with signed distances in torch: any resolution, the same on CPU and GPU.

A `View` maps metres to pixels, a `Canvas` holds the picture, and a `Patch` is a rectangle of it. A shape is
a function that returns the distance (m, negative inside) of each pixel of a patch; only the shape's own
bounding box is ever computed. What stands still is drawn once on one canvas and copied for each frame.
Distance functions follow I. Quilez, "2D distance functions".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class View:
    """What a picture of ``width`` × ``height`` pixels shows: pixels per metre, left and top edge (m)."""

    width: int
    height: int
    scale: float
    left: float
    top: float

    @property
    def right(self) -> float:
        """The right edge (m)."""
        return self.left + self.width / self.scale

    @property
    def bottom(self) -> float:
        """The bottom edge (m)."""
        return self.top - self.height / self.scale

    def pixel(self, x: float, y: float) -> tuple[int, int]:
        """Return the column and row of the pixel that holds a point."""
        return math.floor((x - self.left) * self.scale), math.floor((self.top - y) * self.scale)


@dataclass(frozen=True)
class Patch:
    """A rectangle of a canvas: the centres ``x[1, w]``, ``y[h, 1]`` (m) of its ``pixels[3, h, w]``."""

    x: Tensor
    y: Tensor
    pixels: Tensor
    canvas: Canvas

    def cover(self, distance: Tensor) -> Tensor:
        """Return how much of each pixel lies inside a shape: 1, 0, or between on its edge."""
        return (0.5 - distance * self.canvas.view.scale).clamp_(0.0, 1.0)

    def line(self, distance: Tensor, thickness: float) -> Tensor:
        """Return the coverage of a line along ``distance`` = 0; if thinner than a pixel, it is fainter."""
        pixel = 1.0 / self.canvas.view.scale
        return self.cover(distance.abs() - max(thickness, pixel) / 2) * min(1.0, thickness / pixel)

    def paint(self, colour: Colour, alpha: Tensor | float) -> None:
        """Blend a colour over the pixels with ``alpha[h, w]``."""
        self.pixels.lerp_(self.canvas.tone(colour), alpha)

    def light(self, amount: Tensor) -> None:
        """Lighten (or, where negative, darken) the pixels by ``amount[h, w]``; 1 is from black to white."""
        self.pixels.add_(amount)


class Canvas:
    """A picture in the making: ``pixels[3, height, width]`` from 0 to 1 (sRGB) on a device."""

    def __init__(self, view: View, device: str = "cpu") -> None:
        self.view = view
        self.pixels = torch.zeros(3, view.height, view.width, device=device)
        columns = torch.arange(view.width, device=device, dtype=torch.float32)
        rows = torch.arange(view.height, device=device, dtype=torch.float32)
        self._x = view.left + (columns[None, :] + 0.5) / view.scale
        self._y = view.top - (rows[:, None] + 0.5) / view.scale
        self._tones: dict[Colour, Tensor] = {}

    def tone(self, colour: Colour) -> Tensor:
        """Return a colour as ``[3, 1, 1]`` on the device; kept, so that each is sent there once."""
        if colour not in self._tones:
            self._tones[colour] = torch.tensor(colour, device=self.pixels.device).div(255.0).view(3, 1, 1)
        return self._tones[colour]

    def patch(self, left: float, bottom: float, right: float, top: float) -> Patch | None:
        """Return the rectangle between two corners (m), a pixel wider for its edges; None if out of sight."""
        x0, y0 = self.view.pixel(left, top)
        x1, y1 = self.view.pixel(right, bottom)
        columns = slice(max(x0 - 1, 0), min(x1 + 2, self.view.width))
        rows = slice(max(y0 - 1, 0), min(y1 + 2, self.view.height))
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return None
        return Patch(self._x[:, columns], self._y[rows], self.pixels[:, rows, columns], self)

    def around(self, points: Sequence[tuple[float, float]], reach: float) -> Patch | None:
        """Return the rectangle that holds everything within ``reach`` of the points; None if out of sight."""
        xs, ys = zip(*points, strict=True)
        return self.patch(min(xs) - reach, min(ys) - reach, max(xs) + reach, max(ys) + reach)

    def whole(self) -> Patch:
        """Return everything."""
        return Patch(self._x, self._y, self.pixels, self)

    def image(self) -> Image:
        """Return a copy as ``[height, width, 3]`` bytes."""
        small = self.pixels.mul(255.0).add_(0.5).clamp_(0.0, 255.0).to(torch.uint8)
        image: Image = small.permute(1, 2, 0).contiguous().cpu().numpy()
        return image


def disc(x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Return the distance to a disc around the origin."""
    return torch.hypot(x, y) - radius


def box(x: Tensor, y: Tensor, half_x: float, half_y: float, rounding: float) -> Tensor:
    """Return the distance to a box around the origin; its half sides include the rounded corners."""
    right = x.abs() - (half_x - rounding)
    up = y.abs() - (half_y - rounding)
    inside = torch.maximum(right, up).clamp_(max=0.0)
    return torch.hypot(right.clamp(min=0.0), up.clamp(min=0.0)) + inside - rounding


def capsule(
    x: Tensor, y: Tensor, start: tuple[float, float], end: tuple[float, float], radius: float
) -> Tensor:
    """Return the distance to a line from ``start`` to ``end`` with round ends."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    squared = max(along_x**2 + along_y**2, 1e-12)
    from_x, from_y = x - start[0], y - start[1]
    share = (from_x * (along_x / squared) + from_y * (along_y / squared)).clamp_(0.0, 1.0)
    return torch.hypot(from_x - share * along_x, from_y - share * along_y) - radius


def dashes(x: Tensor, y: Tensor, radius: float, count: int) -> Tensor:
    """Return the distance, along a circle around the origin, to ``count`` dashes that cover half of it."""
    turn = torch.atan2(y, x) * (count / math.tau)
    return ((turn - turn.round()).abs() - 0.25) * (math.tau * radius / count)


def soft(distance: Tensor, width: float) -> Tensor:
    """Return a smooth fall from 1 at ``-width`` to 0 at ``+width``: a shadow's edge."""
    share = (0.5 - distance * (0.5 / width)).clamp_(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
