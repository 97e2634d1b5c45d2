"""Agents that cannot be: each with the exact message that its author gets, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentflow.core.errors import WorkflowFileError
from agentflow.testing import Bench

TOOLS = """
from agentflow import Rollout, WorldModel


@tool(estimate=fine)
def look(name: str) -> str:
    return name


@tool(estimate=fine)
def draw(rollout: Rollout) -> str:
    return ""


@tool(estimate=fine)
def shake(*, world: WorldModel) -> str:
    return ""
"""
HEAD = """\
version: 1
models: {planner: {provider: embedded}, writer: {provider: openai, model: m}}
types: {Note: {type: object, fields: {text: string, file: {type: Artifact, optional: true}}}}
workflows:
  work:
    steps:
"""
EMBEDDED = (
    "the model 'planner' is `provider: embedded`, which is no language model: it understands goal sentences and gives "
    "a Plan. For any other output configure a language model under `models:` (provider: openai, base_url, model) and "
    "name it here."
)
WRONG = {
    "an answer that is asked of the embedded planner": (
        "{model: planner, prompt: x, output: string}", [f"7:60: {EMBEDDED}"],
    ),
    "an answer that no model can write": (
        "{model: writer, prompt: x, output: Note}",
        ["7:59: a language model cannot write a value of type Artifact. Declare what it shall answer under `types`, or "
         "write `output: Plan` for an agent that plans."],
    ),
    "settings of planning beside another output": (
        "{model: writer, prompt: x, output: string, keep: 2, horizon: 9}",
        ["7:73: `keep` goes with `output: Plan`; remove it here.",
         "7:85: `horizon` goes with `output: Plan`; remove it here."],
    ),
    "one round beside tools": (
        "{model: writer, prompt: x, output: string, tools: [t.look], rounds: 1}",
        ["7:92: found 1; allowed: 2 or more beside `tools`: in the last round the agent answers and calls none."],
    ),
    "a tool that takes what a model cannot write": (
        "{model: writer, prompt: x, output: string, tools: [t.draw]}",
        ["7:74: found 't.draw', whose input 'rollout' no model can write; allowed: tools whose inputs are JSON."],
    ),
    "a tool that needs a world": (
        "{model: writer, prompt: x, output: string, tools: [t.shake]}",
        ["7:24: a tool of this agent needs a world, and the file has none. Add one under `worlds`."],
    ),
    "an agent that plans without a world": (
        "{model: writer, prompt: x}",
        ["7:24: an agent that plans needs a world, and the file has none. Add one under `worlds`."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_agent_that_cannot_be_is_refused_where_the_file_says_it(tmp_path: Path, name: str) -> None:
    agent, messages = WRONG[name]
    with Bench(tmp_path) as bench:
        bench.write_file(f"{HEAD}      - {{id: a, agent: {agent}}}\n", tools=TOOLS)
        with pytest.raises(WorkflowFileError) as caught:
            bench.open()
    found = [f"{problem.line}:{problem.column}: {problem.message}" for problem in caught.value.problems]
    assert found == messages


def test_two_tools_that_a_model_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        tool = "\n@tool(estimate=fine)\ndef {}() -> str:\n    return ''\n"
        agent = "{model: writer, prompt: x, output: string, tools: [a.b_c, a_b.c]}"
        bench.write_file(
            f"{HEAD}      - {{id: a, agent: {agent}}}\n",
            tools={"a": tool.format("b_c"), "a_b": tool.format("c")},
        )
        with pytest.raises(
            WorkflowFileError,
            match=r"found 'a\.b_c' and 'a_b\.c', which a model cannot tell apart; allowed: tools whose names differ in",
        ):
            bench.open()
