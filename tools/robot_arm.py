"""The robot arm's tools: try a sequence of pushes in the learned world, execute it in the true simulator, film it."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from agentflow import Amounts, Artifact, Call, InvalidInputError, Rollout, WorldModel, tool

Step = Annotated[list[float], Field(min_length=2, max_length=2)]
Actions = Annotated[list[Step], Field(min_length=1, max_length=50)]


@tool(estimate=lambda actions: Amounts(gpu_ms=200 + 40 * len(actions)), hooks=("action", "predicted_state"))
def what_if(scene: dict[str, Any], actions: Actions, *, world: WorldModel) -> dict[str, Any]:
    """Predict what happens when the arm does this. Nothing moves but numbers."""
    rollout = world.predict(world.encode(scene), np.array([actions], np.float32))
    return {"rollout": rollout, "steps": rollout.horizon, "trusted_steps": int(rollout.trusted_steps[0])}


@tool(estimate=lambda rollout: Amounts(), hooks=("action", "tool_result"))
def execute_in_simulator(
    rollout: Rollout, goal: dict[str, Any], *, simulator: WorldModel, world: WorldModel
) -> dict[str, Any]:
    """Execute a predicted plan in the world's true simulator: predicted and true end side by side."""
    task = world.task(goal)
    truth = simulator.predict(rollout.states[0, 0], rollout.actions)
    glass = truth.states[0, :, -7:-5]
    return {
        "rollout": truth,
        "predicted_distance_m": float(task.distance(rollout.states[0, -1])),
        "true_distance_m": float(task.distance(truth.states[0, -1])),
        "start_distance_m": float(task.distance(truth.states[0, 0])),
        "glass_touched": bool(np.linalg.norm(glass - glass[0], axis=-1).max() > 1e-3),
        "steps": rollout.horizon,
    }


@tool(
    estimate=lambda rollout, fps=30, film=True: Amounts(
        frames=_frames(rollout, fps) * film, gpu_ms=(1500 + 150 * _frames(rollout, fps)) * film
    ),
    hooks=("tool_args", "frames"),
    ladder=[
        ("30 → 10 frames per second", lambda inputs: {**inputs, "fps": 10}),
        ("480 → 240 pixels", lambda inputs: {**inputs, "size": 240}),
        ("no film, states only", lambda inputs: {**inputs, "film": False}),
    ],
)
def render(
    rollout: Rollout,
    goal: dict[str, Any] | None = None,
    size: Annotated[int, Field(ge=64, le=1080)] = 480,
    fps: Annotated[int, Field(ge=10, le=60, multiple_of=10)] = 30,
    film: bool = True,
    *,
    world: WorldModel,
    call: Call,
) -> dict[str, Artifact | int | None]:
    """Film a rollout: an MP4 in which uncertainty is drawn as halos, and the trusted horizon as a strip."""
    if not film:
        return {"video": None, "frames": 0}
    from agentflow.worldmodel import video

    total = _frames(rollout, fps)
    frames = world.render(
        rollout.states[0],
        radius90=None if rollout.radius90 is None else rollout.radius90[0],
        trusted_steps=None if rollout.trusted_steps is None else int(rollout.trusted_steps[0]),
        goal=goal["place"] if goal else None,
        goal_body=goal["body"] if goal else None,
        size=(size, size),
        subframes=fps // 10,
    )
    call.scratch.mkdir(parents=True, exist_ok=True)
    path = call.scratch / f"{call.step}.mp4"
    info = video.write_mp4(frames, path, fps, on_frame=lambda done: call.progress("filming", done, total))
    kept = call.artifacts.put_file(path, "video/mp4", "prediction.mp4", {"seconds": info.seconds})
    return {"video": kept, "frames": info.frames}


def _frames(rollout: Rollout, fps: int) -> int:
    if fps < 10:
        raise InvalidInputError("render.fps", str(fps), "10 or more")
    return rollout.horizon * (fps // 10) + 1
