"""Small projects whose tools write down each of their calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from agentflow.sdk import Agentflow

TOOLS = """
import asyncio
import os
import time
from pathlib import Path
from typing import Any

from agentflow import Amounts, Artifact, Call, tool

LOG = Path(__file__).parent.parent / "calls.txt"


def note(text: str) -> None:
    with LOG.open("a") as file:
        file.write(text + "\\n")


def fine(**_: Any) -> Amounts:
    return Amounts()
"""


class Bench:
    """A project folder, and what its tools did."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened: list[Agentflow] = []

    def write(
        self, steps: str, *, head: str = "", tools: str = "", guardrails: str = "", evals: str = ""
    ) -> None:
        """Write the workflow ``work`` with ``steps`` and whatever stands before them, and its modules."""
        for folder, name, text in (
            ("tools", "t", TOOLS + dedent(tools)),
            ("guardrails", "g", "from agentflow import Subject, Verdict, guardrail\n" + dedent(guardrails)),
            ("evals", "s", "from agentflow import Score, Subject, scorer\n" + dedent(evals)),
        ):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            (self.root / folder / f"{name}.py").write_text(text)
        text = "version: 1\nworkflows:\n  work:\n" + indent(dedent(head), "    ")
        text += "    steps:\n" + indent(dedent(steps), "      ")
        (self.root / "workflows.yaml").write_text(text)

    def open(self, **options: Any) -> Agentflow:
        flow = Agentflow.open(self.root, **options)
        self.opened.append(flow)
        return flow

    @property
    def calls(self) -> list[str]:
        log = self.root / "calls.txt"
        return log.read_text().split() if log.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "project")
    yield made
    for flow in made.opened:
        flow.close()


@pytest.fixture
def run(bench: Bench) -> Callable[..., Any]:
    """Write a project and run its workflow once."""

    def once(steps: str, *, inputs: dict[str, Any] | None = None, **parts: str) -> Any:
        bench.write(steps, **parts)
        return bench.open().run("work", **(inputs or {}))

    return once
