"""The tabletop as pictures: states in, frames out, with what is uncertain drawn as uncertain.

Around each thing lies its halo: where it may reach with 90 % probability, which is its outline grown by
``radius90``. The strip below shows the clip's time (see `timeline`); past the trusted horizon the frame's
border glows amber.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentflow.core.errors import InvalidInputError
from agentflow.worldmodel.contract import Floats
from agentflow.worldmodel.render import Canvas, Image, View
from agentflow.worldmodel.worlds.tabletop import pieces, scene
from agentflow.worldmodel.worlds.tabletop.timeline import STRIP_M, Timeline

_TOP_M = 0.575
_WIDTH_M, _HEIGHT_M = 1.28, 1.31 + STRIP_M
_SMALLEST_SIDE, _LARGEST_SIDE = 32, 4096
_LARGEST_NUMBER = 1e6


def render(
    states: Floats,
    *,
    radius90: Floats | None = None,
    trusted_steps: int | None = None,
    goal: Sequence[float] | None = None,
    goal_body: str | None = None,
    size: tuple[int, int] = (480, 480),
    subframes: int = 3,
    device: str = "cpu",
) -> Iterator[Image]:
    """Draw ``states[T, 34]`` frame by frame, on demand: ``[height, width, 3]``, sRGB bytes.

    Args:
        states: at least one; between two of them places move in a line and angles along the shorter arc.
        radius90: ``[T, 5]`` metres around each entity; None draws no halo.
        trusted_steps: how many leading steps are trusted; None makes no claim and colours nothing.
        goal: x, y in metres.
        goal_body: which body is to go there; gives the goal its colour and size.
        size: width and height in pixels.
        subframes: frames per step; ``(T - 1) * subframes + 1`` frames in all.
        device: where to draw, as torch names it.

    Raises:
        InvalidInputError: at once, before the first frame: a wrong shape, a number that is not finite, a
            size, body or device that is not there.
    """
    _at_least("subframes", subframes, 1)
    film = Film(states, radius90, trusted_steps, goal, goal_body, size, device)
    return (film.frame(index / subframes) for index in range(film.steps * subframes + 1))


def contact_sheet(
    states: Floats,
    times: int = 4,
    *,
    radius90: Floats | None = None,
    trusted_steps: int | None = None,
    goal: Sequence[float] | None = None,
    goal_body: str | None = None,
    size: tuple[int, int] = (480, 480),
    device: str = "cpu",
) -> Image:
    """Return one picture: ``times`` states from the first to the last, side by side.

    Arguments and errors are those of `render`; ``size`` is that of each state's picture.
    """
    _at_least("times", times, 1)
    film = Film(states, radius90, trusted_steps, goal, goal_body, size, device)
    gap = np.full((size[1], max(2, size[0] // 80), 3), 255, np.uint8)
    tiles: list[Image] = []
    for moment in np.linspace(0, film.steps, times):
        tiles += [gap, film.frame(float(round(moment)))]
    return np.concatenate(tiles[1:], axis=1)


def view_of(size: tuple[int, int]) -> View:
    """Return what a picture of that size (width, height) shows: the table, the arm's base, the strip."""
    width, height = size
    scale = min(width / _WIDTH_M, height / _HEIGHT_M)
    spare = height / scale - _HEIGHT_M
    return View(width, height, scale, -width / scale / 2, _TOP_M + spare / 2)


