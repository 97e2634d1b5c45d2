"""Where tools run: beside the event loop, stopped when their time is over, one at a time on what they occupy."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agentflow import Amounts, Call, InvalidInputError, tool
from agentflow.execution.slots import Slots
from agentflow.execution.threads import Threads
from agentflow.execution.workers import Workers
from agentflow.testing import assert_booked_once, assert_status, envelopes

LOOPS = """
@tool(estimate=lambda: Amounts(tokens=10))
def endless() -> int:
    try:
        while True:
            pass
    finally:
        note("ended")


@tool(estimate=fine)
def stubborn() -> int:
    times = 0
    while times < 3:
        try:
            while True:
                pass
        except BaseException as error:
            times += 1
            note(type(error).__name__)
    return times


@tool(estimate=fine)
def polite(*, call: Call) -> int:
    while not call.stopped:
        pass
    note("in_order")
    return 1


@tool(estimate=lambda: Amounts(tokens=10))
def charging(*, call: Call) -> int:
    try:
        while True:
            call.meter.require(Amounts(tokens=1))
    except Exception as error:
        note(type(error).__name__)
        raise


@tool(estimate=fine)
def stuck() -> int:
    import threading
    threading.Event().wait()
    return 1


@tool(estimate=fine)
def leaves() -> int:
    raise SystemExit("I am off")


@tool(estimate=fine)
def quick() -> int:
    note("quick")
    return 1
"""


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("endless", ["ended"]),
        ("stubborn", ["CallStoppedError"] * 3),
        ("polite", ["in_order"]),
        ("charging", ["StepFailedError"]),
    ],
)
def test_a_tool_whose_time_is_over_has_ended_when_its_step_has(
    run: Any, bench: Any, name: str, ends: list[str]
) -> None:
    result = run(f"- {{id: one, use: t.{name}, timeout: 0.1}}", tools=LOOPS)
    assert bench.calls == ends
    assert (result.status, result.error.kind) == ("failed", "StepTimeout")
    assert envelopes(result)["one"].warnings == []
    tokens = 10 if name in ("endless", "charging") else 0  # what it used is not known: so all of its hold
    assert (result.usage.spent.tokens, result.usage.held.tokens) == (tokens, 0)


def test_a_tool_in_native_code_is_given_up_after_a_while_and_the_record_says_so(bench: Any) -> None:
    bench.write("- {id: one, use: t.stuck, timeout: 0.05, retry: {attempts: 2, backoff: 0}}", tools=LOOPS)
    flow = bench.open()
    flow.workshop.workers = Workers(threads=Threads(ask_s=0.01, stop_s=0.1))
    result = flow.run("work")
    assert (result.status, result.error.kind) == ("failed", "StepTimeout")
    warnings = envelopes(result)["one"].warnings
    assert len(warnings) == 2
    assert warnings[0].startswith("'t.stuck' did not end within 0.")
    assert warnings[0].endswith(
        "its thread is lost, and works on. Let it look at `call.stopped`, or give it isolation='process'."
    )


MAIN = """
import sys
from agentflow.execution.threads import Threads
from agentflow.execution.workers import Workers
from agentflow.sdk import Agentflow

with Agentflow.open(sys.argv[1]) as flow:
    flow.workshop.workers = Workers(threads=Threads(ask_s=0.01, stop_s=0.1))
    print(flow.run("work").status)
