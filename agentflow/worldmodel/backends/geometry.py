"""Exact planar gaps between rounded rectangles, batched in torch: what a contact looks like to a network.

A rounded rectangle has half extents (hx, hy) and a corner radius r; a disc is (0, 0, r). In the plane the closest
pair of features of two convex polygons always includes a corner of one, so the gap is the smaller of
"corners of j against i" and "corners of i against j", each a signed distance to a box.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Contact(NamedTuple):
    """The closest approach of j to i, in i's own frame: gap (m), point on i's side (m), normal out of i."""

    gap: Tensor
    point: Tensor
    normal: Tensor


def rotate(vector: Tensor, heading: Tensor) -> Tensor:
    """Turn ``vector[..., 2]`` by ``heading[..., 2]`` = (cos, sin)."""
    x, y, c, s = vector[..., 0], vector[..., 1], heading[..., 0], heading[..., 1]
    return torch.stack((x * c - y * s, x * s + y * c), -1)


def unrotate(vector: Tensor, heading: Tensor) -> Tensor:
    """Turn ``vector[..., 2]`` back by ``heading[..., 2]``."""
    x, y, c, s = vector[..., 0], vector[..., 1], heading[..., 0], heading[..., 1]
    return torch.stack((x * c + y * s, y * c - x * s), -1)


_SIGNS = ((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))


def corners(half: Tensor) -> Tensor:
    """Return the corners ``[..., 4, 2]`` of half extents ``[..., 2]`` in their own frame."""
    return half.unsqueeze(-2) * half.new_tensor(_SIGNS)


def _outside(points: Tensor, half: Tensor) -> Contact:
    """Return the closest of ``points[..., 4, 2]`` to the box ``half[..., 2]``, where none lies inside it."""
    outside = (points.abs() - half.unsqueeze(-2)).clamp_min(0.0)
    gap, index = (outside.square().sum(-1) + 1e-14).sqrt().min(-1)
    pick = index[..., None, None].expand(*index.shape, 1, 2)
    point = points.gather(-2, pick).squeeze(-2)
    out = outside.gather(-2, pick).squeeze(-2)
    return Contact(gap, point, torch.where(point < 0, -out, out) / gap[..., None])


def _deepest(points: Tensor, normal: Tensor) -> Tensor:
    """Return, of ``points[..., 4, 2]``, the one that lies furthest against ``normal[..., 2]``."""
    index = (points * normal.unsqueeze(-2)).sum(-1).argmin(-1)
    return points.gather(-2, index[..., None, None].expand(*index.shape, 1, 2)).squeeze(-2)


def _axis_normal(toward: Tensor, overlap: Tensor) -> Tensor:
    """Return the box axis of least overlap, pointing along ``toward[..., 2]``."""
    axis = torch.nn.functional.one_hot(overlap.argmax(-1), 2).to(toward.dtype)
    return torch.where(toward < 0, -axis, axis)


def contact(
    offset: Tensor, heading_i: Tensor, heading_j: Tensor, half_i: Tensor, half_j: Tensor, radii: Tensor
) -> Contact:
    """Return the closest approach of j to i; overlapping boxes by their axis of least overlap.

    Args:
        offset: position of j minus position of i, world frame, ``[..., 2]``.
        heading_i: (cos, sin) of i.
        heading_j: (cos, sin) of j.
        half_i: half extents of i.
        half_j: half extents of j.
        radii: the sum of both corner radii, ``[...]``.
    """
    place = unrotate(offset, heading_i)
    turn = unrotate(heading_j, heading_i)
    seen_back = unrotate(-place, turn)
    of_j = place.unsqueeze(-2) + rotate(corners(half_j), turn.unsqueeze(-2))
    own = corners(half_i)
    first = _outside(of_j, half_i)
    second = _outside(unrotate(own - place.unsqueeze(-2), turn.unsqueeze(-2)), half_j)
    nearer = (second.gap < first.gap)[..., None]
    gap = torch.minimum(first.gap, second.gap)
    point = torch.where(nearer, rotate(second.point, turn) + place, first.point)
    normal = torch.where(nearer, -rotate(second.normal, turn), first.normal)
    spread = turn.abs()
    swapped = spread.flip(-1)
    reach_j = torch.stack(((spread * half_j).sum(-1), (swapped * half_j).sum(-1)), -1)
    reach_i = torch.stack(((spread * half_i).sum(-1), (swapped * half_i).sum(-1)), -1)
    over_i = place.abs() - half_i - reach_j
    over_j = seen_back.abs() - half_j - reach_i
    deep_i, deep_j = over_i.amax(-1), over_j.amax(-1)
    inside = (torch.maximum(deep_i, deep_j) < 0)[..., None]
    by_j = (deep_j > deep_i)[..., None]
    normal_i = _axis_normal(place, over_i)
    normal_j = -rotate(_axis_normal(seen_back, over_j), turn)
    deep_normal = torch.where(by_j, normal_j, normal_i)
    deep_point = torch.where(by_j, _deepest(own, -normal_j), _deepest(of_j, normal_i))
    return Contact(
        torch.where(inside[..., 0], torch.maximum(deep_i, deep_j), gap) - radii,
        torch.where(inside, deep_point, point),
        torch.where(inside, deep_normal, normal),
    )
