"""The store: what is written reads back; what belongs together is written together or not at all."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, StepFailedError, StorageError, UnknownNameError
from agentflow.core.records import (
    Artifact,
    Envelope,
    GuardAction,
    GuardRecord,
    RunStatus,
    Score,
    ScoreRecord,
    StepStatus,
    VerdictType,
)
from agentflow.store.store import Store, now_ms, step_key

VIDEO = Artifact(digest="a" * 64, media_type="video/mp4", bytes=7, name="plan.mp4", meta={"frames": 30})

ENVELOPE = Envelope(
    status=StepStatus.DEGRADED,
    output={"distance_m": 0.012, "video": VIDEO.uri, "words": "größer"},
    usage=Amounts(tokens=10, gpu_ms=30),
    attempts=2,
    verdicts=[
        GuardRecord(
            guardrail="keep_out",
            hook="action",
            step="simulate",
            verdict=VerdictType.DENY,
            action=GuardAction.DEGRADE,
            reason="too near the glass",
            evidence={"margin_m": 0.01},
        ),
        GuardRecord(
            guardrail="trusted_horizon",
            hook="predicted_state",
            step="simulate",
            verdict=VerdictType.ALLOW,
            action=GuardAction.ALLOW,
        ),
    ],
    scores=[
        ScoreRecord(scorer="goal", step="simulate", score=Score(value=0.012, low=0.01, high=0.02), unit="m")
    ],
    artifacts=[VIDEO],
    rungs=["fewer candidates"],
)


def record(
    store: Store, *, run: str = "r1", path: str = "simulate", iteration: str = "", envelope=ENVELOPE
) -> bool:
    return store.record_step(run, path, iteration, "d1", envelope, started_ms=now_ms())


def test_a_run_reads_back_as_it_was_written(store: Store) -> None:
    store.create_run("r1", "plan_push", "d0", {"goal": "push"}, seed=7, trace_path="runs/r1/trace.jsonl")
    begun = store.get_run("r1")
    store.finish_run(
        "r1", RunStatus.SUCCEEDED, outputs={"video": VIDEO.uri}, manifest={"asked": ["keep_out"]}
    )
    ended = store.get_run("r1")

    assert (begun.status, begun.ended, begun.inputs, begun.seed) == (
        RunStatus.RUNNING,
        None,
        {"goal": "push"},
        7,
    )
    assert ended.ended is not None
    assert ended.model_dump() == begun.model_dump() | {
        "status": RunStatus.SUCCEEDED,
        "ended": ended.ended,
        "outputs": {"video": VIDEO.uri},
        "manifest": {"asked": ["keep_out"]},
    }


def test_a_failed_run_says_how_it_ended(store: Store) -> None:
    store.create_run("r1", "plan_push", "d0", {})
    store.mark_run("r1", RunStatus.WAITING)
    waiting = store.get_run("r1").status
    store.finish_run("r1", RunStatus.FAILED, error=StepFailedError("simulate", ValueError("no such block")))
    run = store.get_run("r1")

    assert waiting is RunStatus.WAITING
    assert (run.status, run.error_kind) == (RunStatus.FAILED, "StepFailed")
    assert run.error == "step 'simulate' failed: ValueError: no such block"


def test_a_run_that_is_refused_for_a_nan_is_still_written(store: Store) -> None:
    store.create_run("r1", "plan_push", "d0", {"start": [math.nan, 1.0]})
    assert math.isnan(store.get_run("r1").inputs["start"][0])


def test_a_run_id_is_taken_once(store: Store) -> None:
    store.create_run("r1", "plan_push", "d0", {})
    with pytest.raises(InvalidInputError, match="'r1', which is taken"):
        store.create_run("r1", "other", "d0", {})
    assert store.get_run("r1").workflow == "plan_push"


def test_an_unknown_run_is_an_error_that_lists_the_known_ones(store: Store) -> None:
    store.create_run("run-1", "plan_push", "d0", {})
    with pytest.raises(UnknownNameError, match="Did you mean 'run-1'"):
        store.get_run("run-2")
    with pytest.raises(UnknownNameError):
        store.finish_run("run-2", RunStatus.FAILED)


def test_runs_are_listed_newest_first_and_by_workflow(store: Store) -> None:
    for number in range(4):
        store.create_run(f"r{number}", "odd" if number % 2 else "even", "d0", {})
    assert [run.id for run in store.list_runs(limit=3)] == ["r3", "r2", "r1"]
    assert [run.id for run in store.list_runs(workflow="even")] == ["r2", "r0"]


def test_a_finished_step_is_found_by_its_key_with_all_that_it_brought(store: Store) -> None:
    store.create_run("r1", "plan_push", "d0", {})
    assert store.find_step(step_key("r1", "simulate", "", "d1")) is None
    assert record(store)

    assert store.find_step(step_key("r1", "simulate", "", "d1")) == ENVELOPE
    assert store.verdicts("r1") == ENVELOPE.verdicts
    assert store.scores("r1") == ENVELOPE.scores
    assert store.artifacts("r1") == [VIDEO]
    (step,) = store.steps("r1")
    assert (step.path, step.iteration, step.envelope) == ("simulate", "", ENVELOPE)


def test_the_first_writer_of_a_step_wins(store: Store) -> None:
    assert record(store)
    assert not record(store, envelope=Envelope(status=StepStatus.FAILED, verdicts=ENVELOPE.verdicts))
    assert store.find_step(step_key("r1", "simulate", "", "d1")) == ENVELOPE
    assert store.verdicts("r1") == ENVELOPE.verdicts


@pytest.mark.parametrize(
    "other", [("r2", "p", "0", "d"), ("r", "p2", "0", "d"), ("r", "p", "1", "d"), ("r", "p", "0", "e")]
)
def test_a_step_in_another_run_place_pass_or_with_other_inputs_is_another_step(
    other: tuple[str, ...],
) -> None:
    assert step_key("r", "p", "0", "d") != step_key(*other)


def test_an_artifact_of_two_steps_and_runs_is_kept_once_and_listed_for_each(store: Store) -> None:
    record(store)
    record(store, path="render")
    record(store, run="r2")
    store.add_artifact("r2", VIDEO.model_copy(update={"name": "report.mp4", "meta": {}}))
    assert store.artifacts("r1") == [VIDEO, VIDEO]
    assert sorted(artifact.name for artifact in store.artifacts("r2")) == ["plan.mp4", "report.mp4"]


def test_what_shares_a_transaction_is_written_together_or_not_at_all(store: Store) -> None:
    def two_steps_then_a_crash() -> None:
        with store.transaction() as transaction:
            for path in ("plan", "simulate"):
                store.record_step("r1", path, "", "d", ENVELOPE, started_ms=0, transaction=transaction)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two_steps_then_a_crash()
    assert (store.steps("r1"), store.verdicts("r1"), store.artifacts("r1")) == ([], [], [])


def test_records_outlive_the_process_that_wrote_them(tmp_path: Path, store_url: str | None) -> None:
    with_kill = """
