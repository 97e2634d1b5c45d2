"""The tabletop as pictures: states in, frames out, with what is uncertain drawn as uncertain.

Seen from straight above, light from the upper left. Around each thing lies its halo: where it may reach with 90 %
probability, which is its outline grown by ``radius90``. The strip below shows the clip's time: trusted part
teal, the rest hatched amber; past the trusted horizon the frame's border glows amber too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentflow.core.errors import InvalidInputError
from agentflow.worldmodel.contract import Floats
from agentflow.worldmodel.render import Canvas, Colour, Image, Patch, View, box, capsule, dashes, disc, soft
from agentflow.worldmodel.worlds.tabletop import scene
from agentflow.worldmodel.worlds.tabletop.simulator import joint_angles

WHITE: Colour = (255, 255, 255)
SHADE: Colour = (22, 20, 26)
FLOOR: Colour = (222, 225, 230)
TABLE: Colour = (226, 204, 172)
RIM: Colour = (104, 78, 58)
LINK: Colour = (66, 72, 84)
JOINT: Colour = (44, 48, 58)
TIP: Colour = (242, 132, 44)
DANGER: Colour = (214, 48, 48)
PANEL: Colour = (27, 31, 38)
TRUSTED: Colour = (34, 182, 158)
UNTRUSTED: Colour = (240, 166, 50)
UNKNOWN: Colour = (140, 150, 164)

KEEP_OUT_M = 0.02
"""How far around the glass the red dashes lie (m)."""
SMALLEST_HALO_M = 0.0015
_TOP, _SIDE, _DEPTH = 0.575, 1.28, 1.395
_STRIP, _BAR = 0.085, 0.017
_RIM = 0.035
_LINK_RADII = (0.026, 0.021)
_LIGHT = (-0.6, 0.8)
_SMALLEST_SIDE, _LARGEST_SIDE = 32, 4096


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
    """Return an iterator over the frames ``[height, width, 3]`` (sRGB bytes) of ``states[T, 34]``, made one at a time.

    Args:
        states: at least one; between two of them positions move in a line and angles along the shorter arc.
        radius90: ``[T, 5]`` metres around each entity; None draws no halo.
        trusted_steps: how many leading steps are trusted; None makes no claim and colours nothing.
        goal: x, y in metres.
        goal_body: which body is to go there; gives the goal its colour and size.
        size: width and height in pixels.
        subframes: frames per step; ``(T - 1) * subframes + 1`` frames in all.
        device: where to draw, as torch names it.

    Raises:
        InvalidInputError: at once, before the first frame: a wrong shape, a number that is not finite, a size,
            body or device that is not there.
    """
    _at_least("subframes", subframes, 1)
    film = _Film(states, radius90, trusted_steps, goal, goal_body, size, device)
    return (film.frame(index / subframes) for index in range((len(film.states) - 1) * subframes + 1))


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
    """Return one picture: ``times`` moments from the first state to the last, side by side.

    Arguments and errors are those of `render`; ``size`` is that of each moment.
    """
    _at_least("times", times, 1)
    film = _Film(states, radius90, trusted_steps, goal, goal_body, size, device)
    moments = np.linspace(0, len(film.states) - 1, times) if times > 1 else np.zeros(1)
    gap = np.full((size[1], max(2, size[0] // 80), 3), 255, np.uint8)
    tiles: list[Image] = []
    for moment in moments:
        tiles += [gap, film.frame(float(round(moment)))]
    return np.concatenate(tiles[1:], axis=1)


def view_of(size: tuple[int, int]) -> View:
    """Return what a picture of that size (width, height) shows: the whole table, the arm's base, the strip."""
    width, height = size
    scale = min(width / _SIDE, height / _DEPTH)
    spare = height / scale - _DEPTH
    return View(width, height, scale, -width / scale / 2, _TOP + spare / 2)


def _at_least(where: str, value: int, least: int) -> None:
    if value < least:
        raise InvalidInputError(where, str(value), f"a whole number of at least {least}")


