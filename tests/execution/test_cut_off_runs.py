"""Runs that something ends in the middle: a kill, an interrupt, a full disk. Real processes, real signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORK = """
@tool(estimate=lambda name, gate="": Amounts(tokens=10))
async def pay(name: str, gate: str = "", *, call: Call) -> dict[str, Any]:
    note(f"pay:{name}")
    call.meter.charge(Amounts(tokens=4))
    if gate and not (LOG.parent / "open").exists():
        print("at the gate", flush=True)
        await asyncio.Event().wait()
    return {"name": name}


@tool(estimate=fine)
def block(seconds: float = 60.0) -> dict[str, Any]:
    print("at the gate", flush=True)
    import threading
    threading.Event().wait(seconds)
    return {}
"""
STOP_AFTER = """
import sys
from pathlib import Path

OPEN = Path(__file__).parent.parent / "open"


@guardrail(hooks=["tool_result"])
async def die(subject: Subject) -> Verdict:
    import asyncio
    if not OPEN.exists():
        print("at the gate", flush=True)
        await asyncio.Event().wait()
    return Verdict.allow()
"""
MAIN = """
import sys
from agentflow.core.errors import AgentflowError
from agentflow.sdk import Agentflow

with Agentflow.open(sys.argv[1]) as flow:
    try:
        result = flow.run("work")
    except AgentflowError as error:
        print(type(error).__name__, error.exit_code, error, flush=True)
        raise SystemExit(error.exit_code)
    print(result.status, result.error, flush=True)
"""


def begin(root: Path) -> subprocess.Popen[str]:
    """Start a run in a process of its own and wait until its tool says that it is at work."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()  # type: ignore[union-attr]
    assert line.strip() == "at the gate", (line, process.communicate(timeout=60))
    return process


STEPS = """
- {id: one, use: t.pay, with: {name: a}}
- id: each
  foreach: {in: "['b', 'c', 'd']", as: n}
  use: t.pay
  with: {name: "${{ n }}", gate: "${{ n == 'c' ? 'shut' : '' }}"}
- {id: two, use: t.pay, with: {name: e}}
"""


def test_a_killed_run_goes_on_where_it_was_and_pays_for_nothing_twice(bench: Any) -> None:
    bench.write(STEPS, tools=WORK, head="budget: {tokens: 100, wall_clock: 10m}\n")
    process = begin(bench.root)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert bench.calls == ["pay:a", "pay:b", "pay:c"]
    (bench.root / "open").touch()
    flow = bench.open()
    (record,) = flow.runs()
    assert record.status == "running"
    result = flow.resume(record.id)
    assert result.status == "succeeded", result.error
    assert bench.calls == ["pay:a", "pay:b", "pay:c", "pay:c", "pay:d", "pay:e"]
    assert [item["output"]["name"] for item in result.steps["each"]["results"]] == ["b", "c", "d"]
    # five calls of 4 tokens, and all 10 of the hold that the kill left open
    assert (result.usage.spent.tokens, result.usage.held.tokens) == (30, 0)
    assert result.usage.spent.wall_ms < 60_000


def test_a_result_that_was_paid_for_before_the_kill_is_taken_over_and_still_guarded(bench: Any) -> None:
    bench.write(
        "- {id: one, use: t.pay, with: {name: a}}\n- {id: two, use: t.pay, with: {name: b}}",
        head="guardrails:\n  - {use: g.die, at: tool_result}\n",
        tools=WORK,
        guardrails=STOP_AFTER,
    )
    process = begin(bench.root)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    flow = bench.open()
    (record,) = flow.runs()
    (left,) = [r for r in flow.workshop.store.steps(record.id) if r.path == "one"]
    assert (left.envelope.status, left.envelope.usage.tokens) == ("called", 4)
    (bench.root / "open").touch()
    result = flow.resume(record.id)
    assert (result.status, bench.calls) == ("succeeded", ["pay:a", "pay:b"])
    assert result.steps["one"]["output"] == {"name": "a"}
    assert result.usage.spent.tokens == 8
    assert [v.step for v in result.verdicts] == ["one", "two"]


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_ends_the_run_with_one_clear_error_and_keeps_what_is_finished(
    bench: Any, after: bool
) -> None:
    head = "guardrails:\n  - {use: g.die, at: tool_result}\n" if after else ""
    bench.write(
        STEPS if not after else "- {id: one, use: t.pay, with: {name: a}}",
        head=head,
        tools=WORK,
        guardrails=STOP_AFTER,
    )
    process = begin(bench.root)
    process.send_signal(signal.SIGINT)
    said, wrong = process.communicate(timeout=60)
    assert process.returncode == 130, (said, wrong)
    assert wrong == ""
    flow = bench.open()
    (record,) = flow.runs()
    assert said.strip() == (
        f"RunCancelledError 130 run {record.id} was cancelled by an interrupt; finished steps are kept "
        f"(agentflow show {record.id})."
    )
    assert (record.status, record.error_kind) == ("cancelled", "RunCancelled")
    assert record.ended is not None
    assert record.manifest is not None
    before = bench.calls
    (bench.root / "open").touch()
    result = flow.resume(record.id)
    assert result.status == "succeeded", result.error
    assert bench.calls == [*before, *([] if after else ["pay:c", "pay:d", "pay:e"])]
    assert result.usage.held.tokens == 0


