"""What runs of many steps, items and neighbours cost, on SQLite.

    python benchmarks/durability.py [--steps 1000] [--items 10000] [--runs 200]

- ``foreach``: milliseconds an item, 64 at a time, beside the same coroutine gathered by asyncio behind a semaphore.
- ``resume``: a run of many steps is cut off before its last one; seconds until a resumed run has called that one.
- ``growth``: bytes that the database grows a step, when each step makes a file of 100 kB and when it makes none.
- ``memory``: how far the process grows at its peak (Linux) over a ``foreach`` of many items, each of which gives 10 kB.
- ``side_by_side``: many runs at once in one process; how far apart the first and the last of them ends.

Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from agentflow.sdk import Agentflow

TOOLS = """
import asyncio
from pathlib import Path
from typing import Any

from agentflow import Amounts, Call, tool

STOP = Path(__file__).parent.parent / "stop"
CALLS = {"n": 0}


def nothing(**_: Any) -> Amounts:
    return Amounts()


@tool(estimate=nothing)
async def give(n: int, size: int = 0) -> dict[str, Any]:
    return {"n": n, "text": "x" * size}


@tool(estimate=nothing)
async def last() -> dict[str, Any]:
    if STOP.exists():
        raise OSError("stopped here")
    return {}


@tool(estimate=nothing)
async def file(n: int, size: int, *, call: Call) -> dict[str, Any]:
    return {"file": call.artifacts.put(bytes([n % 251]) * size, "application/octet-stream", "f.bin")} if size else {}
"""


class Project:
    """A throw-away project with one workflow."""

    def __init__(self, root: Path, steps: str, head: str = "") -> None:
        (root / "tools").mkdir(parents=True)
        (root / "tools" / "t.py").write_text(TOOLS)
        self.file = root / "workflows.yaml"
        self.file.write_text(f"version: 1\nworkflows:\n  work:\n{head}    steps:\n{steps}")
        self.root = root

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.root / ".agentflow").glob("agentflow.db*"))


def each(folder: Path, items: int, repeats: int) -> dict[str, Any]:
    listed = "[" + ", ".join(str(n) for n in range(100)) + "]"
    loops = (
        f"      - {{id: outer, foreach: {{in: '{listed}', as: n, max_parallel: 64}}, use: t.give, "
        "with: {n: '${{ n }}'}}\n"
    )
    project = Project(folder / "each", loops)
    took, bare = [], []
    with Agentflow.open(project.file) as flow:
        asyncio.run(_warm(flow))
        for _ in range(repeats):
            begin = time.perf_counter()
            result = flow.run("work")
            took.append((time.perf_counter() - begin) / 100)
            assert result.error is None, result.error
            bare.append(asyncio.run(_gathered(100)))
    return {
        "item_ms": round(statistics.median(took) * 1e3, 3),
        "gathered_item_ms": round(statistics.median(bare) * 1e3, 4),
        "items": 100,
        "max_parallel": 64,
    }


async def _warm(flow: Agentflow) -> None:
    await flow.arun("work")


async def _gathered(items: int) -> float:
    slots = asyncio.Semaphore(64)

    async def one(n: int) -> dict[str, Any]:
        async with slots:
            return {"n": n}

    begin = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(items)))
    return (time.perf_counter() - begin) / items


def resumed(folder: Path, steps: int) -> dict[str, Any]:
    lines = "".join(f"      - {{id: s{n}, use: t.give, with: {{n: {n}}}}}\n" for n in range(steps - 1))
    project = Project(folder / "resume", lines + "      - {id: last, use: t.last}\n")
    stop = project.root / "stop"
    stop.touch()
    with Agentflow.open(project.file) as flow:
        begin = time.perf_counter()
        failed = flow.run("work")
        first_s = time.perf_counter() - begin
    stop.unlink()
    with Agentflow.open(project.file) as flow:
        begin = time.perf_counter()
        result = flow.resume(failed.run_id)
        took = time.perf_counter() - begin
        assert result.error is None, result.error
    return {"steps": steps, "first_run_s": round(first_s, 2), "resume_s": round(took, 2)}


def growth(folder: Path, steps: int) -> dict[str, Any]:
    made: dict[str, Any] = {"steps": steps}
    for name, size in (("without_a_file", 0), ("with_100_kb", 100_000)):
        lines = "".join(
            f"      - {{id: s{n}, use: t.file, with: {{n: {n}, size: {size}}}}}\n" for n in range(steps)
        )
        project = Project(folder / name, lines)
        with Agentflow.open(project.file) as flow:
            before = project.bytes
            result = flow.run("work")
            assert result.error is None, result.error
            (checkpoint,) = [flow.workshop.store.get_checkpoint(result.run_id)]
            assert checkpoint is not None
            made[f"checkpoint_bytes_{name}"] = len(checkpoint.data)
        made[f"bytes_a_step_{name}"] = round((project.bytes - before) / steps)
    return made


def memory(folder: Path, items: int) -> dict[str, Any]:
    project = Project(
        folder / "memory",
        "      - {id: all, foreach: {in: inputs.items, as: n, max_parallel: 16}, use: t.give, "
        "with: {n: '${{ n }}', size: 10000}}\n",
        "    inputs: {items: {type: array}}\n",
    )
    with Agentflow.open(project.file) as flow:
        flow.run("work", items=list(range(500)))
        before = _memory_kb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        begin = time.perf_counter()
        result = flow.run("work", items=list(range(items)))
        took = time.perf_counter() - begin
        assert result.error is None, result.error
        peak = _memory_kb("VmHWM")
    return {
        "items": items,
        "given_mb": round(items * 10_000 / 1e6),
        "grown_mb": round((peak - before) / 1024, 1),
        "item_ms": round(took / items * 1e3, 3),
    }


def _memory_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def side_by_side(folder: Path, runs: int) -> dict[str, Any]:
    lines = "".join(f"      - {{id: s{n}, use: t.give, with: {{n: {n}}}}}\n" for n in range(5))
    project = Project(folder / "runs", lines)
    ended: list[float] = []

    async def all_of_them(flow: Agentflow) -> None:
        async def one() -> None:
            result = await flow.arun("work")
            assert result.error is None, result.error
            ended.append(time.perf_counter())

        await asyncio.gather(*(one() for _ in range(runs)))

    with Agentflow.open(project.file) as flow:
        begin = time.perf_counter()
        asyncio.run(all_of_them(flow))
    return {
        "runs": runs,
        "steps_a_run": 5,
        "runs_a_second": round(runs / (max(ended) - begin), 1),
        "first_ended_after_share_of_the_time": round((min(ended) - begin) / (max(ended) - begin), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(
            json.dumps(
                {
                    "memory": memory(folder, options.items),
                    "foreach": each(folder, 100, 9),
                    "resume": resumed(folder, options.steps),
                    "growth": growth(folder, 300),
                    "side_by_side": side_by_side(folder, options.runs),
                }
            )
        )


if __name__ == "__main__":
    main()