"""


def test_lost_threads_hold_up_neither_other_tools_nor_the_end_of_the_program(bench: Any) -> None:
    bench.write(
        "- {id: each, foreach: {in: inputs.lost, as: n, max_parallel: 40}, use: t.stuck, timeout: 0.05}\n"
        "- {id: after, use: t.quick}",
        head="inputs: {lost: {type: array, default: []}}\n",
        tools=LOOPS,
    )
    main = MAIN.replace("flow.run(", "flow.run('work', lost=list(range(40))).status, flow.run(")
    done = subprocess.run(
        [sys.executable, "-c", main, str(bench.root)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "failed succeeded\n", "")
    assert bench.calls == ["quick"]


def test_a_tool_that_leaves_the_program_fails_its_step_alone(run: Any) -> None:
    result = run("- {id: one, use: t.leaves}", tools=LOOPS)
    assert str(result.error) == "step 'one' failed: RuntimeError: SystemExit: I am off"


def test_as_many_tools_run_at_once_as_the_step_says(run: Any) -> None:
    items = "[" + ", ".join(str(n) for n in range(40)) + "]"
    result = run(
        f'- {{id: each, foreach: {{in: "{items}", as: n, max_parallel: 40}}, use: t.meet, '
        'with: {n: "${{ n }}"}}',
        tools="""
        import threading
        ALL = threading.Barrier(40, timeout=60)

        @tool(estimate=fine)
        def meet(n: int) -> int:
            ALL.wait()
            return n
        """,
    )
    assert_status(result, "succeeded")
    assert [item["output"] for item in result.steps["each"]["results"]] == list(range(40))


def test_an_interruption_that_comes_late_hits_no_other_function() -> None:
    threads = Threads(ask_s=0.0)

    async def many() -> list[int]:
        for turn in range(300):
            at_work = asyncio.Event()
            loop = asyncio.get_running_loop()

            def short(turn: int = turn, begun: Any = at_work.set, loop: Any = loop) -> int:
                loop.call_soon_threadsafe(begun)
                return sum(range(turn * 20))

            task = asyncio.ensure_future(threads.run(short))
            await at_work.wait()
            task.cancel()
            await asyncio.wait({task})
        return [await threads.run(lambda n=n: n) for n in range(50)]

    assert asyncio.run(many()) == list(range(50))
    threads.close()


# Slots

OCCUPY = """
@tool(estimate=fine, resource="gpu:0")
def train(name: str) -> str:
    note(f"{name}:begins")
    try:
        while name == "a" and LOG.read_text().count("a:begins") == 1:
            pass  # the first time, until it is stopped
    finally:
        note(f"{name}:ends")
    return name
"""


def test_a_slot_is_not_given_on_before_the_call_that_had_it_has_really_ended(run: Any, bench: Any) -> None:
    result = run(
        "- id: each\n"
        "  foreach: {in: \"['a', 'b']\", as: n, max_parallel: 2, on_error: collect}\n"
        '  use: t.train\n  with: {name: "${{ n }}"}\n  timeout: 0.3\n  retry: {attempts: 20, backoff: 0}\n',
        tools=OCCUPY,
    )
    assert_status(result, "succeeded")
    ends = [call.split(":") for call in bench.calls]
    assert [word for _, word in ends] == ["begins", "ends"] * (len(ends) // 2)
    assert all(ends[i][0] == ends[i + 1][0] for i in range(0, len(ends), 2))
    assert ends[0] == ["a", "begins"]
    assert {name for name, _ in ends} == {"a", "b"}


def test_a_resource_has_one_slot_for_all_runs_of_a_program(bench: Any) -> None:
    bench.write(
        '- {id: one, use: t.alone, with: {name: "${{ run.id }}"}}',
        tools="""
        waiting = None

        @tool(estimate=fine, resource="gpu:0")
        def alone(name: str, *, call: Call) -> str:
            note("begins")
            while len(LOG.read_text().split()) == 1 and not waiting() and not call.stopped:
                pass  # until the other run wants the slot
            note("ends")
            return name
        """,
    )
    flow = bench.open()
    slots = flow.workshop.workers.slots
    tool_globals = flow.project.registry.tools.get("t.alone").call.__globals__
    tool_globals["waiting"] = lambda: slots.waiting("gpu:0")
    results: list[Any] = []
    runs = [threading.Thread(target=lambda: results.append(flow.run("work"))) for _ in range(2)]
    for each in runs:  # two threads, so two event loops
        each.start()
    for each in runs:
        each.join(timeout=60)
    assert [result.status for result in results] == ["succeeded"] * 2
    assert bench.calls == ["begins", "ends"] * 2


def test_who_asks_first_for_a_slot_gets_it_first_and_who_gives_up_waiting_takes_none() -> None:
    slots, order = Slots({"gpu:0": 2}), []

    async def occupy(name: str, done: asyncio.Event) -> None:
        async with slots.hold("gpu:0"):
            order.append(name)
            await done.wait()

    async def through() -> None:
        done = {name: asyncio.Event() for name in "abcde"}
        tasks = {}
        for name in "abcde":
            tasks[name] = asyncio.ensure_future(occupy(name, done[name]))
            await asyncio.sleep(0)
        assert (order, slots.waiting("gpu:0")) == (["a", "b"], 3)
        tasks["c"].cancel()  # while it waits
        await asyncio.wait({tasks["c"]})
        assert slots.waiting("gpu:0") == 2
        done["a"].set()
        await tasks["a"]
        tasks["d"].cancel()  # in the moment in which the slot is handed to it
        done["e"].set()
        await tasks["e"]
        done["b"].set()
        await tasks["b"]
        assert order == ["a", "b", "e"]
        async with slots.hold("gpu:0"), slots.hold("gpu:0"):
            assert slots.waiting("gpu:0") == 0  # both slots are back

    asyncio.run(through())


# Processes

APART = """
import os
import signal
from pydantic import BaseModel


