"""The projects that are killed: workflows whose paid work is written to a log outside of the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moments import paid

from agentflow.testing import Bench, FakeWorld, ModelRequest, ScriptedModel, answer, tool_calls

TOOLS = """
from moments import paid


def twice(name, tokens=7, **_):
    return Amounts(tokens=2 * tokens)


@tool(estimate=twice)
async def pay(name: str, tokens: int = 7, *, call: Call) -> dict[str, Any]:
    \"\"\"Pay, on the event loop.\"\"\"
    call.meter.charge(Amounts(tokens=tokens))
    with paid(call.step, tokens=tokens):
        await asyncio.sleep(0.002)
    if name.startswith("bad"):
        raise ValueError(f"{name} cannot be bought")
    return {"name": name, "size": float(len(name))}


@tool(estimate=twice)
def pay_in_a_thread(name: str, tokens: int = 7, *, call: Call) -> dict[str, Any]:
    \"\"\"Pay, off the event loop.\"\"\"
    call.meter.charge(Amounts(tokens=tokens))
    with paid(call.step, tokens=tokens):
        time.sleep(0.002)
    return {"name": name, "size": float(len(name))}


@tool(estimate=lambda: Amounts(tokens=10))
async def grow(*, call: Call) -> dict[str, Any]:
    \"\"\"Return one more than the pass before.\"\"\"
    call.meter.charge(Amounts(tokens=7))
    before = (call.run["steps"].get("roll") or {}).get("output") or {"sizes": [0.0]}
    with paid(call.step, tokens=7):
        await asyncio.sleep(0)
    return {"sizes": [before["sizes"][0] + 1.0, 0.5]}
"""
GUARDRAILS = """
@guardrail(hooks=["tool_args", "tool_result"])
def look(subject: Subject) -> Verdict:
    return Verdict.allow()
"""
EVALS = """
@scorer(lower_is_better=False)
def size(subject: Subject) -> Score:
    item = subject.value
    return Score(value=float(item["size"] if isinstance(item, dict) else item))
"""
SEQUENCE = """
version: 1
workflows:
  work:
    budget: {tokens: 100000, wall_clock: 1h}
    guardrails:
      - {use: g.look, at: [tool_args, tool_result]}
    steps:
      - {id: one, use: t.pay, with: {name: a}}
      - {id: two, use: t.pay_in_a_thread, with: {name: "${{ steps.one.output.name }}b"}}
      - {id: never, if: "1 > 2", use: t.pay, with: {name: never}}
      - id: best
        evaluate: {over: "[steps.one.output, steps.two.output]", scorers: {size: s.size}, select: {by: size}}
      - {id: three, use: t.pay, with: {name: "${{ steps.best.output.best.name }}c"}, budget: {tokens: 5000}}
    outputs: {name: "${{ steps.three.output.name }}"}
"""
BRANCHES = """
version: 1
workflows:
  work:
    budget: {tokens: 100000}
    steps:
      - id: each
        foreach: {in: "['a', 'bb', 'bad', 'dddd', 'e', 'ff']", as: name, max_parallel: 4, on_error: collect}
        use: t.pay
        with: {name: "${{ name }}"}
        guardrails: [{use: g.look, at: tool_result}]
      - id: best
        evaluate: {over: steps.each.results, scorers: {size: s.size}, select: {by: size, top: 2}}
      - {id: last, use: t.pay_in_a_thread, with: {name: "${{ steps.best.output.best.name }}"}}
    outputs: {name: "${{ steps.last.output.name }}", ok: "${{ steps.each.output.ok }}"}
"""
WITHIN = """
version: 1
workflows:
  work:
    budget: {tokens: 100000}
    steps:
      - id: each
        foreach: {in: "['a', 'b', 'c']", as: name, max_parallel: 2}
        workflow: pair
        with: {name: "${{ name }}"}
      - {id: flat, workflow: pair, with: {name: "${{ steps.each.results[1].output.name }}"}}
    outputs: {name: "${{ steps.flat.output.name }}"}
  pair:
    inputs: {name: {type: string}}
    budget: {tokens: 20000}
    guardrails: [{use: g.look, at: tool_args}]
    steps:
      - {id: first, use: t.pay, with: {name: "${{ inputs.name }}1"}}
      - {id: second, use: t.pay_in_a_thread, with: {name: "${{ steps.first.output.name }}2"}}
    outputs: {name: "${{ steps.second.output.name }}"}
"""
AGENT = """
version: 1
models:
  planner: {provider: openai, base_url: "http://127.0.0.1:9/v1", model: scripted, max_tokens: 300,
            price: {input_usd_per_million: 2, output_usd_per_million: 10}}
worlds:
  tabletop: {use: tabletop}