def test_a_tool_in_a_thread_does_not_keep_the_interrupt_from_the_record(bench: Any) -> None:
    bench.write("- {id: one, use: t.block, with: {seconds: 1.0}}", tools=WORK)
    process = begin(bench.root)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (record,) = bench.open().runs()
    assert record.status == "cancelled"
    statuses = [r.envelope.status for r in bench.opened[0].workshop.store.steps(record.id)]
    assert statuses == ["ok", "cancelled"]


FILM = """
import numpy as np


@tool(estimate=fine)
def first() -> dict[str, Any]:
    note("first")
    return {"done": True}


@tool(estimate=fine)
def film(*, call: Call) -> dict[str, Any]:
    from agentflow.worldmodel import video

    noise = np.random.default_rng(0).integers(0, 255, (60, 512, 512, 3)).astype(np.uint8)
    call.scratch.mkdir(parents=True, exist_ok=True)
    path = call.scratch / "film.mp4"
    video.write_mp4(iter(noise), path)
    return {"video": call.artifacts.put_file(path, "video/mp4", "film.mp4")}
"""


@pytest.mark.parametrize("store_url", [None])  # the disk that is full is this machine's
def test_a_full_disk_while_a_video_is_written_is_one_clear_error_on_record(bench: Any) -> None:
    bench.write("- {id: one, use: t.first}\n- {id: two, use: t.film}", tools=FILM)
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))\n" + MAIN
    done = subprocess.run(
        [sys.executable, "-c", limited, str(bench.root)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("failed ")
    assert "film.mp4: " in done.stdout
    assert "File too large" in done.stdout
    assert "Free some space if the disk is full" in done.stdout
    flow = bench.open()
    (record,) = flow.runs()
    assert (record.status, record.error_kind) == ("failed", "Storage")
    assert list((bench.root / ".agentflow").rglob("*.mp4")) == []
    result = flow.resume(record.id)
    assert (result.status, bench.calls) == ("succeeded", ["first"])


def test_a_program_that_cancels_its_task_gets_the_cancellation_and_the_record_says_so(bench: Any) -> None:
    import asyncio

    bench.write("- {id: one, use: t.pay, with: {name: a, gate: shut}}", tools=WORK)
    flow = bench.open()

    async def cancel_at_work() -> None:
        begun = asyncio.Event()

        def listen(event: Any) -> None:
            if event.kind == "step_started" and event.step == "one":
                begun.set()

        task = asyncio.ensure_future(flow.arun("work", listener=listen))
        await begun.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_at_work())
    (record,) = flow.runs()
    assert record.status == "cancelled"


def test_a_run_whose_records_folder_cannot_be_used_says_what_to_do(bench: Any, tmp_path: Path) -> None:
    from agentflow.core.errors import StorageError

    bench.write("- {id: one, use: t.first}", tools=FILM)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match="taken"):
        bench.open(folder=tmp_path / "taken")


def test_what_the_checkpoint_of_a_run_holds_is_plain_json(bench: Any) -> None:
    bench.write("- {id: one, use: t.first}", tools=FILM)
    flow = bench.open()
    result = flow.run("work")
    assert json.loads(json.dumps(result.steps))["one"]["output"] == {"done": True}
