"""`Bench`: a throw-away project: its files from texts, its runs, and what its tools wrote down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent
from types import TracebackType
from typing import Any, Self

from agentflow.sdk import Agentflow, RunResult

TOOLS = """\
import asyncio
import os
import time
from pathlib import Path
from typing import Any

from agentflow import Amounts, Artifact, Call, Rollout, WorldModel, tool

LOG = Path(__file__).parent.parent / "calls.txt"


def note(text: str) -> None:
    with LOG.open("a") as file:
        file.write(text + "\\n")


def fine(**_: Any) -> Amounts:
    return Amounts()
"""
"""What a module of tools begins with: ``note`` writes a call down, ``fine`` is the estimate of what costs nothing."""
GUARDRAILS = "from agentflow import Subject, Verdict, guardrail\n"
EVALS = "from agentflow import Score, Subject, scorer\n"

Modules = str | Mapping[str, str]


class Bench:
    """A project folder. A context manager, which closes what it opened.

    Example::

    with Bench(tmp_path) as bench:
        bench.write('- {id: one, use: t.say, with: {text: "${{ inputs.text }}"}}',
                    head="inputs: {text: {type: string}}",
                    tools='''
                    @tool(estimate=fine)
                    def say(text: str) -> str:
                        note(text)
                        return text
                    ''')
        assert bench.run(text="hi").status == "succeeded"
        assert bench.calls == ["hi"]
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened: list[Agentflow] = []
        """Every project that was opened here, the last one last."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(
        self,
        steps: str,
        *,
        head: str = "",
        tools: Modules = "",
        guardrails: Modules = "",
        evals: Modules = "",
    ) -> None:
        """Write the workflow ``work`` of ``steps``, with ``head`` before them, and the project's modules.

        A module is given as text, with its imports left out (`TOOLS`, `GUARDRAILS`, `EVALS` stand before it), and is
        then called ``t``, ``g`` or ``s``; or as a mapping of names to texts.
        """
        above = indent(dedent(head).strip("\n"), "    ")
        text = "version: 1\nworkflows:\n  work:\n" + (f"{above}\n" if above else "")
        self.write_file(text + "    steps:\n" + indent(dedent(steps), "      "),
                        tools=tools, guardrails=guardrails, evals=evals)  # fmt: skip

    def write_file(
        self, text: str, *, tools: Modules = "", guardrails: Modules = "", evals: Modules = ""
    ) -> None:
        """Write a whole workflow file, and the project's modules as `write` does."""
        for folder, name, head, given in (
            ("tools", "t", TOOLS, tools), ("guardrails", "g", GUARDRAILS, guardrails), ("evals", "s", EVALS, evals),
        ):  # fmt: skip
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            for module, source in ({name: given} if isinstance(given, str) else given).items():
                (self.root / folder / f"{module}.py").write_text(head + dedent(source))
        (self.root / "workflows.yaml").write_text(text)

    def open(
        self,
        *,
        worlds: Mapping[str, Any] | None = None,
        simulators: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Agentflow:
        """Open the project.

        Args:
            worlds: world models by their name in the file, such as a `FakeWorld`.
            simulators: their true simulators.
            options: as `Agentflow.open` takes them.
        """
        flow = Agentflow.open(self.root, worlds=worlds, simulators=simulators, **options)
        self.opened.append(flow)
        return flow

    @property
    def flow(self) -> Agentflow:
        """The project as it was opened last; opened now if it was not."""
        return self.opened[-1] if self.opened else self.open()

    def run(self, workflow: str = "work", /, **inputs: Any) -> RunResult:
        """Run a workflow of `flow`."""
        return self.flow.run(workflow, **inputs)

    @property
    def calls(self) -> list[str]:
        """The words that tools wrote down with ``note``, in order."""
        log = self.root / "calls.txt"
        return log.read_text().split() if log.exists() else []

    def close(self) -> None:
        """Close what was opened; the files stay."""
        for flow in self.opened:
            flow.close()
        self.opened.clear()
