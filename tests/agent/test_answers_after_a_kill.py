"""An agent that something ends in the middle of its rounds: what was asked and called before is not asked again."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from agentflow.testing import assert_booked_once, assert_spent

GOOD = {"severity": "high", "reason": "two cracks"}
GATE = """
from pathlib import Path

HERE = Path(__file__).parent.parent


@guardrail(hooks=["plan", "tool_args", "tool_result", "input"])
async def look(subject: Subject) -> Verdict:
    import asyncio
    if not (HERE / "open").exists() and f"{subject.step} {subject.hook}" == (HERE / "gate").read_text():
        print("at the gate", flush=True)
        await asyncio.Event().wait()
    return Verdict.allow()
"""
MAIN = """
import sys
from agentflow.sdk import Agentflow

with Agentflow.open(sys.argv[1]) as flow:
    flow.run("work")
"""
# where it is killed, and how many requests the model got before
GATES = {
    "triage/chat[1] tool_args": 0,
    "triage/chat[1] tool_result": 1,
    "triage/t_history[1.0] tool_args": 1,
    "triage/t_history[1.0] tool_result": 1,
    "triage/t_order[1.2] tool_args": 1,
    "triage/chat[2] tool_args": 1,
    "triage/chat[2] tool_result": 2,
    "triage plan": 2,
}


@pytest.mark.parametrize("gate", GATES)
def test_a_killed_agent_goes_on_and_nothing_finished_is_asked_or_called_twice(office: Any, gate: str) -> None:
    calls = [("t_history", {"part": "weld"}), ("t_history", {"part": "ghost"}), ("t_order", {"part": "rim"})]
    office.server.tool_calls(*calls, usage=(100, 10)).json(GOOD, usage=(100, 10))
    office.write(tools="[t.history, t.order]")
    root = office.bench.root
    (root / "guardrails" / "g.py").write_text("from agentflow import Subject, Verdict, guardrail\n" + GATE)
    (root / "gate").write_text(gate)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "at the gate", process.communicate(timeout=60)  # type: ignore[union-attr]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert len(office.server.requests) == GATES[gate]

    (root / "open").touch()
    flow = office.bench.open()
    (record,) = flow.runs()
    result = flow.resume(record.id)
    assert result.status == "succeeded", result.error
    assert result.outputs["triage"] == {**GOOD, "hours": 24}
    assert len(office.server.requests) == 2
    assert office.bench.calls == ["history:weld", "history:ghost", "order:rim"]
    told = [message["content"] for message in office.sent() if message["role"] == "tool"]
    assert told[1].startswith("failed: step 'triage/t_history[1.1]' failed: ValueError: no such part")
    assert_spent(result, tokens=220, gpu_ms=4)
    assert_booked_once(result)


def test_a_run_that_failed_goes_on_with_what_its_agent_was_told(office: Any) -> None:
    office.server.tool_calls(("t_history", {"part": "ghost"}), usage=(100, 10))
    office.server.status(401, message="bad key").json(GOOD, usage=(100, 10))
    result = office.run(tools="[t.history]")
    assert result.status == "failed"
    result = office.bench.flow.resume(result.run_id)
    assert result.status == "succeeded", result.error
    assert office.bench.calls == ["history:ghost"]
    assert office.sent(-1) == office.sent(-2)
    assert_spent(result, tokens=220, gpu_ms=2)
