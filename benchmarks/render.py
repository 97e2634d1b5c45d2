"""Draw and encode the tabletop's 3-second clip, 480 × 480, on one thread; print figures as JSON.

    python benchmarks/render.py

The alternative, ``full-frame SDF``, draws the same shapes with the same functions, but computes every
distance at every pixel of the frame, and the table anew for each frame, as a plain shader would.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from agentflow.worldmodel import video
from agentflow.worldmodel.render import Canvas, Patch
from agentflow.worldmodel.worlds.tabletop import draw, scene

STEPS, SUBFRAMES, FPS, SIZE = 30, 3, 30, (480, 480)
GOAL, GOAL_BODY, TRUSTED_STEPS = (-0.3, -0.05), "red block", 18


class WholeFrameCanvas(Canvas):
    def patch(self, left: float, bottom: float, right: float, top: float) -> Patch | None:
        return self.whole()


class WholeFrameFilm(draw.Film):
    canvas_type = WholeFrameCanvas

    def _start_frame(self) -> Canvas:
        self._draw_still(self._canvas)
        return self._canvas


def moving_scene() -> tuple[np.ndarray, np.ndarray]:
    states = np.repeat(scene.random_state(np.random.default_rng(0))[None], STEPS + 1, 0)
    share = np.linspace(0.0, 1.0, STEPS + 1)
    states[:, 0] = 0.4 - 0.8 * share
    states[:, 1] = -0.3 + 0.5 * share
    for index in range(len(scene.BODIES)):
        columns = states[:, scene.body_slice(index)]
        angle = np.arctan2(columns[0, 3], columns[0, 2]) + share * (1.0 + index)
        columns[:, 0] = np.clip(columns[:, 0] + 0.1 * share, -0.45, 0.45)
        columns[:, 2], columns[:, 3] = np.cos(angle), np.sin(angle)
    return states, 0.001 + 0.05 * np.outer(share, np.linspace(0.3, 1.0, len(scene.ENTITIES)))


def clip(states: np.ndarray, radius: np.ndarray, path: Path) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    frames = draw.render(
        states,
        radius90=radius,
        trusted_steps=TRUSTED_STEPS,
        goal=GOAL,
        goal_body=GOAL_BODY,
        size=SIZE,
        subframes=SUBFRAMES,
    )
    info = video.write_mp4(frames, path, FPS)
    seconds = time.perf_counter() - wall
    return {
        "frames": info.frames,
        "clip_seconds": round(info.seconds, 2),
        "wall_seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "frames_per_second": round(info.frames / seconds, 1),
        "bytes": info.bytes,
    }


def milliseconds_per_frame(film: draw.Film, count: int) -> float:
    film.frame(0.0)
    start = time.process_time()
    for moment in np.linspace(0.0, film.steps, count):
        film.frame(float(moment))
    return (time.process_time() - start) / count * 1e3


def main() -> None:
    torch.set_num_threads(1)
    states, radius = moving_scene()
    arguments = (states, radius, TRUSTED_STEPS, GOAL, GOAL_BODY, SIZE, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        clip(states[:2], radius[:2], path)
        best = min((clip(states, radius, path) for _ in range(3)), key=lambda row: row["wall_seconds"])
    boxes = milliseconds_per_frame(draw.Film(*arguments), 60)
    whole = milliseconds_per_frame(WholeFrameFilm(*arguments), 8)
    result = {
        "benchmark": "render",
        "size": list(SIZE),
        "threads": torch.get_num_threads(),
        "clip_with_encoding_best_of_3": best,
        "draw_ms_per_frame": round(boxes, 2),
        "alternative": {
            "name": "full-frame SDF",
            "draw_ms_per_frame": round(whole, 1),
            "times_slower": round(whole / boxes, 1),
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
