"""What the workflow does: predict a sequence of pushes in the learned world, and film it."""

from typing import Any

import numpy as np

from agentflow import Amounts, Artifact, Call, Rollout, WorldModel, tool


@tool(estimate=lambda actions: Amounts(gpu_ms=200 + 40 * len(actions)), hooks=("action", "predicted_state"))
def predict(scene: dict[str, Any], actions: list[list[float]], *, world: WorldModel) -> dict[str, Any]:
    """Predict what happens when the arm does this. Nothing moves but numbers."""
    return {"rollout": world.predict(world.encode(scene), np.array([actions], np.float32))}


@tool(
    estimate=lambda rollout: Amounts(frames=rollout.horizon + 1, gpu_ms=1500 + 150 * (rollout.horizon + 1)),
    hooks=("tool_args", "frames"),
)
def film(rollout: Rollout, *, world: WorldModel, call: Call) -> dict[str, Artifact]:
    """Film a rollout, ten frames a second."""
    from agentflow.worldmodel import video

    call.scratch.mkdir(parents=True, exist_ok=True)
    path = call.scratch / f"{call.step}.mp4"
    frames = world.render(
        rollout.states[0],
        radius90=rollout.radius90[0] if rollout.radius90 is not None else None,
        size=(240, 240),
        subframes=1,
    )
    total = rollout.horizon + 1
    info = video.write_mp4(frames, path, 10, on_frame=lambda done: call.progress("filming", done, total))
    return {"video": call.artifacts.put_file(path, "video/mp4", "prediction.mp4", {"seconds": info.seconds})}