class Point(BaseModel):
    x: float
    y: float


class OwnError(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} is not {b}")


@tool(estimate=lambda point, times=1: Amounts(tokens=10), isolation="process")
def measure(point: Point, times: int = 1, *, call: Call) -> dict[str, Any]:
    print("what a tool prints")
    call.meter.charge(Amounts(tokens=4))
    call.progress("measuring", 1, times)
    kept = call.artifacts.put(b"12", "text/plain", "n.txt")
    return {"point": Point(x=point.x * times, y=point.y), "pid": os.getpid(), "kept": kept, "seed": call.seed}


@tool(estimate=lambda kind: Amounts(tokens=10), isolation="process")
def fail(kind: str, *, call: Call) -> int:
    note(kind)
    call.meter.charge(Amounts(tokens=3))
    match kind:
        case "value":
            raise ValueError("not yet")
        case "file":
            open("/nowhere/at/all")
        case "own":
            raise OwnError(1, 2)
        case "input":
            from agentflow import InvalidInputError
            raise InvalidInputError("point", "3", "2")
        case "cap":
            call.meter.require(Amounts(tokens=8))
        case "exit":
            raise SystemExit(3)
        case "result":
            return lambda: 1


@tool(estimate=lambda how: Amounts(tokens=10), isolation="process")
def die(how: str) -> str:
    note(how)
    if len(LOG.read_text().split()) > 1:
        return "survived"
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, how))


@tool(estimate=lambda: Amounts(tokens=10), isolation="process")
def native(*, call: Call) -> int:
    call.progress(str(os.getpid()))
    return sum(range(10**15))  # a loop in C that keeps the interpreter to itself


@tool(estimate=fine, isolation="process")
def waits() -> int:
    import sys
    import threading
    print("at the gate", file=sys.stderr, flush=True)
    threading.Event().wait()
    return 1
"""


def test_a_tool_in_a_process_of_its_own_is_a_tool_like_any_other(bench: Any) -> None:
    bench.write(
        "- {id: one, use: t.measure, with: {point: {x: 1.5, y: 2}, times: 2}}\n"
        '- {id: two, use: t.measure, with: {point: "${{ steps.one.output.point }}"}}\n',
        tools=APART,
    )
    flow, events = bench.open(), []
    result = flow.run("work", seed=7, listener=events.append)
    assert_status(result, "succeeded")
    one, two = result.steps["one"]["output"], result.steps["two"]["output"]
    assert (one["point"], two["point"]) == ({"x": 3.0, "y": 2.0}, {"x": 3.0, "y": 2.0})
    assert one["pid"] == two["pid"] != os.getpid()
    assert (one["seed"], one["kept"]["type"]) == (7, "file")
    assert flow.workshop.artifacts.path(one["kept"]["artifact"]).read_bytes() == b"12"
    assert (result.usage.spent.tokens, result.usage.held.tokens) == (8, 0)
    assert [(e.text, e.done, e.total) for e in events if e.kind == "progress"] == [
        ("measuring", 1, 2),
        ("measuring", 1, 1),
    ]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("value", "StepFailed", "step 'one' failed: ValueError: not yet"),
        (
            "file",
            "StepFailed",
            "step 'one' failed: FileNotFoundError: [Errno 2] No such file or directory: '/no",
        ),
        ("own", "StepFailed", "step 'one' failed: OwnError: 1 is not 2"),
        ("input", "InvalidInput", "point: found 3; allowed: 2."),
        ("cap", "BudgetExceeded", "budget of run:"),
        ("exit", "StepFailed", "step 'one' failed: SystemExit: 3"),
        (
            "result",
            "InvalidInput",
            "the result of fail: found a function that cannot leave its process; allowed: JSON",
        ),
    ],
)
def test_what_a_tool_raises_in_its_process_is_what_its_step_fails_with(
    run: Any, bench: Any, kind: str, error: str, message: str
) -> None:
    result = run(
        f"- {{id: one, use: t.fail, with: {{kind: {kind}}}, retry: {{attempts: 2, backoff: 0}}}}", tools=APART
    )
    assert result.error.kind == error
    assert str(result.error).startswith(message)
    assert result.usage.spent.tokens == 3 * len(bench.calls)
    assert bench.calls == [kind] * (2 if kind == "file" else 1)  # a file may be there the next time


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("exit", "its process ended with exit status 3 before it answered"),
        ("SIGKILL", "its process was killed by SIGKILL before it answered"),
        ("SIGSEGV", "its process was killed by SIGSEGV before it answered"),
    ],
)
def test_a_process_that_dies_fails_the_attempt_and_the_next_gets_another(
    run: Any, bench: Any, how: str, message: str
) -> None:
    first = run(f"- {{id: one, use: t.die, with: {{how: {how}}}}}", tools=APART)
    assert str(first.error) == f"step 'one' failed: {message}"
    assert first.usage.spent.tokens == 10  # what it used is not known
    (bench.root / "calls.txt").unlink()
    again = run(
        f"- {{id: one, use: t.die, with: {{how: {how}}}, retry: {{attempts: 2, backoff: 0}}}}", tools=APART
    )
    assert (again.status, again.steps["one"]["output"]) == ("succeeded", "survived")


def test_native_code_that_does_not_return_is_killed_with_its_process(bench: Any) -> None:
    bench.write("- {id: one, use: t.native}", tools=APART)
    flow, said = bench.open(), []

    async def cancelled_at_work() -> None:
        loop, at_work = asyncio.get_running_loop(), asyncio.Event()

        def listen(event: Any) -> None:
            if event.kind == "progress":
                said.append(event.text)
                loop.call_soon_threadsafe(at_work.set)

        task = asyncio.ensure_future(flow.arun("work", listener=listen))
        await at_work.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(cancelled_at_work(), 60))
    with pytest.raises(ProcessLookupError):
        os.kill(int(said[0]), 0)
    (record,) = flow.runs()
    (step,) = [s for s in flow.workshop.store.steps(record.id) if s.path == "one"]
    assert (step.envelope.status, step.envelope.warnings) == ("cancelled", [])
    assert step.envelope.usage.tokens == 10  # what it used is not known: so all of its hold


def test_a_process_is_killed_at_a_timeout_and_the_next_call_gets_another(bench: Any) -> None:
    bench.write(
        "- {id: one, if: inputs.hang, use: t.hang, timeout: 1}\n- {id: two, use: t.answer}",
        head="inputs: {hang: {type: boolean}}\n",
        tools=APART
        + """