workflows:
  work:
    budget: {tokens: 1000000, usd: 100, gpu_seconds: 1000}
    guardrails:
      - {use: g.look, at: [tool_args, tool_result]}
    steps:
      - id: plan
        agent: {model: planner, prompt: "Goal: bring the red block to the middle", candidates: 4, horizon: 8, rounds: 2,
                keep: 2, tools: [t.pay]}
      - {id: last, use: t.pay, with: {name: "${{ steps.plan.output.candidates[0].source }}"}}
    outputs: {candidates: "${{ steps.plan.output.candidates }}", name: "${{ steps.last.output.name }}"}
"""
GATE = """
version: 1
workflows:
  work:
    budget: {tokens: 100000}
    steps:
      - {id: before, use: t.pay, with: {name: before}}
      - {id: roll, use: t.grow}
      - id: best
        evaluate:
          over: steps.roll.output.sizes
          scorers: {size: s.size}
          select: {by: size}
          gate: best.size >= 3.0
          on_gate_fail: {goto: roll, max_loops: 4}
      - {id: after, use: t.pay, with: {name: after}}
    outputs: {best: "${{ steps.best.output.best.size }}"}
"""
APPROVALS = """
version: 1
workflows:
  work:
    budget: {tokens: 100000}
    steps:
      - {id: one, use: t.pay, with: {name: a}}
      - {id: ok, approval: {message: "Go on with ${{ steps.one.output.name }}?", show: [steps.one.output]}}
      - id: each
        foreach: {in: "['x', 'y']", as: name, max_parallel: 2}
        workflow: asked
        with: {name: "${{ name }}"}
      - {id: last, use: t.pay_in_a_thread, with: {name: "${{ steps.ok.output.decision }}"}}
    outputs: {name: "${{ steps.last.output.name }}", each: "${{ steps.each.results.map(r, r.output.name) }}"}
  asked:
    inputs: {name: {type: string}}
    steps:
      - {id: draft, use: t.pay, with: {name: "${{ inputs.name }}1"}}
      - {id: ask, approval: {message: "Buy ${{ steps.draft.output.name }}?", show: [steps.draft.output.name]}}
      - {id: buy, use: t.pay, with: {name: "${{ steps.draft.output.name }}2"}}
    outputs: {name: "${{ steps.buy.output.name }}"}
"""
PAUSE = """
version: 1
workflows:
  work:
    budget: {tokens: 40, on_exhausted: pause}
    steps:
      - {id: one, use: t.pay, with: {name: a}}
      - {id: two, use: t.pay, with: {name: b}}
      - id: each
        foreach: {in: "['c', 'd', 'e']", as: name, max_parallel: 2}
        use: t.pay
        with: {name: "${{ name }}"}
      - {id: last, use: t.pay_in_a_thread, with: {name: f}}
    outputs: {name: "${{ steps.last.output.name }}", each: "${{ steps.each.results.map(r, r.output.name) }}"}
"""


class PaidWorld(FakeWorld):
    """A fake world whose predictions are paid work."""

    def predict(self, state: Any, actions: Any, **options: Any) -> Any:
        with paid("plan/predict", gpu_ms=5):
            return super().predict(state, actions, **options)


def _reply(request: ModelRequest) -> Any:
    """Ask for one call of a tool, then answer: what is said follows from the request alone."""
    with paid("plan/chat", tokens=42, micro_usd=9):
        pass
    cost = {"usage": (30, 12), "micro_usd": 9}
    if not any(message.role == "tool" for message in request.messages):
        return tool_calls(("t_pay", {"name": "asked by the model"}), **cost)
    pushes = [{"heading_degrees": 180, "distance_cm": 8, "why": "straight at it"}]
    return answer({"understood": True, "body": "red block", "x_m": 0.0, "y_m": 0.0, "pushes": pushes}, **cost)


def _agent_parts() -> dict[str, Any]:
    world = PaidWorld(trusted_steps=50, gpu_ms_per_predict=5, estimated_gpu_ms=9)
    return {
        "worlds": {"tabletop": world}, "simulators": {"tabletop": world.truth},
        "models": {"planner": ScriptedModel(_reply, micro_usd=9)},
    }  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One workflow to be killed."""

    name: str
    file: str
    parts: Callable[[], Mapping[str, Any]] = field(default=dict)
    """Worlds and models that the program hands over."""
    same_questions: bool = True
    """Whether a killed run asks what an undisturbed one asks; a budget runs out earlier where holds were lost."""

    def write(self, root: Path) -> None:
        """Write the project."""
        Bench(root).write_file(self.file, tools=TOOLS, guardrails=GUARDRAILS, evals=EVALS)


WORKS = {
    work.name: work
    for work in (
        Work("sequence", SEQUENCE),
        Work("branches", BRANCHES),
        Work("within", WITHIN),
        Work("agent", AGENT, _agent_parts),
        Work("gate", GATE),
        Work("approvals", APPROVALS),
        Work("pause", PAUSE, same_questions=False),
    )
}


def place(path: str) -> str:
    """Return under which name the log knows a step: an agent's own chats and predictions are counted together."""
    return re.sub(r"^plan/(chat|predict)\[.*\]$", r"plan/\1", path)
