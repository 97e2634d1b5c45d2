"""A small project without a world, and the command line as people and scripts call it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
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


@tool(estimate=lambda item: Amounts(tokens=10))
def pay(item: int, *, call: Call) -> dict[str, int]:
    """Cost something, and wait where a file says so."""
    note(f"pay:{item}")
    call.meter.charge(Amounts(tokens=10))
    gate = LOG.parent / f"gate-{item}"
    while gate.exists():
        time.sleep(0.01)
    return {"item": item}


@tool(estimate=lambda: Amounts(micro_usd=500_000))
def buy(*, call: Call) -> int:
    """Spend half a dollar."""
    call.meter.charge(Amounts(micro_usd=500_000))
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
  shop:
    inputs: {first: {type: integer, default: 1}}
    budget: {tokens: 100, on_exhausted: pause}
    steps:
      - {id: one, use: t.pay, with: {item: "${{ inputs.first }}"}}
      - {id: each, foreach: {in: "[2, 3]", as: item, max_parallel: 2}, use: t.pay, with: {item: "${{ item }}"}}
      - id: ask
        approval:
          message: "Ship it?"
          show: [steps.one.output.item]
          timeout: 24h
          answers:
            fps: {type: integer, minimum: 1}
            note: {type: string, default: none}
      - {id: ship, use: t.pay, with: {item: "${{ steps.ask.output.answers.fps }}"}}
    outputs: {fps: "${{ steps.ship.output.item }}", note: "${{ steps.ask.output.answers.note }}"}
  asks_twice:
    steps:
      - id: each
        foreach: {in: "['a', 'b']", as: name, on_error: collect}
        workflow: asks_for
        with: {name: "${{ name }}"}
  asks_for:
    inputs: {name: {type: string}}
    steps:
      - {id: ask, approval: {message: "And ${{ inputs.name }}?"}}
      - {id: greet, use: t.greet, with: {name: "${{ inputs.name }}"}}
  spends:
    budget: {usd: 0, on_exhausted: pause}
    steps: [{id: buy, use: t.buy}]
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
def ask_to_decide(agentflow: Callable[..., Said]) -> Callable[..., str]:
    """Run a workflow up to its question, and return the run's id."""

    def begin(workflow: str, *arguments: str) -> str:
        said = agentflow("run", workflow, *arguments, "--json")
        assert said.code == 6, said
        return str(json.loads(said.out)["run_id"])

    return begin


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line in a process of its own, which ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "agentflow.cli.main", *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        )  # fmt: skip
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait(timeout=60)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def at_terminal() -> Callable[..., tuple[str, int]]:
    """Call the command line as a person at a terminal does, who answers one question."""
    return _at_terminal


def _at_terminal(*arguments: str, answer: bytes, question: bytes = b"Approve?") -> tuple[str, int]:
    """Return what a person sees who answers the first question, and the exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agentflow.cli.main", *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    asked = False
    while True:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # the terminal's other side is closed
            break
        if question in seen and not asked:
            asked = True
            os.write(ours, answer)
    os.close(ours)
    return seen.decode(), process.wait(timeout=60)
