"""An object-centric dynamics ensemble: entities, contacts as edges, Gaussian heads, all members in one call.

After interaction networks (Battaglia et al., 2016) with two physical facts built in: only things that come
close within a step act on each other, and a thing at rest that nothing comes close to stays at rest. Both make
the network's work sparse: edges and entities that cannot matter are never computed. Uncertainty is the spread of
the members (Chua et al., 2018) plus each member's own variance; calibration happens elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agentflow.worldmodel.backends.geometry import Contact, contact, rotate, unrotate

EDGE_FEATURES = 27
NODE_FEATURES = 7
OUTPUTS = 12
"""Displacement (2), turn, velocity (2), spin; then the log-variance of each."""


@dataclass(frozen=True)
class Layout:
    """What the network knows of a world: one controlled entity, then the bodies; the room they stand in.

    Attributes:
        half: half extents of each entity (m); ``radius`` its corner radius. The first entity is controlled.
        radius: see above.
        room: half the side of the square that walls enclose (m).
        step_seconds: duration of a step.
        cutoff: the gap (m) beyond which two things do not act on each other within a step.
    """

    half: tuple[tuple[float, float], ...]
    radius: tuple[float, ...]
    room: float
    step_seconds: float
    cutoff: float = 0.03

    @property
    def count(self) -> int:
        """The number of entities."""
        return len(self.radius)


class State(NamedTuple):
    """Entities of M × B states: position, heading (cos, sin), velocity, spin; where the controlled one is sent."""

    position: Tensor  # [M, B, E, 2]
    heading: Tensor  # [M, B, E, 2]
    velocity: Tensor  # [M, B, E, 2]
    spin: Tensor  # [M, B, E]
    target: Tensor  # [M, B, 2]


class _Edges(NamedTuple):
    """Things that may act on each other: what is known of each, its gap (m), kind, member, receiving entity's row."""

    features: Tensor
    gap: Tensor
    kind: Tensor
    member: Tensor
    row: Tensor


class _Members(nn.Module):
    """Linear layers of M members, applied to ``[M, K, in]`` in one batched product."""

    def __init__(self, members: int, sizes: Sequence[int], *, last_scale: float = 1.0) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        pairs = list(pairwise(sizes))
        for index, (before, after) in enumerate(pairs):
            scale = (2.0 / before) ** 0.5 * (last_scale if index == len(pairs) - 1 else 1.0)
            self.weights.append(nn.Parameter(torch.randn(members, before, after) * scale))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, after)))

    def forward(self, x: Tensor, *, first_bias: Tensor | None = None) -> Tensor:
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if index == 0 and first_bias is not None:
                x = x + first_bias
            if index != last:
                x = nn.functional.silu(x)
        return x


