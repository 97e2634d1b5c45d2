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

from langgraph.graph import END, START, StateGraph

from agentflow.sdk import Agentflow
from agentflow.workflow.checkpoints import open_checkpointer
from agentflow.workflow.compiler import Compiler

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
    await graph.ainvoke({"steps": {}}, config, **options)
    return (time.perf_counter() - begin) / steps


async def measure(steps: int, repeats: int, folder: Path) -> dict[str, Any]:
    (folder / "workflows.yaml").write_text(HEAD + "".join(STEP.format(n=n) for n in range(steps)))
    bare, durable, whole = [], [], []
    async with open_checkpointer(folder / "bare.db") as saver:
        with Agentflow.open(folder) as flow:
            for _ in range(repeats):
                bare.append(await timed(bare_graph(steps), steps))
                whole.append(await _enveloped(flow, steps))
                durable.append(await timed(bare_graph(steps, saver), steps, durability="sync"))
    ratio = statistics.median(whole) / statistics.median(bare)
    return {
        "bare_step_ms": round(statistics.median(bare) * 1e3, 3),
        "enveloped_step_ms": round(statistics.median(whole) * 1e3, 3),
        "ratio": round(ratio, 2),
        "bare_step_with_checkpoint_ms": round(statistics.median(durable) * 1e3, 3),
        "steps": steps,
        "repeats": repeats,
    }


async def _enveloped(flow: Agentflow, steps: int) -> float:
    """Run the chain as a run does, timing the graph alone."""
    from agentflow.workflow import runner

    took: list[float] = []

    async def graph_only(self: Any, context: Any, equipment: Any, decision: Any, resumed: bool) -> Any:
        compiled = Compiler(context, self.workflow, equipment).graph(None)
        took.append(await timed(compiled, steps))
        return {"steps": {}}

    class Bench(runner.Runner):
        _graph = graph_only

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
