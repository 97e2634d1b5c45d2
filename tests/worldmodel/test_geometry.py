from __future__ import annotations

import numpy as np
import torch

from agentflow.worldmodel.backends.geometry import contact, rotate, unrotate


def _heading(angle: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.stack([np.cos(angle), np.sin(angle)], -1), dtype=torch.float32)


def _outline(half: tuple[float, float], angle: float, at: np.ndarray, points: int = 80) -> np.ndarray:
    t = np.linspace(-1, 1, points)
    x, y = half
    edges = [np.stack([t * x, np.full(points, s * y)], -1) for s in (1, -1)]
    edges += [np.stack([np.full(points, s * x), t * y], -1) for s in (1, -1)]
    c, s = np.cos(angle), np.sin(angle)
    return np.concatenate(edges) @ np.array([[c, s], [-s, c]]) + at


def test_the_gap_of_separated_boxes_is_the_distance_of_their_outlines() -> None:
    rng = np.random.default_rng(0)
    count, bar, square = 300, (0.09, 0.04), (0.06, 0.06)
    offset = rng.uniform(-0.3, 0.3, (count, 2))
    a, b = rng.uniform(-3, 3, (2, count))
    found = contact(
        torch.tensor(offset, dtype=torch.float32),
        _heading(a),
        _heading(b),
        torch.tensor([bar] * count),
        torch.tensor([square] * count),
        torch.zeros(count),
    )
    compared = 0
    for index in range(count):
        gap = float(found.gap[index])
        one, other = _outline(bar, a[index], np.zeros(2)), _outline(square, b[index], offset[index])
        nearest = np.linalg.norm(one[:, None] - other[None], axis=-1).min()
        if gap > 0:
            compared += 1
            assert abs(gap - nearest) < 0.003
        else:
            assert nearest < 0.003 or gap < 0
    assert compared > 100


def test_overlapping_boxes_part_along_the_axis_of_least_overlap() -> None:
    found = contact(
        torch.tensor([[0.12, 0.0]]),
        _heading(np.array([0.0])),
        _heading(np.array([0.0])),
        torch.tensor([[0.09, 0.04]]),
        torch.tensor([[0.06, 0.06]]),
        torch.zeros(1),
    )
    torch.testing.assert_close(found.gap, torch.tensor([-0.03]))
    torch.testing.assert_close(found.normal, torch.tensor([[1.0, 0.0]]))


def test_a_contact_turns_with_the_pair() -> None:
    """The frame is the receiver's own, so turning both changes nothing in it."""
    offset, half = torch.tensor([[0.13, 0.02]]), torch.tensor([[0.06, 0.06]])
    disc, radius = torch.zeros(1, 2), torch.tensor([0.06])
    plain = contact(offset, _heading(np.array([0.3])), _heading(np.array([0.0])), half, disc, radius)
    turn = _heading(np.array([1.1]))
    turned = contact(
        rotate(offset, turn), _heading(np.array([1.4])), _heading(np.array([1.1])), half, disc, radius
    )
    for a, b in zip(plain, turned, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_unrotate_undoes_rotate() -> None:
    vector, heading = torch.tensor([[0.3, -0.8]]), _heading(np.array([2.2]))
    torch.testing.assert_close(unrotate(rotate(vector, heading), heading), vector)
