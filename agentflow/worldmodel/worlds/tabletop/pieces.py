"""What is seen on and around the table, drawn from straight above with light from the upper left."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from agentflow.worldmodel.render import Canvas, Colour, Patch, box, capsule, dashes, disc, soft
from agentflow.worldmodel.worlds.tabletop import scene
from agentflow.worldmodel.worlds.tabletop.simulator import joint_angles

Point = tuple[float, float]
Shape = Callable[[Tensor, Tensor], Tensor]
"""Where a pixel is relative to the shape, x and y (m), to its distance."""

WHITE: Colour = (255, 255, 255)
SHADE: Colour = (22, 20, 26)
FLOOR: Colour = (222, 225, 230)
TABLE: Colour = (226, 204, 172)
RIM: Colour = (104, 78, 58)
LINK: Colour = (66, 72, 84)
HUB: Colour = (44, 48, 58)
TIP: Colour = (242, 132, 44)
DANGER: Colour = (214, 48, 48)
GLASS_EDGE: Colour = (88, 128, 156)

KEEP_OUT_M = 0.02
"""How far from the glass its red dashes lie (m)."""
SMALLEST_HALO_M = 0.0015
_LIGHT_X, _LIGHT_Y = -0.6, 0.8
_RIM_WIDTH = 0.035
_LINK_RADII = (0.026, 0.021)
_BLOCK_ROUNDING = 0.008


def _solid(
    patch: Patch, shape: Shape, at: Point, colour: Colour, bevel: float, gloss: float
) -> tuple[Tensor, Tensor]:
    """Paint a shape around ``at``, its edge bevelled over ``bevel`` metres; return distance and coverage.

    How far the edge faces the light is the change of the distance over the next two millimetres towards it.
    """
    nudge = 0.002
    x, y = patch.x - at[0], patch.y - at[1]
    distance = shape(x, y)
    inside = patch.cover(distance)
    patch.paint(colour, inside)
    slope = (shape(x + _LIGHT_X * nudge, y + _LIGHT_Y * nudge) - distance) * (gloss / nudge)
    patch.light(inside * slope * ((distance + bevel) / bevel).clamp(0.0, 1.0))
    return distance, inside


def _shadow(patch: Patch, shape: Shape, at: Point, depth: float, blur: float, strength: float) -> None:
    """Darken what a shape around ``at`` shades when it stands ``depth`` above."""
    x, y = patch.x - (at[0] - _LIGHT_X * depth), patch.y - (at[1] - _LIGHT_Y * depth)
    patch.paint(SHADE, strength * soft(shape(x, y), blur))


def draw_table(canvas: Canvas) -> None:
    """Draw the floor, the table's rim and its wooden top."""
    patch = canvas.whole()
    x, y = patch.x, patch.y
    patch.paint(FLOOR, 1.0)
    patch.light(-0.10 * ((x**2 + y**2) / 0.8).clamp(max=1.3))
    half, edge = scene.TABLE_HALF, scene.TABLE_HALF + _RIM_WIDTH

    def outer(x: Tensor, y: Tensor) -> Tensor:
        return box(x, y, edge, edge, 0.02)

    def inner(x: Tensor, y: Tensor) -> Tensor:
        return box(x, y, half, half, 0.004)

    _shadow(patch, outer, (0.0, 0.0), 0.02, 0.05, 0.38)
    _solid(patch, outer, (0.0, 0.0), RIM, 0.008, 0.10)
    inside = patch.cover(inner(x, y))
    patch.paint(TABLE, inside)
    patch.light(inside * _grain(x, y))
    # The rim stands above the table: on the lit sides its shadow falls inwards.
    lit = inner(x + 0.012 * _LIGHT_X, y + 0.012 * _LIGHT_Y)
    patch.paint(SHADE, inside * 0.34 * (1.0 - soft(lit + 0.008, 0.014)))


def _grain(x: Tensor, y: Tensor) -> Tensor:
    """Return the wood's light and dark: planks along x, each with long wavering fibres."""
    width = 0.125
    place = y / width + 0.5
    plank = torch.floor(place)
    along = x + plank * 0.37
    wave = y + 0.006 * torch.sin(along * 5.1 + plank) + 0.003 * torch.sin(along * 13.7 + 2.0 * plank)
    fibres = 0.011 * torch.sin(wave * 190.0 + 3.0 * torch.sin(along * 1.9 + 1.7 * plank))
    fine = 0.006 * torch.sin(wave * 540.0 + 2.0 * torch.sin(along * 4.3))
    seam = torch.minimum(place - plank, plank + 1.0 - place) * width
    return 0.012 * torch.sin(plank * 13.0) + fibres + fine - 0.05 * torch.exp(-((seam / 0.0022) ** 2))