def _table_of(where: str, values: Any, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if len(array.shape) != len(shape) or any(
        want not in (None, have) for want, have in zip(shape, array.shape, strict=True)
    ):
        wanted = " × ".join("T" if side is None else str(side) for side in shape)
        raise InvalidInputError(where, f"shape {array.shape}", f"numbers [{wanted}]")
    if not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InvalidInputError(f"{where}{list(at)}", f"{array[at]}", "a finite number")
    return array


class _Film:
    """One clip: its states as poses, what stands still drawn once, and a frame for any moment."""

    canvas_type = Canvas

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
        self.states = _table_of("states", states, (None, scene.STATE_SIZE))
        _at_least("the number of states", len(self.states), 1)
        entities = len(scene.ENTITIES)
        self._radius = np.zeros((len(self.states), entities))
        if radius90 is not None:
            self._radius = _table_of("radius90", radius90, (len(self.states), entities)).clip(min=0.0)
        if trusted_steps is not None:
            _at_least("trusted_steps", trusted_steps, 0)
        self._trusted = trusted_steps
        if goal_body is not None and goal_body not in scene.NAMES:
            raise InvalidInputError("goal_body", f"'{goal_body}'", ", ".join(scene.NAMES))
        self._goal = None if goal is None else tuple(float(v) for v in _table_of("goal", goal, (2,)))
        self._goal_body = None if goal_body is None else scene.NAMES.index(goal_body)
        for name, side in zip(("width", "height"), size, strict=True):
            if not _SMALLEST_SIDE <= side <= _LARGEST_SIDE:
                raise InvalidInputError(name, str(side), f"{_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels")
        self._places, self._turns = _poses(self.states)
        view = view_of(size)
        try:
            self._still = self.canvas_type(view, device)
        except (RuntimeError, AssertionError) as error:
            raise InvalidInputError("device", f"'{device}'", "a device that torch has here, such as 'cpu'") from error
        self._canvas = self.canvas_type(view, device)
        self._strip = _Strip(view, len(self.states) - 1, trusted_steps)
        self._draw_still()

    def _draw_still(self) -> None:
        _draw_table(self._still)
        if self._goal is not None:
            body = None if self._goal_body is None else scene.BODIES[self._goal_body]
            _draw_goal(self._still, self._goal[0], self._goal[1], body)
        _draw_pedestal(self._still)
        self._strip.draw_still(self._still)

    def frame(self, moment: float) -> Image:
        """Return the picture at a moment, counted in steps."""
        before = min(int(moment), len(self.states) - 1)
        after, share = min(before + 1, len(self.states) - 1), moment - before
        places = self._places[before] * (1 - share) + self._places[after] * share
        turns = self._turns[before] * (1 - share) + self._turns[after] * share
        radii = self._radius[before] * (1 - share) + self._radius[after] * share
        at = [(float(x), float(y)) for x, y in places]
        canvas = self._canvas
        canvas.pixels.copy_(self._still.pixels)
        if self._goal is not None and self._goal_body is not None:
            _draw_way(canvas, at[1 + self._goal_body], (self._goal[0], self._goal[1]), scene.BODIES[self._goal_body])
        things = [_Thing(body, *at[1 + i], float(turns[i])) for i, body in enumerate(scene.BODIES)]
        for thing in things:
            thing.draw_shadow(canvas)
        for thing, radius in zip(things, radii[1:], strict=True):
            thing.draw_halo(canvas, float(radius))
        _draw_tip_halo(canvas, at[0], float(radii[0]))
        for thing in things:
            thing.draw(canvas)
        _draw_arm(canvas, at[0])
        self._strip.draw(canvas, moment)
        return canvas.image()


def _poses(states: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places ``[T, E, 2]`` and angles ``[T, bodies]`` without jumps between neighbours."""
    places = np.asarray(scene.positions(states), np.float64)
    columns = [scene.body_slice(index).start for index in range(len(scene.BODIES))]
    angles = np.stack([np.arctan2(states[:, c + 3], states[:, c + 2]) for c in columns], 1)
    return places, np.unwrap(angles, axis=0)


def _draw_table(canvas: Canvas) -> None:
    all_of_it = canvas.whole()
    x, y = all_of_it.x, all_of_it.y
    all_of_it.paint(FLOOR, torch.ones_like(x + y))
    all_of_it.light(-0.10 * ((x**2 + y**2) / 0.8).clamp(max=1.3))
    edge = scene.TABLE_HALF + _RIM
    away = box(x + 0.02 * _LIGHT[0], y + 0.02 * _LIGHT[1], edge, edge, 0.02)
    all_of_it.paint(SHADE, 0.38 * soft(away, 0.05))
    rim = box(x, y, edge, edge, 0.02)
    _solid(all_of_it, rim, box(x + _LIGHT[0] * 0.002, y + _LIGHT[1] * 0.002, edge, edge, 0.02), RIM, 0.008, 0.10)
    half = scene.TABLE_HALF
    inner = box(x, y, half, half, 0.004)
    inside = all_of_it.cover(inner)
    all_of_it.paint(TABLE, inside)
    all_of_it.light(inside * _grain(x, y))
    # The rim stands above the table: its shadow falls inwards from the lit sides.
    fall = box(x + 0.012 * _LIGHT[0], y + 0.012 * _LIGHT[1], half, half, 0.004)
    all_of_it.paint(SHADE, inside * 0.34 * (1.0 - soft(fall + 0.008, 0.014)))


def _grain(x: Tensor, y: Tensor) -> Tensor:
    """Return the wood's light and dark: planks along x, each with long wavering fibres."""
    width = 0.125
    plank = torch.floor(y / width + 0.5)
    tone = torch.sin(plank * 12.9898) * 0.012
    along = x + plank * 0.37
    wave = y + 0.006 * torch.sin(along * 5.1 + plank) + 0.003 * torch.sin(along * 13.7 + 2.0 * plank)
    fibres = 0.011 * torch.sin(wave * 190.0 + 3.0 * torch.sin(along * 1.9 + 1.7 * plank))
    fine = 0.006 * torch.sin(wave * 540.0 + 2.0 * torch.sin(along * 4.3))
    seam = (y / width + 0.5 - plank).minimum(plank + 1 - (y / width + 0.5)) * width
    return tone + fibres + fine - 0.05 * torch.exp(-((seam / 0.0022) ** 2))


def _solid(patch: Patch, distance: Tensor, towards_light: Tensor, colour: Colour, bevel: float, gloss: float) -> None:
    """Paint a shape with a bevelled edge: ``towards_light`` is its distance 2 mm nearer to the light."""
    inside = patch.cover(distance)
    patch.paint(colour, inside)
    slope = (towards_light - distance) * (gloss / 0.002)
    patch.light(inside * slope * ((distance + bevel) / bevel).clamp(0.0, 1.0))


class _Thing:
    """A body where it lies."""

    def __init__(self, body: scene.Body, x: float, y: float, angle: float) -> None:
        self.body, self.at = body, (x, y)
        self._cos, self._sin = math.cos(angle), math.sin(angle)

    def _distance(self, patch: Patch, shift_x: float = 0.0, shift_y: float = 0.0) -> Tensor:
        x, y = patch.x - (self.at[0] - shift_x), patch.y - (self.at[1] - shift_y)
        body = self.body
        if body.half_x == 0.0:
            return disc(x, y, body.radius)
        along, across = x * self._cos + y * self._sin, y * self._cos - x * self._sin
        rounding = max(body.radius, 0.008)
        return box(along, across, body.half_x + body.radius, body.half_y + body.radius, rounding)

    def draw_shadow(self, canvas: Canvas) -> None:
        depth, blur = 0.018, 0.018
        patch = canvas.around([self.at], self.body.reach + depth + blur)
        if patch is None:
            return
        away = self._distance(patch, _LIGHT[0] * depth, _LIGHT[1] * depth)
        strength = 0.16 if self.body.name == "glass" else 0.42
        patch.paint(SHADE, strength * soft(away, blur))

    def draw_halo(self, canvas: Canvas, radius: float) -> None:
        if radius < SMALLEST_HALO_M:
            return
        patch = canvas.around([self.at], self.body.reach + radius)
        if patch is not None:
            _halo(patch, self._distance(patch), radius, self.body.colour)

    def draw(self, canvas: Canvas) -> None:
        patch = canvas.around([self.at], self.body.reach + 2 * KEEP_OUT_M)
        if patch is None:
            return
        distance = self._distance(patch)
        if self.body.name == "glass":
            self._draw_glass(patch, distance)
            return
        towards = self._distance(patch, _LIGHT[0] * 0.002, _LIGHT[1] * 0.002)
        _solid(patch, distance, towards, self.body.colour, 0.010, 0.20)
        x, y = patch.x - self.at[0], patch.y - self.at[1]
        inside = patch.cover(distance)
        patch.light(inside * ((x * _LIGHT[0] + y * _LIGHT[1]) * (0.07 / self.body.reach) + 0.02))
        patch.paint(WHITE, 0.16 * patch.line(distance + 0.010, 0.0018))

    def _draw_glass(self, patch: Patch, distance: Tensor) -> None:
        radius = self.body.radius
        x, y = patch.x - self.at[0], patch.y - self.at[1]
        ring = patch.line(distance - KEEP_OUT_M, 0.0045)
        patch.paint(DANGER, 0.75 * ring * patch.cover(dashes(x, y, radius + KEEP_OUT_M, 16)))
        patch.paint(DANGER, 0.08 * patch.cover(distance - KEEP_OUT_M))
        inside = patch.cover(distance)
        patch.paint(self.body.colour, inside * (0.45 + 0.35 * (1.0 + distance / radius).clamp(0.0, 1.0) ** 3))
        # The glass gathers the light that falls through it on the side away from the lamp.
        spot = torch.hypot(x + _LIGHT[0] * 0.4 * radius, y + _LIGHT[1] * 0.4 * radius)
        patch.paint(WHITE, inside * 0.75 * torch.exp(-((spot / (0.32 * radius)) ** 2)))
        patch.paint(WHITE, 0.85 * patch.line(distance + 0.0035, 0.0035))
        patch.paint((88, 128, 156), 0.65 * patch.line(distance, 0.0022))
        facing = (x * _LIGHT[0] + y * _LIGHT[1]) / torch.hypot(x, y).clamp(min=1e-6)
        patch.paint(WHITE, patch.line(distance + 0.35 * radius, 0.005) * ((facing - 0.8) * 6.0).clamp(0.0, 0.95))


def _halo(patch: Patch, distance: Tensor, radius: float, colour: Colour) -> None:
    """Tint where an outline may reach: densest at the outline, ending in a fine line."""
    fade = (1.0 - distance / radius).clamp(0.0, 1.0)
    patch.paint(colour, patch.cover(distance - radius) * (0.16 + 0.26 * fade))
    patch.paint(colour, 0.75 * patch.line(distance - radius, 0.003))


def _draw_tip_halo(canvas: Canvas, at: tuple[float, float], radius: float) -> None:
    patch = canvas.around([at], scene.TIP_RADIUS + radius) if radius >= SMALLEST_HALO_M else None
    if patch is not None:
        _halo(patch, disc(patch.x - at[0], patch.y - at[1], scene.TIP_RADIUS), radius, TIP)


def _draw_goal(canvas: Canvas, x: float, y: float, body: scene.Body | None) -> None:
    colour, radius = (DANGER, 0.05) if body is None else (body.colour, body.reach)
    patch = canvas.around([(x, y)], radius + 0.02)
    if patch is None:
        return
    px, py = patch.x - x, patch.y - y
    distance = disc(px, py, radius)
    patch.paint(WHITE, 0.30 * patch.cover(distance))
    patch.paint(colour, 0.10 * patch.cover(distance))
    patch.paint(colour, 0.95 * patch.line(distance, 0.006) * patch.cover(dashes(px, py, radius, 14)))
    cross = torch.minimum(capsule(px, py, (-0.02, 0.0), (0.02, 0.0), 0.0), capsule(px, py, (0.0, -0.02), (0.0, 0.02), 0.0))
    patch.paint(colour, 0.8 * patch.line(cross, 0.003))


def _draw_way(canvas: Canvas, start: tuple[float, float], end: tuple[float, float], body: scene.Body) -> None:
    """Draw a dotted line from a body to its goal."""
    length = math.dist(start, end)
    patch = canvas.around([start, end], 0.005)
    if patch is None or not 0.02 < length < 10.0:
        return
    distance = capsule(patch.x, patch.y, start, end, 0.0)
    along = ((patch.x - end[0]) * (start[0] - end[0]) + (patch.y - end[1]) * (start[1] - end[1])) / length
    dots = along / 0.02
    patch.paint(body.colour, 0.7 * patch.line(torch.hypot(distance, (dots - dots.round()) * 0.02), 0.007))


def _draw_pedestal(canvas: Canvas) -> None:
    x0, y0 = scene.BASE
    patch = canvas.around([scene.BASE], 0.13)
    if patch is None:
        return
    x, y = patch.x - x0, patch.y - y0
    patch.paint(SHADE, 0.45 * soft(box(x + 0.02 * _LIGHT[0], y + 0.02 * _LIGHT[1], 0.075, 0.075, 0.02), 0.03))
    plate = box(x, y, 0.075, 0.075, 0.02)
    _solid(patch, plate, box(x + _LIGHT[0] * 0.002, y + _LIGHT[1] * 0.002, 0.075, 0.075, 0.02), LINK, 0.008, 0.12)
    for corner_x in (-0.055, 0.055):
        for corner_y in (-0.055, 0.055):
            patch.paint(SHADE, 0.6 * patch.cover(disc(x - corner_x, y - corner_y, 0.008)))


def _draw_arm(canvas: Canvas, tip: tuple[float, float]) -> None:
    """Draw two tapering links above everything, their shadow, the joints, and the pusher at the tip."""
    shoulder, bend = (float(v) for v in joint_angles(np.array(tip)))
    elbow = (scene.BASE[0] + scene.LINKS[0] * math.cos(shoulder), scene.BASE[1] + scene.LINKS[0] * math.sin(shoulder))
    wrist = (elbow[0] + scene.LINKS[1] * math.cos(shoulder + bend), elbow[1] + scene.LINKS[1] * math.sin(shoulder + bend))
    points = [scene.BASE, elbow, wrist]
    depth, blur = 0.055, 0.026
    shadow = canvas.around([(x - _LIGHT[0] * depth, y - _LIGHT[1] * depth) for x, y in points], 0.03 + blur)
    if shadow is not None:
        x, y = shadow.x + _LIGHT[0] * depth, shadow.y + _LIGHT[1] * depth
        links = [capsule(x, y, points[i], points[i + 1], _LINK_RADII[i]) for i in range(2)]
        shadow.paint(SHADE, 0.30 * soft(torch.minimum(*links), blur))
    for index in (1, 0):
        _draw_link(canvas, points[index], points[index + 1], _LINK_RADII[index])
    for at, radius in ((scene.BASE, 0.045), (elbow, 0.034)):
        _draw_joint(canvas, at, radius, LINK, 0.45)
    _draw_joint(canvas, tip, scene.TIP_RADIUS, TIP, 0.40)


def _draw_link(canvas: Canvas, start: tuple[float, float], end: tuple[float, float], radius: float) -> None:
    patch = canvas.around([start, end], radius)
    if patch is None:
        return
    distance = capsule(patch.x, patch.y, start, end, radius)
    step = (_LIGHT[0] * 0.002, _LIGHT[1] * 0.002)
    towards = capsule(patch.x + step[0], patch.y + step[1], start, end, radius)
    _solid(patch, distance, towards, LINK, radius, 0.24)
    patch.paint(WHITE, 0.22 * patch.line(distance + radius * 0.98, 0.003))


def _draw_joint(canvas: Canvas, at: tuple[float, float], radius: float, colour: Colour, hub: float) -> None:
    patch = canvas.around([at], radius)
    if patch is None:
        return
    x, y = patch.x - at[0], patch.y - at[1]
    distance = disc(x, y, radius)
    _solid(patch, distance, disc(x + _LIGHT[0] * 0.002, y + _LIGHT[1] * 0.002, radius), colour, 0.4 * radius, 0.20)
    patch.paint(SHADE, 0.55 * patch.line(distance, 0.002))
    patch.paint(JOINT, 0.9 * patch.cover(distance + radius * (1.0 - hub)))
    patch.paint(WHITE, 0.35 * patch.line(distance + radius * (1.0 - hub), 0.002))


class _Strip:
    """The clip's time line: how much of it is trusted, and where this frame stands."""

    def __init__(self, view: View, steps: int, trusted_steps: int | None) -> None:
        self._steps, self._trusted = max(steps, 1), trusted_steps
        self._y = view.bottom + _STRIP / 2
        self._left, self._right = view.left + 0.045, view.right - 0.16
        self._lit: Tensor | None = None

    def _x(self, moment: float) -> float:
        return self._left + (self._right - self._left) * min(moment / self._steps, 1.0)

    def draw_still(self, canvas: Canvas) -> None:
        """Draw the whole bar, dim; keep it bright for the part that will have been played."""
        view = canvas.view
        panel = canvas.patch(view.left, view.bottom, view.right, view.bottom + _STRIP)
        bar = self._bar(canvas)
        if panel is None or bar is None:
            return
        panel.paint(PANEL, panel.cover(panel.y - (view.bottom + _STRIP) + 0.0 * panel.x))
        middle = (self._left + self._right) / 2
        inside = bar.cover(box(bar.x - middle, bar.y - self._y, middle - self._left + _BAR, _BAR, _BAR))
        if self._trusted is None:
            bar.paint(UNKNOWN, inside)
        else:
            end = self._x(self._trusted)
            late = bar.cover(end - bar.x) if self._trusted < self._steps else torch.zeros_like(bar.x)
            bar.paint(TRUSTED, inside * (1.0 - late))
            stripes = torch.remainder(bar.x + bar.y, 0.024) - 0.012
            bar.paint(UNTRUSTED, inside * late)
            bar.paint((150, 92, 20), inside * late * bar.cover(stripes.abs() - 0.0045))
            if self._trusted < self._steps:
                bar.paint(WHITE, 0.9 * inside * bar.line(bar.x - end, 0.005))
        self._lit = bar.pixels.clone()
        bar.paint(PANEL, 0.55 * inside)

    def _bar(self, canvas: Canvas) -> Patch | None:
        return canvas.patch(self._left - _BAR, self._y - _BAR, self._right + _BAR, self._y + _BAR)

    def draw(self, canvas: Canvas, moment: float) -> None:
        """Draw what has been played, the playhead, the time in seconds, and the border where trust has ended."""
        bar = self._bar(canvas)
        if bar is None or self._lit is None:
            return
        head = self._x(moment)
        played = int((bar.x[0] < head).sum())
        bar.pixels[:, :, :played] = self._lit[:, :, :played]
        knob = canvas.around([(head, self._y)], 0.028)
        if knob is not None:
            distance = disc(knob.x - head, knob.y - self._y, 0.023)
            knob.paint(SHADE, 0.5 * soft(distance, 0.006))
            knob.paint(WHITE, knob.cover(distance))
        late = 0.0 if self._trusted is None else min(max(moment - self._trusted, 0.0), 1.0)
        _draw_seconds(canvas, self._right + 0.05, self._y, moment * scene.STEP_SECONDS, UNTRUSTED if late else WHITE)
        if late:
            _draw_border(canvas, 0.8 * late)


def _draw_border(canvas: Canvas, strength: float) -> None:
    view, wide = canvas.view, 0.05
    low = view.bottom + _STRIP
    for edges in (
        (view.left, view.top - wide, view.right, view.top),
        (view.left, low, view.left + wide, view.top - wide),
        (view.right - wide, low, view.right, view.top - wide),
    ):
        patch = canvas.patch(*edges)
        if patch is not None:
            depth = torch.minimum(torch.minimum(patch.x - view.left, view.right - patch.x), view.top - patch.y)
            patch.paint(UNTRUSTED, strength * (1.0 - depth / wide).clamp(0.0, 1.0) ** 2)


# Seven strokes of a digit, as half-steps from its centre: (x, y) to (x, y), in half widths and half heights.
_STROKES = ((-1, 1, 1, 1), (1, 1, 1, 0), (1, 0, 1, -1), (-1, -1, 1, -1), (-1, 0, -1, -1), (-1, 1, -1, 0), (-1, 0, 1, 0))
_DIGITS = ("012345", "12", "01346", "01236", "1256", "02356", "023456", "012", "0123456", "012356")


def _draw_seconds(canvas: Canvas, left: float, y: float, seconds: float, colour: Colour) -> None:
    """Write seconds with one decimal as a clock's digits; no font is needed."""
    half_x, half_y, pen, x = 0.0075, 0.0155, 0.0046, left
    strokes = []
    for letter in f"{seconds:.1f}":
        if letter == ".":
            strokes.append(((x - 0.004, y - half_y), (x - 0.004, y - half_y)))
            x += 0.008
            continue
        for stroke in _DIGITS[int(letter)]:
            x0, y0, x1, y1 = _STROKES[int(stroke)]
            strokes.append(((x + x0 * half_x, y + y0 * half_y), (x + x1 * half_x, y + y1 * half_y)))
        x += 0.027
    patch = canvas.patch(left - 0.012, y - half_y - pen, x, y + half_y + pen)
    if patch is None:
        return
    ends = torch.tensor(strokes, device=patch.pixels.device, dtype=torch.float32)[..., None, None]
    start_x, start_y, end_x, end_y = ends[:, 0, 0], ends[:, 0, 1], ends[:, 1, 0], ends[:, 1, 1]
    # Strokes lie along x or y, so the distance to one is that to a flat box.
    far_x = (patch.x - (start_x + end_x) / 2).abs() - (end_x - start_x).abs() / 2
    far_y = (patch.y - (start_y + end_y) / 2).abs() - (end_y - start_y).abs() / 2
    distance = torch.hypot(far_x.clamp(min=0.0), far_y.clamp(min=0.0)).amin(0)
    patch.paint(colour, patch.line(distance, pen))
