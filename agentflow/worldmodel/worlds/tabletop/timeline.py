"""The strip below a clip: how much of its time is trusted, and where a frame stands in it."""

from __future__ import annotations

import torch
from torch import Tensor

from agentflow.worldmodel.render import Canvas, Colour, Patch, View, box, disc, soft
from agentflow.worldmodel.worlds.tabletop import scene

WHITE: Colour = (255, 255, 255)
SHADE: Colour = (10, 12, 16)
PANEL: Colour = (27, 31, 38)
TRUSTED: Colour = (34, 182, 158)
UNTRUSTED: Colour = (240, 166, 50)
HATCHING: Colour = (150, 92, 20)
UNKNOWN: Colour = (140, 150, 164)

STRIP_M = 0.085
"""The strip's height, in metres of the picture."""
_BAR, _KNOB, _BORDER, _STRIPES = 0.017, 0.023, 0.05, 0.024

# Seven strokes of a digit from corner to corner, in half widths and half heights around its centre.
_STROKES = (
    (-1, 1, 1, 1),
    (1, 1, 1, 0),
    (1, 0, 1, -1),
    (-1, -1, 1, -1),
    (-1, 0, -1, -1),
    (-1, 1, -1, 0),
    (-1, 0, 1, 0),
)
_DIGITS = ("012345", "12", "01346", "01236", "1256", "02356", "023456", "012", "0123456", "012356")
_LETTER_S = _DIGITS[5]


class Timeline:
    """A bar over the clip's steps: teal while trusted, hatched amber after that, and bright where played.

    Without a trusted horizon the bar is grey and claims nothing.
    """

    def __init__(self, view: View, steps: int, trusted_steps: int | None) -> None:
        self._steps, self._trusted = max(steps, 1), trusted_steps
        self._y = view.bottom + STRIP_M / 2
        self._left, self._right = view.left + 0.045, view.right - 0.16
        self._bright: Tensor | None = None

    def place(self, moment: float) -> tuple[float, float]:
        """Return the point of the bar (m) that stands for a moment, counted in steps."""
        return self._left + (self._right - self._left) * min(moment / self._steps, 1.0), self._y

    def draw_still(self, canvas: Canvas) -> None:
        """Draw the whole bar as not yet played; keep it bright for the part that will have been."""
        view = canvas.view
        panel = canvas.patch(view.left, view.bottom, view.right, view.bottom + STRIP_M)
        bar = self._bar(canvas)
        if panel is None or bar is None:  # pragma: no cover - every view holds the strip
            return
        panel.paint(PANEL, panel.cover(panel.y - (view.bottom + STRIP_M)))
        middle, half = (self._left + self._right) / 2, (self._right - self._left) / 2
        inside = bar.cover(box(bar.x - middle, bar.y - self._y, half + _BAR, _BAR, _BAR))
        if self._trusted is None:
            bar.paint(UNKNOWN, inside)
        else:
            bar.paint(TRUSTED, inside)
            if self._trusted < self._steps:
                self._draw_untrusted(bar, inside, self.place(self._trusted)[0])
        self._bright = bar.pixels.clone()
        bar.paint(PANEL, 0.55 * inside)

    def _draw_untrusted(self, bar: Patch, inside: Tensor, start: float) -> None:
        late = inside * bar.cover(start - bar.x)
        bar.paint(UNTRUSTED, late)
        stripes = torch.remainder(bar.x + bar.y, _STRIPES) - _STRIPES / 2
        bar.paint(HATCHING, late * bar.cover(stripes.abs() - 0.19 * _STRIPES))
        bar.paint(WHITE, 0.9 * inside * bar.line(bar.x - start, 0.005))

    def _bar(self, canvas: Canvas) -> Patch | None:
        return canvas.patch(self._left - _BAR, self._y - _BAR, self._right + _BAR, self._y + _BAR)

    def draw(self, canvas: Canvas, moment: float) -> None:
        """Draw what has been played, the playhead, the seconds, and a border once trust has ended."""
        bar = self._bar(canvas)
        head, _ = self.place(moment)
        if bar is not None and self._bright is not None:
            played = bar.cover(bar.x - head)
            bar.pixels.lerp_(self._bright, played)
        knob = canvas.around([(head, self._y)], _KNOB + 0.006)
        if knob is not None:
            distance = disc(knob.x - head, knob.y - self._y, _KNOB)
            knob.paint(SHADE, 0.5 * soft(distance, 0.006))
            knob.paint(WHITE, knob.cover(distance))
        late = 0.0 if self._trusted is None else min(max(moment - self._trusted, 0.0), 1.0)
        colour = UNTRUSTED if late else WHITE
        _draw_seconds(canvas, self._right + 0.05, self._y, moment * scene.STEP_SECONDS, colour)
        if late:
            _draw_border(canvas, 0.8 * late)


def _draw_border(canvas: Canvas, strength: float) -> None:
    view = canvas.view
    patch = canvas.patch(view.left, view.bottom + STRIP_M, view.right, view.top)
    if patch is not None:
        beside = torch.minimum(patch.x - view.left, view.right - patch.x)
        depth = torch.minimum(beside, view.top - patch.y)
        patch.paint(UNTRUSTED, strength * (1.0 - depth / _BORDER).clamp(0.0, 1.0) ** 2)


def _draw_seconds(canvas: Canvas, left: float, y: float, seconds: float, colour: Colour) -> None:
    """Write seconds with one decimal as a clock's digits, so that no font is needed."""
    half_x, half_y, pen, x = 0.0072, 0.0155, 0.0052, left
    strokes: list[tuple[float, float, float, float]] = []

    def write(pattern: str, at: float, middle: float, size: float) -> None:
        for index in pattern:
            x0, y0, x1, y1 = _STROKES[int(index)]
            wide, high = half_x * size, half_y * size
            strokes.append((at + x0 * wide, middle + y0 * high, at + x1 * wide, middle + y1 * high))

    for letter in f"{seconds:.1f}":
        if letter == ".":
            strokes.append((x - 0.007, y - half_y, x - 0.007, y - half_y + 0.001))
            x += 0.010
        else:
            write(_DIGITS[int(letter)], x, y, 1.0)
            x += 0.026
    write(_LETTER_S, x - 0.001, y - 0.4 * half_y, 0.6)
    patch = canvas.patch(left - 0.012, y - half_y - pen, x + 0.012, y + half_y + pen)
    if patch is None:  # pragma: no cover - every view holds the strip
        return
    ends = torch.tensor(strokes, device=patch.pixels.device)[..., None, None]
    # Strokes lie along x or y, so the distance to one is that to a flat box.
    far_x = (patch.x - (ends[:, 0] + ends[:, 2]) / 2).abs() - (ends[:, 2] - ends[:, 0]).abs() / 2
    far_y = (patch.y - (ends[:, 1] + ends[:, 3]) / 2).abs() - (ends[:, 3] - ends[:, 1]).abs() / 2
    distance = torch.hypot(far_x.clamp(min=0.0), far_y.clamp(min=0.0)).amin(0)
    patch.paint(colour, patch.line(distance, pen))