class Thing:
    """A body where it lies: its shadow, its halo, itself."""

    def __init__(self, body: scene.Body, at: Point, angle: float) -> None:
        self._body, self._at = body, at
        self._cos, self._sin = math.cos(angle), math.sin(angle)

    def _shape(self, x: Tensor, y: Tensor) -> Tensor:
        body = self._body
        if body.half_x == 0.0:
            return disc(x, y, body.radius)
        along, across = x * self._cos + y * self._sin, y * self._cos - x * self._sin
        rounding = max(body.radius, _BLOCK_ROUNDING)
        return box(along, across, body.half_x + body.radius, body.half_y + body.radius, rounding)

    def draw_shadow(self, canvas: Canvas) -> None:
        """Draw the soft shadow on the table."""
        depth, blur = 0.018, 0.018
        patch = canvas.around([self._at], self._body.reach + depth + blur)
        if patch is not None:
            strength = 0.16 if self._body.name == "glass" else 0.42
            _shadow(patch, self._shape, self._at, depth, blur, strength)

    def draw_halo(self, canvas: Canvas, radius: float) -> None:
        """Draw where the body may reach if it lies within ``radius`` of its place."""
        draw_halo(canvas, self._shape, self._at, self._body.reach, radius, self._body.colour)

    def draw(self, canvas: Canvas) -> None:
        """Draw the body."""
        patch = canvas.around([self._at], self._body.reach + 2 * KEEP_OUT_M)
        if patch is None:
            return
        x, y = patch.x - self._at[0], patch.y - self._at[1]
        if self._body.name == "glass":
            _draw_glass(patch, x, y, self._body)
            return
        distance, inside = _solid(patch, self._shape, self._at, self._body.colour, 0.010, 0.20)
        patch.light(inside * ((x * _LIGHT_X + y * _LIGHT_Y) * (0.07 / self._body.reach) + 0.02))
        patch.paint(WHITE, 0.16 * patch.line(distance + 0.010, 0.0018))


def _draw_glass(patch: Patch, x: Tensor, y: Tensor, body: scene.Body) -> None:
    radius = body.radius
    distance = disc(x, y, radius)
    patch.paint(DANGER, 0.08 * patch.cover(distance - KEEP_OUT_M))
    ring = patch.line(distance - KEEP_OUT_M, 0.0045)
    patch.paint(DANGER, 0.75 * ring * patch.cover(dashes(x, y, radius + KEEP_OUT_M, 16)))
    inside = patch.cover(distance)
    patch.paint(body.colour, inside * (0.45 + 0.35 * (1.0 + distance / radius).clamp(0.0, 1.0) ** 3))
    # Glass gathers the light that falls through it on the side away from the lamp.
    spot = torch.hypot(x + _LIGHT_X * 0.4 * radius, y + _LIGHT_Y * 0.4 * radius)
    patch.paint(WHITE, inside * 0.75 * torch.exp(-((spot / (0.32 * radius)) ** 2)))
    patch.paint(WHITE, 0.85 * patch.line(distance + 0.0035, 0.0035))
    patch.paint(GLASS_EDGE, 0.65 * patch.line(distance, 0.0022))
    facing = (x * _LIGHT_X + y * _LIGHT_Y) / torch.hypot(x, y).clamp(min=1e-6)
    gleam = ((facing - 0.8) * 6.0).clamp(0.0, 0.95)
    patch.paint(WHITE, patch.line(distance + 0.35 * radius, 0.005) * gleam)


def draw_halo(canvas: Canvas, shape: Shape, at: Point, reach: float, radius: float, colour: Colour) -> None:
    """Tint a shape around ``at`` grown by ``radius``: densest inside, ending in a fine line."""
    patch = canvas.around([at], reach + radius) if radius >= SMALLEST_HALO_M else None
    if patch is None:
        return
    distance = shape(patch.x - at[0], patch.y - at[1])
    fade = (1.0 - distance / radius).clamp(0.0, 1.0)
    patch.paint(colour, patch.cover(distance - radius) * (0.16 + 0.26 * fade))
    patch.paint(colour, 0.75 * patch.line(distance - radius, 0.003))


def draw_tip_halo(canvas: Canvas, at: Point, radius: float) -> None:
    """Draw where the tip may reach if it is within ``radius`` of its place."""
    draw_halo(canvas, _tip_shape, at, scene.TIP_RADIUS, radius, TIP)


def _tip_shape(x: Tensor, y: Tensor) -> Tensor:
    return disc(x, y, scene.TIP_RADIUS)