class Film:
    """One clip: what stands still, drawn once, and a frame for any moment. Arguments as of `render`."""

    canvas_type: type[Canvas] = Canvas

    def __init__(
        self,
        states: Floats,
        radius90: Floats | None,
        trusted_steps: int | None,
        goal: Sequence[float] | None,
        goal_body: str | None,
        size: tuple[int, int],
        device: str,
    ) -> None:
        checked = _checked("states", states, (None, scene.STATE_SIZE))
        _at_least("the number of states", len(checked), 1)
        self.steps = len(checked) - 1
        self._places, self._angles = _poses(checked)
        self._radii = _radii(radius90, len(checked))
        if trusted_steps is not None:
            _at_least("trusted_steps", trusted_steps, 0)
        if goal_body is not None and goal_body not in scene.NAMES:
            raise InvalidInputError("goal_body", f"'{goal_body}'", ", ".join(scene.NAMES))
        self._goal_body = None if goal_body is None else scene.NAMES.index(goal_body)
        self._goal: pieces.Point | None = None
        if goal is not None:
            x, y = _checked("goal", goal, (2,))
            self._goal = float(x), float(y)
        for name, side in zip(("width", "height"), size, strict=True):
            if not _SMALLEST_SIDE <= side <= _LARGEST_SIDE:
                raise InvalidInputError(name, str(side), f"{_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels")
        view = view_of(size)
        self._timeline = Timeline(view, self.steps, trusted_steps)
        self._still, self._canvas = self._new_canvas(view, device), self._new_canvas(view, device)
        self._draw_still(self._still)

    def _new_canvas(self, view: View, device: str) -> Canvas:
        try:
            return self.canvas_type(view, device)
        except (RuntimeError, AssertionError) as error:
            raise InvalidInputError("device", f"'{device}'", "a device that torch has, as 'cpu'") from error

    def _draw_still(self, canvas: Canvas) -> None:
        pieces.draw_table(canvas)
        if self._goal is not None:
            body = None if self._goal_body is None else scene.BODIES[self._goal_body]
            pieces.draw_goal(canvas, self._goal, body)
        pieces.draw_pedestal(canvas)
        self._timeline.draw_still(canvas)

    def _start_frame(self) -> Canvas:
        """Return the canvas with what stands still on it."""
        self._canvas.pixels.copy_(self._still.pixels)
        return self._canvas

    def frame(self, moment: float) -> Image:
        """Return the picture at a moment, counted in steps from 0 to ``steps``."""
        places, angles, radii = (_between(row, moment) for row in (self._places, self._angles, self._radii))
        tip, *spots = [(float(x), float(y)) for x, y in places]
        canvas = self._start_frame()
        if self._goal is not None and self._goal_body is not None:
            body = scene.BODIES[self._goal_body]
            pieces.draw_way(canvas, spots[self._goal_body], self._goal, body.colour)
        things = [
            pieces.Thing(body, at, float(angle))
            for body, at, angle in zip(scene.BODIES, spots, angles, strict=True)
        ]
        for thing in things:
            thing.draw_shadow(canvas)
        pieces.draw_tip_halo(canvas, tip, float(radii[0]))
        for thing, radius in zip(things, radii[1:], strict=True):
            thing.draw_halo(canvas, float(radius))
        for thing in things:
            thing.draw(canvas)
        pieces.draw_arm(canvas, tip)
        self._timeline.draw(canvas, moment)
        return canvas.image()


def _between(rows: NDArray[np.float64], moment: float) -> NDArray[np.float64]:
    before = min(int(moment), len(rows) - 1)
    share = moment - before
    mixed: NDArray[np.float64] = rows[before] * (1 - share) + rows[min(before + 1, len(rows) - 1)] * share
    return mixed


def _poses(states: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places ``[T, E, 2]``, and angles ``[T, bodies]`` that turn less than half round in a step."""
    places = scene.positions(states.astype(np.float32)).astype(np.float64)
    columns = [scene.body_slice(index).start for index in range(len(scene.BODIES))]
    angles = np.stack([np.arctan2(states[:, c + 3], states[:, c + 2]) for c in columns], 1)
    return places, np.unwrap(angles, axis=0)


def _radii(radius90: Floats | None, count: int) -> NDArray[np.float64]:
    shape = (count, len(scene.ENTITIES))
    if radius90 is None:
        return np.zeros(shape)
    radii = _checked("radius90", radius90, shape)
    if (radii < 0).any():
        raise InvalidInputError("radius90", f"{radii.min():g} m", "0 m or more")
    return radii


def _at_least(where: str, value: int, least: int) -> None:
    if value < least:
        raise InvalidInputError(where, str(value), f"a whole number of at least {least}")


def _checked(where: str, values: Any, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """Return numbers of a shape, in which None stands for any length, or refuse them."""
    wanted = f"numbers [{', '.join('T' if side is None else str(side) for side in shape)}]"
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(where, type(values).__name__, wanted) from error
    fits = array.ndim == len(shape) and all(
        side in (None, length) for side, length in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise InvalidInputError(where, f"shape {array.shape}", wanted)
    bad = ~(np.abs(array) < _LARGEST_NUMBER)
    if bad.any():
        at = tuple(int(index) for index in np.argwhere(bad)[0])
        raise InvalidInputError(f"{where}{list(at)}", f"{array[at]:g}", "a finite number below a million")
    return array
