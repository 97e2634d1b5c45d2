"""The trace file: whole lines as spans end, readable after a crash, and never a reason to fail."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from agentflow.core.records import Score, ScoreRecord
from agentflow.tracing.read import Trace, last_span, read_trace
from agentflow.tracing.tracer import start_tracing


def names_in(path: Path) -> list[str]:
    return [span.name for span in read_trace(path).walk()]


def test_a_span_is_in_the_file_when_it_has_ended(tmp_path: Path) -> None:
    tracer = start_tracing("r", tmp_path)
    with tracer.run("w"):
        with tracer.step("s", kind="use"):
            pass
        assert names_in(tracer.path) == ["step s"]
    assert names_in(tracer.path) == ["invoke_workflow w", "step s"]
    tracer.close()


def test_what_had_ended_before_a_crash_is_read_back(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from agentflow.tracing.tracer import start_tracing
tracer = start_tracing("r", Path(sys.argv[1]))
with tracer.run("w"):
    with tracer.step("done", kind="use"), tracer.settle("b"):
        pass
    with tracer.step("open", kind="use"):
        os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    trace = read_trace(tmp_path / "trace.jsonl")
    assert ended.returncode == -signal.SIGKILL
    assert [(root.name, [child.name for child in root.children]) for root in trace.roots] == [
        ("step done", ["budget.settle"])
    ]


def test_a_torn_last_line_is_skipped_and_what_is_written_after_it_is_whole(tmp_path: Path) -> None:
    first = start_tracing("r", tmp_path)
    for step in ("a", "b"):
        with first.step(step, kind="use"):
            pass
    first.close()
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:-30])
    torn = read_trace(first.path)
    second = start_tracing("r", tmp_path)
    with second.step("c", kind="use"):
        pass
    second.close()

    assert ([span.name for span in torn.walk()], torn.unreadable_lines) == (["step a"], 1)
    assert names_in(first.path) == ["step a", "step c"]
    assert read_trace(first.path).unreadable_lines == 1


def test_a_trace_file_that_is_not_there_is_an_empty_trace(tmp_path: Path) -> None:
    assert read_trace(tmp_path / "none.jsonl") == Trace([])


def test_lines_that_are_no_spans_are_counted_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b'[1]\n\n"x"\n{"type":"span"}\n{}\n\xff\xfe\n{"type":"event"}\n')
    trace = read_trace(path)
    assert (trace.roots, trace.unreadable_lines) == ([], 5)


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    tracer = start_tracing("r", tmp_path)
    together = threading.Barrier(4)

    def write() -> None:
        together.wait(timeout=30)
        for number in range(50):
            with tracer.step(f"s{number}", kind="use"):
                pass

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    tracer.close()
    trace = read_trace(tracer.path)
    assert (len(trace.roots), trace.unreadable_lines) == (200, 0)


def test_a_trace_that_cannot_be_opened_fails_no_run_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tracer = start_tracing("r", tmp_path / "file")
    with tracer.run("w"):
        pass
    tracer.close()
    (problem,) = tracer.problems
    assert str(tmp_path / "file" / "trace.jsonl") in problem


def test_a_full_disk_fails_no_run_and_says_so(tmp_path: Path) -> None:
    tracer = start_tracing("r", tmp_path)
    with tracer.run("before"):
        pass
    size = tracer.path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        for name in ("during", "after"):
            with tracer.run(name):
                pass
        tracer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(tracer.problems) == 1
    assert str(tracer.path) in tracer.problems[0]
    assert names_in(tracer.path) == ["invoke_workflow before"]
    assert read_trace(tracer.path).unreadable_lines == 1


def test_text_that_cannot_be_encoded_is_written_without_what_cannot(tmp_path: Path) -> None:
    tracer = start_tracing("r", tmp_path, capture=True)
    with tracer.step("s", kind="use", inputs="half a pair \ud800 ü") as span:
        span.set({"nan": float("nan")})
    tracer.close()
    (span,) = read_trace(tracer.path).roots
    assert (span.attributes["input.value"], span.attributes["nan"]) == ("half a pair ? ü", "nan")
    assert tracer.problems == ()


def test_a_run_that_goes_on_is_linked_to_the_span_that_ended_last(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    assert last_span(path) is None
    first = start_tracing("r", tmp_path)
    with first.run("w") as run:
        with first.step("s", kind="use") as step:
            before = last_span(path)
            with first.evaluate("goal") as measured:
                measured.score(ScoreRecord(scorer="goal", step="s", score=Score(value=0.5)))
        killed = last_span(path)
    first.close()
    path.write_bytes(path.read_bytes() + b'\n{"type":"span","trace_id":"no","span_id":7}\n{"type":"span","tr')
    second = start_tracing("r", tmp_path)
    ended = last_span(path)
    with second.run("w", resumed_from=ended):
        pass
    second.close()

    assert before is None
    assert killed == (run.trace_id, step.span_id)
    assert ended == (run.trace_id, run.span_id)
    again = read_trace(path).roots[-1]
    assert again.links == [{"trace_id": run.trace_id, "span_id": run.span_id}]
    assert again.trace_id != run.trace_id
    assert again.attributes["agentflow.run.resumed"] is True


def test_the_last_span_is_found_behind_lines_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    tracer = start_tracing("r", tmp_path, capture=True)
    with tracer.step("s", kind="use") as step:
        step.set({f"a{number}": "ü" * 8_000 for number in range(20)})
    tracer.close()
    with tracer.path.open("ab") as file:
        file.write(b"\n" * 70_000 + b'{"type":"event"}\n' * 10_000)
    assert last_span(tracer.path) == (step.trace_id, step.span_id)


def test_ids_differ_after_a_fork(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from agentflow.tracing.tracer import start_tracing
tracer = start_tracing("r", Path(sys.argv[1]))
child = os.fork()
for number in range(3):
    with tracer.run("w"):
        pass
if child:
    os.waitpid(child, 0)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    spans = read_trace(tmp_path / "trace.jsonl").roots
    assert len(spans) == len({span.span_id for span in spans}) == len({span.trace_id for span in spans}) == 6


class Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no words")


def test_nothing_that_is_said_fails_the_work(tmp_path: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    tracer = start_tracing("r", tmp_path, capture=True)
    with tracer.step("s", kind="use", inputs=Unspeakable()) as span:
        span.output(loop)
        span.set({"huge": 2**64, "endless": 10**5_000, "keys": {(1, 2): 3}, "seven": np.float64(7.5)})
        span.set({"texts": ["a", "b \ud800"], "small": -(2**63)})
    with tracer.step("t", kind="use") as span:
        span.fail("Bad", "half a pair \udfff")
    tracer.close()
    first, second = read_trace(tracer.path).roots
    said = {name: value for name, value in first.attributes.items() if "." not in name}
    assert first.attributes["input.value"] == "[Unspeakable without a text: ValueError]"
    assert first.attributes["output.value"] == "[list without a text: ValueError]"
    assert said == {
        "huge": str(2**64),
        "endless": "[int without a text: ValueError]",
        "keys": "[dict without a text: TypeError]",
        "seven": 7.5,
        "texts": ["a", "b ?"],
        "small": -(2**63),
    }
    assert second.status_message == "half a pair ?"
    assert tracer.problems == ()


def test_ids_differ_though_a_run_seeds_python(tmp_path: Path) -> None:
    seen = set()
    for number in range(3):
        random.seed(7)
        before = random.getstate()
        tracer = start_tracing("run-1", tmp_path / str(number))
        with tracer.run("w") as root:
            seen |= {root.trace_id, root.span_id}
        tracer.close()
        assert random.getstate() == before
    assert len(seen) == 6