class DynamicsEnsemble(nn.Module):
    """M members that each predict the next state of every entity; see the module's text."""

    receiver: Tensor
    sender: Tensor
    extents: Tensor
    radius: Tensor
    reach: Tensor
    wall_normal: Tensor

    def __init__(self, layout: Layout, members: int = 5, edge_width: int = 64, node_width: int = 96) -> None:
        super().__init__()
        self.layout, self.members = layout, members
        count = layout.count
        pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
        walls = 4
        self.edges = _Members(members, (EDGE_FEATURES, edge_width, edge_width))
        self.nodes = _Members(
            members, (edge_width + NODE_FEATURES, node_width, node_width, OUTPUTS), last_scale=0.05
        )
        self.edge_kind = nn.Parameter(torch.zeros(members, len(pairs) + walls * count, edge_width))
        self.node_kind = nn.Parameter(torch.zeros(members, count, node_width))
        self.edge_width = edge_width

        def constant(name: str, value: Tensor) -> None:
            self.register_buffer(name, value, persistent=False)

        constant("receiver", torch.tensor([i for i, _ in pairs]))
        constant("sender", torch.tensor([j for _, j in pairs]))
        half, radius = torch.tensor(layout.half), torch.tensor(layout.radius)
        constant("extents", half)
        constant("radius", radius)
        constant("reach", half.norm(dim=-1) + radius)
        constant("wall_normal", torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))

    def intended(
        self, state: State, action: Tensor, max_step: float, max_lead: float, limit: float
    ) -> Tensor:
        """Return the controlled entity's next target ``[M, B, 2]``: bounded by room and lead."""
        wanted = (state.target + action.clamp(-max_step, max_step)).clamp(-limit, limit)
        tip = state.position[:, :, 0]
        lead = wanted - tip
        length = lead.norm(dim=-1, keepdim=True)
        led: Tensor = tip + lead * (max_lead / length.clamp_min(1e-9)).clamp_max(1.0)
        return led

    def forward(self, state: State, target: Tensor) -> tuple[State, Tensor]:
        """Advance one step.

        Args:
            state: M × B states.
            target: where the controlled entity is sent, ``[M, B, 2]``.

        Returns:
            The next state, and the variance of each entity's displacement ``[M, B, E, 3]`` (m², m², rad²).
        """
        dt = self.layout.step_seconds
        velocity = state.velocity.clone()
        velocity[:, :, 0] = (target - state.position[:, :, 0]) / dt
        ahead = state.position + velocity * dt
        messages, touched = self._messages(state, velocity, ahead)
        speed = state.velocity.norm(dim=-1) + 0.05 * state.spin.abs()
        awake = touched | (speed > 1e-4)
        awake[:, :, 0] = True
        return self._advance(state, velocity, target, messages, awake, speed)

    def _messages(self, state: State, velocity: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the neighbours say to each entity ``[M, B, E, W]``, and to whom anything was said."""
        shape = state.position.shape[:3]
        total = state.position.new_zeros(*shape, self.edge_width)
        touched = torch.zeros(shape, dtype=torch.bool, device=total.device)
        found = [self._pair_edges(state, velocity, ahead), self._wall_edges(state, velocity, ahead)]
        edges = [edge for edge in found if edge is not None]
        if not edges:
            return total, touched
        near = (
            edges[0] if len(edges) == 1 else _Edges(*(torch.cat(part) for part in zip(*edges, strict=True)))
        )
        weight = (1 - near.gap / self.layout.cutoff).clamp(0.0, 1.0)
        live = weight > 0
        row = near.row[live]
        spoken = self._grouped(
            self.edges, near.features[live], near.member[live], self.edge_kind, near.kind[live]
        )
        total = total.flatten(0, 2).index_add(0, row, spoken * weight[live, None]).view(total.shape)
        touched.view(-1)[row] = True
        return total, touched

    def _pair_edges(self, state: State, velocity: Tensor, ahead: Tensor) -> _Edges | None:
        m, b, p = self._near_pairs(state.position, ahead).nonzero(as_tuple=True)
        if len(m) == 0:
            return None
        i, j = self.receiver[p], self.sender[p]
        now, nxt = self._pair_contacts(state, ahead, m, b, i, j)
        heading = state.heading[m, b, i]
        place = unrotate(state.position[m, b, j] - state.position[m, b, i], heading)
        sender = (velocity[m, b, j], state.heading[m, b, j], state.spin[m, b, j])
        features = self._edge_features(state, velocity, (m, b, i), now, nxt, heading, place, *sender)
        return _Edges(features, torch.minimum(now.gap, nxt.gap), p, m, self._row(state, m, b, i))

    def _wall_edges(self, state: State, velocity: Tensor, ahead: Tensor) -> _Edges | None:
        m, b, i, w = self._near_walls(state.position, ahead).nonzero(as_tuple=True)
        if len(m) == 0:
            return None
        now, nxt = self._wall_contacts(state, ahead, m, b, i, w)
        heading = state.heading[m, b, i]
        still, upright = torch.zeros_like(heading), torch.zeros_like(heading)
        upright[..., 0] = 1.0
        sender = (still, upright, still[..., 0])
        features = self._edge_features(state, velocity, (m, b, i), now, nxt, heading, now.point, *sender)
        kind = len(self.receiver) + i * 4 + w
        return _Edges(features, torch.minimum(now.gap, nxt.gap), kind, m, self._row(state, m, b, i))

    @staticmethod
    def _row(state: State, m: Tensor, b: Tensor, i: Tensor) -> Tensor:
        _, batch, count, _ = state.position.shape
        return (m * batch + b) * count + i

    def _near_pairs(self, position: Tensor, ahead: Tensor) -> Tensor:
        far = self.reach[self.receiver] + self.reach[self.sender] + self.layout.cutoff
        first = (position[:, :, self.receiver] - position[:, :, self.sender]).square().sum(-1)
        second = (ahead[:, :, self.receiver] - ahead[:, :, self.sender]).square().sum(-1)
        return torch.minimum(first, second) < far.square()

    def _near_walls(self, position: Tensor, ahead: Tensor) -> Tensor:
        furthest = torch.maximum(position @ self.wall_normal.T, ahead @ self.wall_normal.T)
        return furthest + self.reach[:, None] > self.layout.room - self.layout.cutoff

    def _pair_contacts(
        self, state: State, ahead: Tensor, m: Tensor, b: Tensor, i: Tensor, j: Tensor
    ) -> tuple[Contact, Contact]:
        at = torch.stack((state.position, ahead))
        offset = at[:, m, b, j] - at[:, m, b, i]
        both = contact(
            offset,
            state.heading[m, b, i].expand(2, -1, -1),
            state.heading[m, b, j].expand(2, -1, -1),
            self.extents[i].expand(2, -1, -1),
            self.extents[j].expand(2, -1, -1),
            (self.radius[i] + self.radius[j]).expand(2, -1),
        )
        return Contact(*(part[0] for part in both)), Contact(*(part[1] for part in both))

    def _wall_contacts(
        self, state: State, ahead: Tensor, m: Tensor, b: Tensor, i: Tensor, w: Tensor
    ) -> tuple[Contact, Contact]:
        heading, outward = state.heading[m, b, i], self.wall_normal[w]
        normal = unrotate(outward, heading)
        half = self.extents[i]
        point = torch.where(normal < 0, -half, half) * (normal.abs() > 0.02)
        depth = (point * normal).sum(-1) + self.radius[i]
        gaps = [self.layout.room - (at[m, b, i] * outward).sum(-1) - depth for at in (state.position, ahead)]
        return Contact(gaps[0], point, normal), Contact(gaps[1], point, normal)

    def _edge_features(
        self,
        state: State,
        velocity: Tensor,
        receiver: tuple[Tensor, Tensor, Tensor],
        now: Contact,
        nxt: Contact,
        heading: Tensor,
        place: Tensor,
        sender_velocity: Tensor,
        sender_heading: Tensor,
        sender_spin: Tensor,
    ) -> Tensor:
        own = velocity[receiver]
        own_spin = state.spin[receiver]
        relative = unrotate(sender_velocity - own, heading)
        closing = (relative * now.normal).sum(-1)
        lever = now.point[..., 0] * now.normal[..., 1] - now.point[..., 1] * now.normal[..., 0]
        lever_next = nxt.point[..., 0] * nxt.normal[..., 1] - nxt.point[..., 1] * nxt.normal[..., 0]
        columns = (
            torch.stack(
                (
                    now.gap * 25, nxt.gap * 25, nxt.gap.clamp_max(0.0) * 25, closing * 2,
                    lever * 15, lever_next * 15, own_spin * 0.2, sender_spin * 0.2,
                ),
                -1,
            ),
            place * 5, now.point * 12, nxt.point * 12, now.normal, nxt.normal,
            relative * 2, unrotate(own, heading) * 2, unrotate(sender_heading, heading),
            nxt.normal * nxt.gap.clamp_max(0.0)[..., None] * 25,
        )  # fmt: skip
        out = torch.cat(columns, -1)
        return torch.cat((out, out.new_ones(*out.shape[:-1], EDGE_FEATURES - out.shape[-1])), -1)

    def _grouped(self, network: _Members, x: Tensor, member: Tensor, table: Tensor, kind: Tensor) -> Tensor:
        """Apply each row's own member: rows come sorted or not, are padded to one batch and taken back."""
        order = torch.argsort(member, stable=True)
        counts = torch.bincount(member, minlength=self.members)
        start = counts.cumsum(0) - counts
        slot = torch.arange(len(member), device=x.device) - start[member[order]]
        width = max(1, int(counts.max()))
        padded = x.new_zeros(self.members, width, x.shape[-1])
        padded[member[order], slot] = x[order]
        bias = x.new_zeros(self.members, width, table.shape[-1])
        bias[member[order], slot] = table[member[order], kind[order]]
        y = network(padded, first_bias=bias)[member[order], slot]
        return torch.empty_like(y).index_copy(0, order, y)

    def _advance(
        self, state: State, velocity: Tensor, target: Tensor, messages: Tensor, awake: Tensor, speed: Tensor
    ) -> tuple[State, Tensor]:
        dt = self.layout.step_seconds
        m, b, i = awake.nonzero(as_tuple=True)
        heading, own = state.heading[m, b, i], state.velocity[m, b, i]
        steered = (i == 0)[:, None]
        local = unrotate(own, heading)
        sent = unrotate(velocity[m, b, i], heading)
        base_place = state.position[m, b, i] / self.layout.room
        features = torch.cat(
            (
                messages[m, b, i],
                local * 2,
                state.spin[m, b, i, None] * 0.2,
                torch.where(steered, sent * 2, torch.zeros_like(sent)),
                torch.where(steered, base_place, torch.zeros_like(base_place)),
            ),
            -1,
        )
        out = self._grouped(self.nodes, features, m, self.node_kind, i)
        glide = torch.where(steered, sent, local * 0.4) * dt
        shift = rotate(glide + out[:, 0:2] * 0.05, heading)
        angle = state.spin[m, b, i] * (0.4 * dt) + out[:, 2] * 0.3
        angle = torch.where(i == 0, torch.zeros_like(angle), angle)
        turned = torch.stack((angle.cos(), angle.sin()), -1)
        speed_after = rotate(out[:, 3:5] * 0.5, heading)
        spin_after = torch.where(i == 0, torch.zeros_like(angle), out[:, 5] * 3.0)
        where = (m, b, i)
        zeros = torch.zeros_like
        position = state.position.index_put(where, state.position[where] + shift)
        facing = state.heading.index_put(where, rotate(heading, turned))
        moving = zeros(state.velocity).index_put(where, speed_after)
        spin = zeros(state.spin).index_put(where, spin_after)
        variance = state.position.new_zeros(*state.position.shape[:-1], 3)
        variance = variance.index_put(where, (out[:, 6:9].clamp(-14.0, 4.0)).exp() * 1e-4)
        return State(position, facing, moving, spin, target), variance
