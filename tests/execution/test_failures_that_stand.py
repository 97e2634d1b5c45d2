"""A call that failed was paid for: while its run goes on, whoever does the work, it is not made again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from agentflow.testing import Bench

TOOLS = """
@tool(estimate=lambda name: Amounts(tokens=9))
async def pay(name: str, *, call: Call) -> dict[str, Any]:
    note(f"pay:{name}")
    call.meter.charge(Amounts(tokens=9))
    if name == "bad":
        raise ValueError(f"{name} cannot be bought")
    if name == "slow" and not (LOG.parent / "open").exists():
        print("at the gate", flush=True)
        await asyncio.Event().wait()
    return {"name": name}
"""
EACH = """
- id: each
  foreach: {in: "['bad', '%s']", as: name, on_error: collect}
  %s
  with: {name: "${{ name }}"}
"""
ASKED = """
  asked:
    inputs: {name: {type: string}}
    steps:
      - {id: buy, use: t.pay, with: {name: "${{ inputs.name }}"}}
      - {id: ask, approval: {message: "Keep ${{ steps.buy.output.name }}?"}}
"""
MAIN = """
import sys
from agentflow.sdk import Agentflow

with Agentflow.open(sys.argv[1]) as flow:
    flow.run("work")
"""


def test_an_item_that_failed_is_not_called_again_after_a_person_has_decided_on_another(bench: Bench) -> None:
    bench.write(EACH % ("good", "workflow: asked"), tools=TOOLS)
    file = Path(bench.root) / "workflows.yaml"
    file.write_text(file.read_text() + ASKED)
    flow = bench.open()
    waiting = flow.run("work")
    assert (waiting.status, bench.calls) == ("waiting", ["pay:bad", "pay:good"])
    done = flow.decide(waiting.run_id, "approve", by="ann")
    assert (done.status, bench.calls) == ("succeeded", ["pay:bad", "pay:good"]), done.error
    assert [item["ok"] for item in done.steps["each"]["results"]] == [False, True]
    assert done.usage.spent.tokens == 18


def test_an_item_that_failed_is_not_called_again_after_a_kill(bench: Bench) -> None:
    bench.write(EACH % ("slow", "use: t.pay"), tools=TOOLS)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(bench.root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "at the gate"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (bench.root / "open").touch()
    flow = bench.open()
    done = flow.resume(flow.runs()[0].id)
    assert (done.status, bench.calls) == ("succeeded", ["pay:bad", "pay:slow", "pay:slow"]), done.error
    assert done.usage.spent.tokens == 27


def test_a_person_who_has_a_failed_run_go_on_has_it_tried_again(bench: Bench) -> None:
    bench.write("- {id: one, use: t.pay, with: {name: bad}}", tools=TOOLS)
    flow = bench.open()
    failed = flow.run("work")
    assert (failed.status, bench.calls) == ("failed", ["pay:bad"])
    assert flow.resume(failed.run_id).status == "failed"
    assert bench.calls == ["pay:bad", "pay:bad"]
