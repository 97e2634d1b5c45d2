"""The tabletop in the learned dynamics' terms: its layout, and states to and from the network's form."""

from __future__ import annotations

import torch
from torch import Tensor

from agentflow.worldmodel.backends.ensemble import DynamicsEnsemble, Layout, State
from agentflow.worldmodel.worlds.tabletop import scene

LAYOUT = Layout(
    half=((0.0, 0.0), *((body.half_x, body.half_y) for body in scene.BODIES)),
    radius=(scene.TIP_RADIUS, *(body.radius for body in scene.BODIES)),
    room=scene.TABLE_HALF,
    step_seconds=scene.STEP_SECONDS,
)


def unpack(states: Tensor) -> State:
    """Turn states ``[M, B, 34]`` into entities."""
    bodies = states[..., scene.TIP_COLUMNS :].reshape(
        *states.shape[:-1], len(scene.BODIES), scene.BODY_COLUMNS
    )
    tip = states[..., None, :]
    upright = torch.zeros_like(tip[..., 0:2])
    upright[..., 0] = 1.0
    return State(
        torch.cat((tip[..., 0:2], bodies[..., 0:2]), -2),
        torch.cat((upright, bodies[..., 2:4]), -2),
        torch.cat((tip[..., 2:4], bodies[..., 4:6]), -2),
        torch.cat((torch.zeros_like(tip[..., 0]), bodies[..., 6]), -1),
        states[..., 4:6],
    )


def pack(state: State) -> Tensor:
    """Turn entities back into states ``[M, B, 34]``."""
    bodies = torch.cat(
        (
            state.position[..., 1:, :],
            state.heading[..., 1:, :],
            state.velocity[..., 1:, :],
            state.spin[..., 1:, None],
        ),
        -1,
    )
    tip = torch.cat((state.position[..., 0, :], state.velocity[..., 0, :], state.target), -1)
    return torch.cat((tip, bodies.flatten(-2)), -1)


def steer(network: DynamicsEnsemble, state: State, action: Tensor) -> Tensor:
    """Return where an action sends the tip."""
    return network.intended(state, action, scene.MAX_STEP, scene.MAX_LEAD, scene.TIP_LIMIT)
