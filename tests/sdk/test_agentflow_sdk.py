"""The Python face: run, stream, look back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentflow.core.errors import InvalidInputError, UnknownNameError, WorkflowFileError
from agentflow.sdk import Agentflow

FILE = """
version: 1
workflows:
  hello:
    inputs: {name: {type: string, default: you}}
    steps:
      - {id: one, use: echo, with: {value: "hello ${{ inputs.name }}"}}
    outputs: {said: "${{ steps.one.output.value }}", seed: "${{ run.seed }}"}
"""


@pytest.fixture
def flow(tmp_path: Path, project_database: None) -> Iterator[Agentflow]:
    (tmp_path / "workflows.yaml").write_text(FILE)
    with Agentflow.open(tmp_path) as opened:
        yield opened


def test_a_run_gives_its_outputs_and_leaves_a_record(flow: Agentflow) -> None:
    result = flow.run("hello", name="Ada", seed=7)
    assert (result.status, result.outputs, result.error) == (
        "succeeded",
        {"said": "hello Ada", "seed": 7},
        None,
    )
    record = flow.get(result.run_id)
    assert (record.workflow, record.inputs, record.seed) == ("hello", {"name": "Ada"}, 7)
    assert (record.status, record.outputs) == ("succeeded", result.outputs)
    assert [run.id for run in flow.runs()] == [result.run_id]
    assert result.trace_path.parent == result.folder
    assert result.trace_path.exists()


def test_two_runs_of_one_project_can_be_at_work_at_once(flow: Agentflow) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(flow.arun("hello", name="a"), flow.arun("hello", name="b"))

    results = asyncio.run(both())
    assert [result.outputs["said"] for result in results] == ["hello a", "hello b"]
    assert results[0].run_id != results[1].run_id


def test_a_stream_yields_each_event_and_then_the_result(flow: Agentflow) -> None:
    *events, result = flow.stream("hello")
    kinds = [(event.kind, event.step) for event in events]
    assert kinds[0] == ("run_started", "")
    assert kinds[-1] == ("run_finished", "")
    assert [step for kind, step in kinds if kind == "step_finished"] == ["input", "one", "output"]
    assert result.outputs["said"] == "hello you"


def test_a_stream_that_nobody_reads_to_its_end_cancels_its_run(flow: Agentflow) -> None:
    stream = flow.stream("hello")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    (record,) = flow.runs()
    assert record.status == "cancelled"


def test_a_stream_ends_with_the_error_of_a_run_that_could_not_begin(flow: Agentflow) -> None:
    with pytest.raises(InvalidInputError, match="input 'nme'"):
        list(flow.stream("hello", nme="x"))


def test_unknown_names_are_told_with_the_nearest(flow: Agentflow) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown workflow 'helo'\. Did you mean 'hello'"):
        flow.run("helo")
    with pytest.raises(UnknownNameError, match="unknown run 'x'"):
        flow.get("x")
    with pytest.raises(UnknownNameError, match="unknown run 'x'"):
        flow.resume("x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("use: echo", "use: ehco"), "unknown tool 'ehco'. Did you mean 'echo'"),
        (FILE.replace("inputs.name }}", "secrets.GONE }}"), "the secret 'GONE' is not set"),
        (FILE.replace("    steps:", "    budget: {usd: -1}\n    steps:"), "-1"),
    ],
)
def test_a_file_that_does_not_hold_is_refused_where_it_is_opened(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "workflows.yaml").write_text(text)
    with pytest.raises(WorkflowFileError) as caught:
        Agentflow.open(tmp_path, secrets={})
    assert message in str(caught.value)
    assert "workflows.yaml:" in str(caught.value)
    assert not (tmp_path / ".agentflow").exists()