import os, signal, sys
from pathlib import Path
from agentflow.core.records import Envelope, StepStatus
from agentflow.store.store import Store
store = Store.open(Path(sys.argv[1]), sys.argv[2] or None)
store.create_run("r1", "w", "d", {})
store.record_step("r1", "plan", "", "d", Envelope(status=StepStatus.OK, output=1), started_ms=0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", with_kill, str(tmp_path), store_url or ""]
    ended = subprocess.run(command, check=False, timeout=60)
    store = Store.open(tmp_path, store_url)
    assert ended.returncode == -9
    assert [step.envelope.output for step in store.steps("r1")] == [1]
    store.close()


def test_many_processes_open_a_fresh_file_at_once(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from agentflow.store.store import Store
failed = 0
for turn in range(25):
    readable, writable = os.pipe()
    children = []
    for number in range(5):
        child = os.fork()
        if child == 0:
            os.close(writable)
            os.read(readable, 1)  # returns for all at once, when the parent closes its end
            store = Store.open(Path(sys.argv[1]) / str(turn))
            store.create_run(f"r{number}", "w", "d", {})
            os._exit(0)
        children.append(child)
    os.close(writable)
    failed += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    os.close(readable)
    store = Store.open(Path(sys.argv[1]) / str(turn))
    failed += len(store.list_runs()) != 5
    store.close()
print(failed)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("0\n", "")


def test_a_corrupt_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "agentflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match=r"agentflow\.db: file is not a database"):
        Store.open(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file/agentflow\.db"):
        Store.open(tmp_path / "file")


def test_a_database_that_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "agentflow.db").mkdir()
    with pytest.raises(StorageError, match=r"agentflow\.db: unable to open database file"):
        Store.open(tmp_path)


def test_a_locked_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path, busy_ms=1)
    other = sqlite3.connect(tmp_path / "agentflow.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"agentflow\.db: database is locked"):
        store.create_run("r1", "w", "d", {})
    other.execute("ROLLBACK")
    other.close()
    store.create_run("r1", "w", "d", {})
    store.close()


def test_a_transaction_inside_a_transaction_is_an_error_and_no_deadlock(store: Store) -> None:
    with (
        store.transaction(),
        pytest.raises(StorageError, match="another transaction of this process is open"),
    ):
        store.create_run("r1", "w", "d", {})
    store.create_run("r2", "w", "d", {})
    assert [run.id for run in store.list_runs()] == ["r2"]


def test_a_disk_that_fills_up_is_an_error_and_loses_nothing_that_was_written(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from agentflow.core.errors import StorageError
from agentflow.core.records import Envelope, StepStatus
from agentflow.store.store import Store
store = Store.open(Path(sys.argv[1]))
store.record_step("r1", "small", "", "d", Envelope(status=StepStatus.OK), started_ms=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
big = Envelope(status=StepStatus.OK, output="x" * 3_000_000)
try:
    store.record_step("r1", "big", "", "d", big, started_ms=0)
except StorageError as error:
    print(error)
print([step.path for step in store.steps("r1")])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60, capture_output=True, text=True
    )
    message, steps = ended.stdout.splitlines()
    assert str(tmp_path / "agentflow.db") in message
    assert steps == "['small']"
