"""A small project without a world, and the command line as people and scripts call it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentflow.cli.main import run
from agentflow.testing import Bench

TOOLS = '''
@tool(estimate=lambda name, times=1, extra=None: Amounts())
def greet(name: str, times: int = 1, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Greet."""
    print("a tool that prints")
    return {"text": f"hello {name}" * times, "extra": extra}


@tool(estimate=lambda why="it broke": Amounts())
def fail(why: str = "it broke") -> int:
    """Fail."""
    raise ValueError(why)


@tool(estimate=lambda: Amounts(tokens=1000))
def costly() -> int:
    """Cost more than there is."""
    return 1


@tool(estimate=lambda item: Amounts())
def count(item: int, *, call: Call) -> dict[str, int]:
    """Count."""
    call.progress("counting", item, 4)
    return {"item": item}


@tool(estimate=lambda: Amounts())
async def wait(*, call: Call) -> int:
    """Wait for a Ctrl-C."""
    call.progress("at work")
    await asyncio.sleep(60)
    return 1


@tool(estimate=lambda name: Amounts())
def picture(name: str, *, call: Call) -> dict[str, Artifact]:
    """Make a picture under a name that somebody chose."""
    return {"picture": call.artifacts.put(b"GIF89a", "image/gif", name)}


@tool(estimate=lambda: Amounts())
def verify() -> dict[str, Any]:
    """Say what a simulator would."""
    return {"predicted_distance_m": 0.013, "true_distance_m": 0.41, "cup_touched": True}
'''
GUARDRAILS = '''
@guardrail(hooks=["tool_args"])
def no_evil(subject: Subject) -> Verdict:
    """Deny names that are evil."""
    if "evil" in str(subject.value):
        return Verdict.deny("the name is evil")
    return Verdict.allow("the name is fine")
'''
WORKFLOWS = """
version: 1
workflows:
  hello:
    inputs:
      name: {type: string}
      times: {type: integer, default: 1}
      extra: {type: object, default: {}}
    budget: {tokens: 500}
    guardrails: [{use: g.no_evil, at: tool_args, on_fail: block}]
    steps:
      - id: greet
        use: t.greet
        with: {name: "${{ inputs.name }}", times: "${{ inputs.times }}", extra: "${{ inputs.extra }}"}
    outputs: {text: "${{ steps.greet.output.text }}", extra: "${{ steps.greet.output.extra }}"}
  fails:
    inputs: {why: {type: string, default: it broke}}
    steps: [{id: fail, use: t.fail, with: {why: "${{ inputs.why }}"}}]
  costs:
    budget: {tokens: 500}
    steps: [{id: costly, use: t.costly}]
  counts:
    steps:
      - {id: count, foreach: {in: "[1, 2, 3]", as: item}, use: t.count, with: {item: "${{ item }}"}}
  asks:
    steps:
      - {id: ask, approval: {message: "Shall it go on?"}}
      - {id: greet, use: t.greet, with: {name: you}}
    outputs: {text: "${{ steps.greet.output.text }}"}
  slow:
    steps:
      - {id: greet, use: t.greet, with: {name: you}}
      - {id: wait, use: t.wait}
  draws:
    inputs: {name: {type: string}}
    steps: [{id: draw, use: t.picture, with: {name: "${{ inputs.name }}"}}]
  verifies:
    steps: [{id: verify, use: t.verify}]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, which is the current one."""
    Bench(tmp_path).write_file(WORKFLOWS, tools=TOOLS, guardrails=GUARDRAILS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def agentflow(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Call the command line in this process."""

    def call(*arguments: str) -> Said:
        capfd.readouterr()
        code = run(arguments)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in a process of its own."""

    def begin(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "agentflow.cli.main", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    return begin
