"""Training of a dynamics ensemble: unrolled Huber loss on means, likelihood of variances on detached residuals.

The unroll grows in stages, so that early steps are cheap and late ones teach what errors grow into. Members see
different windows of the data and start from different weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentflow.worldmodel.backends import weights
from agentflow.worldmodel.backends.ensemble import DynamicsEnsemble, State

Unpack = Callable[[Tensor], State]
"""Turns states ``[M, B, D]`` into the network's form."""
Steer = Callable[[State, Tensor], Tensor]
"""Turns a state and an action ``[M, B, A]`` into the controlled entity's target."""


@dataclass(frozen=True)
class Stage:
    """One stretch of training: how many steps are unrolled, windows a member and step, share of the time."""

    unroll: int
    windows: int
    share: float


STAGES = (Stage(1, 1024, 0.05), Stage(4, 384, 0.15), Stage(10, 192, 0.40), Stage(20, 128, 0.40))


@dataclass
class TrainingLog:
    """What happened: seconds, steps, and the loss as it fell."""

    seconds: float = 0.0
    updates: int = 0
    losses: list[tuple[float, int, float]] = field(default_factory=list)


def fit(
    network: DynamicsEnsemble,
    states: NDArray[np.float32],
    actions: NDArray[np.float32],
    unpack: Unpack,
    steer: Steer,
    *,
    seconds: float,
    seed: int,
    interesting: NDArray[np.bool_],
    stages: tuple[Stage, ...] = STAGES,
    learning_rate: float = 2e-3,
    checkpoint: Path | None = None,
    on_progress: Callable[[TrainingLog], None] | None = None,
) -> TrainingLog:
    """Train ``network`` in place for ``seconds`` of wall time.

    Args:
        network: M members, any weights.
        states: ``[N, T+1, D]`` true episodes.
        actions: ``[N, T, A]``.
        unpack: states to the network's form.
        steer: actions to targets.
        seconds: wall time; the learning rate's schedule is laid over it.
        seed: draws windows.
        interesting: ``[N, T]``, steps from which something moves; most windows start there.
        stages: the curriculum.
        learning_rate: the peak.
        checkpoint: a file that the weights are saved to about once a minute.
        on_progress: called about every ten seconds.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    data, moves = torch.from_numpy(states), torch.from_numpy(actions)
    log = TrainingLog()
    begin = shown = saved = time.monotonic()
    until = 0.0
    for stage in stages:
        until += stage.share * seconds
        pool = np.argwhere(interesting[:, : actions.shape[1] - stage.unroll + 1])
        while (elapsed := time.monotonic() - begin) < until:
            for group in optimizer.param_groups:
                group["lr"] = _rate(learning_rate, elapsed / seconds)
            rows, steps = _windows(rng, pool, actions.shape, stage, network.members)
            span = torch.from_numpy(steps)[..., None] + torch.arange(stage.unroll + 1)
            picked = torch.from_numpy(rows)[..., None]
            loss = _loss(network, data[picked, span], moves[picked, span[..., :-1]], unpack, steer)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            log.updates += 1
            now = time.monotonic()
            if now - shown > 10:
                shown = now
                log.losses.append((round(now - begin, 1), stage.unroll, float(loss.detach())))
                if on_progress is not None:
                    on_progress(log)
            if checkpoint is not None and now - saved > 60:
                saved = now
                weights.save(network, checkpoint)
    log.seconds = time.monotonic() - begin
    return log


def _rate(peak: float, share: float) -> float:
    """Return the learning rate at a share of the time: a short rise, then half a cosine."""
    return peak * min(1.0, share / 0.02) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def _windows(
    rng: np.random.Generator, pool: NDArray[np.int64], shape: tuple[int, ...], stage: Stage, members: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lively = pool[rng.integers(0, len(pool), (members, stage.windows))]
    rows, steps = lively[..., 0].copy(), lively[..., 1].copy()
    aimless = rng.random((members, stage.windows)) < 0.15
    rows[aimless] = rng.integers(0, shape[0], int(aimless.sum()))
    steps[aimless] = rng.integers(0, shape[1] - stage.unroll + 1, int(aimless.sum()))
    return rows, steps


def _huber(error: Tensor) -> Tensor:
    """Return Huber's loss of errors in units of 5 mm, linear beyond 10 mm: contact tails must not rule."""
    return torch.nn.functional.huber_loss(error / 0.005, torch.zeros_like(error), delta=2.0, reduction="none")


def _loss(network: DynamicsEnsemble, truth: Tensor, moves: Tensor, unpack: Unpack, steer: Steer) -> Tensor:
    """Return the loss of windows ``[M, B, T+1, D]``."""
    state = unpack(truth[:, :, 0])
    total = truth.new_zeros(())
    unroll = moves.shape[2]
    for step in range(unroll):
        target = steer(state, moves[:, :, step])
        before = state
        state, variance = network(state, target)
        true = unpack(truth[:, :, step + 1])
        place = state.position - true.position
        lever = network.reach[:, None] * 0.7
        turn = (state.heading - true.heading) * lever
        total = total + _huber(place).mean() * 4 + _huber(turn).mean() * 2
        total = total + _huber((state.velocity - true.velocity) * 0.05).mean()
        total = total + _huber((state.spin - true.spin)[..., None] * lever * 0.05).mean()
        if step == 0:
            total = total + 0.02 * unroll * _likelihood(place.detach(), variance, before)
    return total / unroll


def _likelihood(place: Tensor, variance: Tensor, before: State) -> Tensor:
    """Return the negative log-likelihood of one step's residuals where anything was predicted."""
    spread = variance[..., :2].mean(-1)
    alive = spread > 0
    residual = place.square().sum(-1)[alive] + 1e-8
    spread = spread[alive]
    return (0.5 * residual / spread.clamp_min(1e-10) + spread.clamp_min(1e-10).log()).clamp(-25, 25).mean()