@tool(estimate=fine, isolation="process")
def hang() -> int:
    os.kill(os.getpid(), signal.SIGSTOP)  # it does nothing more, not even end


@tool(estimate=fine, isolation="process")
def answer() -> int:
    return os.getpid()
""",
    )
    hung = bench.run(hang=True)
    assert_status(hung, "failed", one="failed")
    assert hung.error.kind == "StepTimeout"
    assert_booked_once(hung)
    assert_status(bench.run(hang=False), "succeeded", two="ok")


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_worker_process_ends_with_the_program_that_began_it(bench: Any, ending: int) -> None:
    bench.write("- {id: one, use: t.waits}", tools=APART)
    begun = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(bench.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert begun.stderr is not None
    assert begun.stderr.readline() == "at the gate\n"
    begun.send_signal(ending)
    begun.communicate(timeout=60)  # the worker holds the pipe too: it is read to its end when both have ended


def test_what_cannot_run_in_another_process_is_refused_where_it_is_written(tmp_path: Path) -> None:
    def plain(*, world: Any) -> int:
        return 1

    async def waits(*, call: Call) -> int:
        return 1

    def inner() -> int:
        return 1

    for function, message in (
        (plain, "@tool plain: isolation: found 'process' with the parameter 'world'; allowed: 'call' alone"),
        (waits, "@tool waits: isolation: found 'process' for an async function"),
        (inner, "@tool inner: isolation: found 'process' for a function within test_what"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            tool(estimate=Amounts, isolation="process")(function)
    with pytest.raises(InvalidInputError, match="isolation: found 'fork'; allowed: thread, process"):
        tool(estimate=Amounts, isolation="fork")(inner)  # type: ignore[arg-type]


def test_waiting_for_a_resource_does_not_use_up_a_steps_own_time(run: Any, bench: Any) -> None:
    result = run(
        "- id: each\n  foreach: {in: '[1, 2, 3]', as: n, max_parallel: 3}\n  use: t.long\n"
        '  with: {n: "${{ n }}"}\n  timeout: 1.0\n',
        tools="""
@tool(estimate=fine, resource="gpu:0")
async def long(n: int) -> dict[str, Any]:
    note(f"begins:{n}")
    await asyncio.sleep(0.4)
    note(f"ends:{n}")
    return {"n": n}
""",
    )
    assert result.status == "succeeded", result.error
    assert bench.calls == ["begins:1", "ends:1", "begins:2", "ends:2", "begins:3", "ends:3"]
