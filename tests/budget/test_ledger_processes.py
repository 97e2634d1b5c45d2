"""The ledger with many real processes on one file, and with processes that are killed.

Run as a program, this file is one of the processes.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from agentflow.budget.ledger import Ledger
from agentflow.core.amounts import Amounts
from agentflow.core.errors import BudgetExceededError
from agentflow.store.store import Store

ROUNDS = 10
OPERATIONS_PER_ROUND = 5
KILLS = 40


def spend(ledger: Ledger, scope: str, folder: Path, name: str, operations: int, progress: int) -> int:
    """Reserve, use, settle; what was really used is in a file before it is settled. Return the refusals."""
    rng = random.Random(name)
    refused = 0
    with (folder / f"real-{name}").open("ab", buffering=0) as real:
        for number in range(operations):
            asked = Amounts(tokens=rng.randint(1, 20), gpu_ms=rng.randint(0, 20))
            try:
                hold = ledger.reserve(scope, asked, f"{name}-{number}")
            except BudgetExceededError:
                refused += 1
                os.write(progress, b"-")
                continue
            used = Amounts(tokens=rng.randint(0, asked.tokens), gpu_ms=rng.randint(0, asked.gpu_ms))
            real.write(f"{used.tokens} {used.gpu_ms}\n".encode())
            os.write(progress, b".")
            ledger.settle(hold, used)
    return refused


def take_part(folder: Path, url: str | None, name: str) -> None:
    """Be one of many: open a run's scope; at each word spend for a round and say how often it was refused."""
    store = Store.open(folder, url)
    ledger = Ledger(store)
    ledger.open_scope(f"run-{name}", Amounts.unlimited(), "project")
    print("ready", flush=True)
    with open(os.devnull, "wb") as nowhere:
        for _ in range(ROUNDS):
            word = sys.stdin.readline().strip()
            label, operations = f"{name}-{word}", OPERATIONS_PER_ROUND
            print(spend(ledger, f"run-{name}", folder, label, operations, nowhere.fileno()), flush=True)
    store.close()


def kill_one_after_another(folder: Path, url: str | None, seed: int) -> None:
    """Start one spending process after another and kill each at a random moment of its work."""
    rng = random.Random(seed)
    for number in range(KILLS):
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(readable)
            spend(Ledger(Store.open(folder, url)), "project", folder, f"killed-{number}", 500, writable)
            os._exit(1)
        os.close(writable)
        for _ in range(rng.randint(1, 12)):
            assert os.read(readable, 1)
        for _ in range(rng.randint(0, 20_000)):
            pass  # some part of a millisecond: into the middle of a settlement or of the next hold
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(readable)


def really_used(folder: Path) -> Amounts:
    total = Amounts()
    for file in folder.glob("real-*"):
        for line in file.read_text().splitlines():
            tokens, gpu_ms = map(int, line.split())
            total = total.plus(Amounts(tokens=tokens, gpu_ms=gpu_ms))
    return total


def query(store: Store, sql: str) -> list[tuple[object, ...]]:
    with store.database.read() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def open_project(folder: Path, url: str | None, caps: Amounts) -> tuple[Store, Ledger]:
    store = Store.open(folder, url)
    ledger = Ledger(store)
    ledger.open_scope("project", caps)
    return store, ledger


def test_many_processes_share_one_cap_and_never_pass_it(tmp_path: Path, store_url: str | None) -> None:
    caps = Amounts(tokens=600, gpu_ms=100_000)
    store, ledger = open_project(tmp_path, store_url, caps)
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, "take part", str(tmp_path), store_url or "", f"w{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    refused = 0
    for number in range(ROUNDS):
        for worker in workers:
            worker.stdin.write(f"{number}\n")
            worker.stdin.flush()
        refused += sum(int(worker.stdout.readline()) for worker in workers)
    for worker in workers:
        worker.communicate(timeout=120)
    usage = ledger.usage("project")
    per_run = [ledger.usage(f"run-w{number}") for number in range(4)]
    owners = [owner for (owner,) in query(store, "SELECT owner FROM ledger_holds ORDER BY taken_ms, id")]
    highest = max(row[0] for row in query(store, "SELECT held_tokens + spent_tokens FROM ledger_scopes"))
    store.close()

    assert [worker.returncode for worker in workers] == [0] * 4
    assert usage.held == Amounts()
    assert really_used(tmp_path) == usage.spent
    assert usage.spent.first_above(caps) is None
    assert sum(run.spent.tokens for run in per_run) == usage.spent.tokens
    # The cap was reached (no hold of 20 fits any more), and holds of all processes lie between one another.
    assert caps.tokens - usage.spent.tokens < 20
    assert refused > 0
    assert sum(before != after for before, after in itertools.pairwise(owners)) > len(workers)
    assert highest <= caps.tokens


def test_processes_killed_at_random_moments_leave_real_within_booked_within_cap(
    tmp_path: Path, store_url: str | None
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    caps = Amounts(tokens=2500, gpu_ms=100_000)
    store, ledger = open_project(tmp_path, store_url, caps)
    # A program of its own, so that what is forked has one thread.
    killing = [sys.executable, __file__, "kill", str(tmp_path), store_url or "", str(seed)]
    subprocess.run(killing, check=True, timeout=120)

    before = ledger.usage("project")
    assert before.held.plus(before.spent).first_above(caps) is None
    assert really_used(tmp_path).first_above(before.held.plus(before.spent)) is None
    lost = ledger.recover("project")
    after = ledger.usage("project")
    assert after.held == Amounts()
    assert after.spent == before.spent.plus(before.held)
    assert 0 < len(lost) <= KILLS
    with open(os.devnull, "wb") as nowhere:
        refused = spend(ledger, "project", tmp_path, "last", 1000, nowhere.fileno())
    booked = ledger.usage("project").spent
    if store_url is None:
        assert query(store, "PRAGMA integrity_check") == [("ok",)]
    store.close()

    assert refused > 0
    assert really_used(tmp_path).first_above(booked) is None
    assert booked.first_above(caps) is None
    assert caps.tokens - booked.tokens < 20


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["take part", folder, url, name]:
            take_part(Path(folder), url or None, name)
        case ["kill", folder, url, seed]:
            kill_one_after_another(Path(folder), url or None, int(seed))
