"""What a step's whole envelope costs beside a bare LangGraph step, in one process.

    python benchmarks/envelope.py [--steps 40] [--repeats 25]

Both run the same chain of steps through LangGraph without a checkpointer. The bare step returns a small dict; the
enveloped one calls a tool that does, with its spans, its reservation and settlement, its record and its trace file.
Repeats alternate, so that all see the same machine. Prints JSON: the median time of one step each, and the ratio.
For scale, also a bare step with LangGraph's own SQLite checkpoint after it (`durability="sync"`): the envelope
leaves a durable record and a settled budget behind each step, which a bare step without a checkpoint does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from agentflow.core.records import Envelope
from agentflow.sdk import Agentflow
from agentflow.workflow.checkpoints import StoreCheckpointer
from agentflow.workflow.compiler import Compiler
from agentflow.workflow.frames import Frame
from agentflow.workflow.runner import Runner

STEP = "      - {{id: s{n}, use: echo, with: {{value: '${{{{ inputs.value }}}}'}}}}\n"
HEAD = "version: 1\nworkflows:\n  chain:\n    inputs: {value: {type: string, default: hello}}\n    steps:\n"


class State(TypedDict, total=False):
    steps: dict[str, Any]


def bare_graph(steps: int, checkpointer: Any = None) -> Any:
    builder: StateGraph[State, Any, Any, Any] = StateGraph(State)

    async def node(state: State) -> State:
        return {"steps": {"output": {"value": "hello"}}}

    names = [f"s{n}" for n in range(steps)]
    for name in names:
        builder.add_node(name, node)
    for here, there in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(here, there)
    return builder.compile(checkpointer=checkpointer)


async def timed(graph: Any, steps: int, **options: Any) -> float:
    config = {"recursion_limit": steps + 5, "configurable": {"thread_id": uuid.uuid4().hex}}
    begin = time.perf_counter()
    await graph.ainvoke({}, config, **options)
    return (time.perf_counter() - begin) / steps


async def measure(steps: int, repeats: int, folder: Path) -> dict[str, Any]:
    (folder / "workflows.yaml").write_text(HEAD + "".join(STEP.format(n=n) for n in range(steps)))
    took: dict[str, list[float]] = {"bare": [], "enveloped": [], "bare_durable": [], "durable": []}
    async with AsyncSqliteSaver.from_conn_string(str(folder / "bare.db")) as saver:
        with Agentflow.open(folder) as flow:
            for _ in range(repeats):
                took["bare"].append(await timed(bare_graph(steps), steps))
                took["enveloped"].append(await _enveloped(flow, steps, durable=False))
                took["bare_durable"].append(await timed(bare_graph(steps, saver), steps, durability="sync"))
                took["durable"].append(await _enveloped(flow, steps, durable=True))
    step = {name: statistics.median(values) for name, values in took.items()}
    return {
        **{f"{name}_step_ms": round(value * 1e3, 3) for name, value in step.items()},
        "ratio": round(step["enveloped"] / step["bare"], 2),
        "durable_ratio": round(step["durable"] / step["bare_durable"], 2),
        "steps": steps,
        "repeats": repeats,
    }


async def _enveloped(flow: Agentflow, steps: int, *, durable: bool) -> float:
    """Run the chain as a run does, timing the graph alone."""
    took: list[float] = []

    class Bench(Runner):
        async def _graph(self, frame: Frame) -> tuple[str, Envelope | None]:
            saver = StoreCheckpointer(frame.context.store, frame.context.lease) if durable else None
            options = {"durability": "sync"} if durable else {}
            took.append(await timed(Compiler(frame).graph(saver), steps, **options))
            return "", None

    result = await Bench(flow.workshop, "chain").start({})
    if result.error is not None:
        raise result.error
    return took[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(options.steps, options.repeats, Path(folder)))))


if __name__ == "__main__":
    main()