def draw_goal(canvas: Canvas, at: Point, body: scene.Body | None) -> None:
    """Draw a dashed ring, in the body's colour and as wide as it reaches, with a cross in its middle."""
    colour, radius = (DANGER, 0.05) if body is None else (body.colour, body.reach)
    patch = canvas.around([at], radius + 0.02)
    if patch is None:
        return
    x, y = patch.x - at[0], patch.y - at[1]
    distance = disc(x, y, radius)
    patch.paint(WHITE, 0.30 * patch.cover(distance))
    patch.paint(colour, 0.10 * patch.cover(distance))
    patch.paint(colour, 0.95 * patch.line(distance, 0.006) * patch.cover(dashes(x, y, radius, 14)))
    flat, upright = box(x, y, 0.02, 0.0015, 0.0), box(x, y, 0.0015, 0.02, 0.0)
    patch.paint(colour, 0.8 * patch.cover(torch.minimum(flat, upright)))


def draw_way(canvas: Canvas, start: Point, end: Point, colour: Colour) -> None:
    """Draw a dotted line from a body to its goal."""
    length, pitch = math.dist(start, end), 0.02
    patch = canvas.around([start, end], 0.005) if pitch < length < 10.0 else None
    if patch is None:
        return
    distance = capsule(patch.x, patch.y, start, end, 0.0)
    x, y = patch.x - end[0], patch.y - end[1]
    dots = (x * (start[0] - end[0]) + y * (start[1] - end[1])) / (length * pitch)
    patch.paint(colour, 0.7 * patch.line(torch.hypot(distance, (dots - dots.round()) * pitch), 0.007))


def draw_pedestal(canvas: Canvas) -> None:
    """Draw the plate that the arm stands on."""
    patch = canvas.around([scene.BASE], 0.13)
    if patch is None:
        return

    def plate(x: Tensor, y: Tensor) -> Tensor:
        return box(x, y, 0.075, 0.075, 0.02)

    _shadow(patch, plate, scene.BASE, 0.02, 0.03, 0.45)
    _solid(patch, plate, scene.BASE, LINK, 0.008, 0.12)
    x, y = (patch.x - scene.BASE[0]).abs(), (patch.y - scene.BASE[1]).abs()
    patch.paint(SHADE, 0.6 * patch.cover(disc(x - 0.055, y - 0.055, 0.008)))


def draw_arm(canvas: Canvas, tip: Point) -> None:
    """Draw two links above everything, their shadow, the joints, and the pusher at the tip."""
    shoulder, bend = (float(angle) for angle in joint_angles(np.array(tip)))
    upper, fore = scene.LINKS
    base = scene.BASE
    elbow = (base[0] + upper * math.cos(shoulder), base[1] + upper * math.sin(shoulder))
    wrist = (elbow[0] + fore * math.cos(shoulder + bend), elbow[1] + fore * math.sin(shoulder + bend))
    links = ((base, elbow, _LINK_RADII[0]), (elbow, wrist, _LINK_RADII[1]))
    depth, blur = 0.055, 0.026
    fallen = [(x - _LIGHT_X * depth, y - _LIGHT_Y * depth) for x, y in (base, elbow, wrist)]
    patch = canvas.around(fallen, _LINK_RADII[0] + blur)
    if patch is not None:
        # One shadow of both, so that it is not twice as dark at the elbow.
        def both(x: Tensor, y: Tensor) -> Tensor:
            return torch.minimum(*(capsule(x, y, start, end, radius) for start, end, radius in links))

        _shadow(patch, both, (0.0, 0.0), depth, blur, 0.30)
    for start, end, radius in reversed(links):
        _draw_link(canvas, start, end, radius)
    for at, radius in ((base, 0.045), (elbow, 0.034)):
        _draw_joint(canvas, at, radius, LINK, 0.45)
    _draw_joint(canvas, tip, scene.TIP_RADIUS, TIP, 0.40)


def _draw_link(canvas: Canvas, start: Point, end: Point, radius: float) -> None:
    patch = canvas.around([start, end], radius)
    if patch is None:
        return

    def link(x: Tensor, y: Tensor) -> Tensor:
        return capsule(x, y, start, end, radius)

    distance, _ = _solid(patch, link, (0.0, 0.0), LINK, radius, 0.24)
    patch.paint(WHITE, 0.22 * patch.line(distance + radius * 0.98, 0.003))


def _draw_joint(canvas: Canvas, at: Point, radius: float, colour: Colour, hub: float) -> None:
    patch = canvas.around([at], radius)
    if patch is None:
        return
    distance, _ = _solid(patch, lambda x, y: disc(x, y, radius), at, colour, 0.4 * radius, 0.20)
    patch.paint(SHADE, 0.55 * patch.line(distance, 0.002))
    middle = distance + radius * (1.0 - hub)
    patch.paint(HUB, 0.9 * patch.cover(middle))
    patch.paint(WHITE, 0.35 * patch.line(middle, 0.002))
