"""What is particular to a PostgreSQL server: addresses, passwords, waiting, and transactions in each other's way."""

from __future__ import annotations

import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection

from agentflow.budget.ledger import Ledger
from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, StorageError
from agentflow.core.records import Envelope, RunStatus, StepStatus
from agentflow.store.store import Store

PASSWORD = "geheim-4711"  # noqa: S105 -- of nobody
PATIENCE_S = 30


@pytest.fixture
def on_server(tmp_path: Path, postgresql_url: str) -> Iterator[Store]:
    opened = Store.open(tmp_path, postgresql_url)
    yield opened
    opened.close()


def lock(connection: Connection, run_id: str) -> None:
    connection.exec_driver_sql(f"UPDATE runs SET seed = seed + 1 WHERE id = '{run_id}'")  # noqa: S608


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_form_of_an_address_is_taken(tmp_path: Path, postgresql_url: str, scheme: str) -> None:
    store = Store.open(tmp_path, postgresql_url.replace("postgresql:", f"{scheme}:", 1))
    store.create_run("r1", "w", "d", {})
    assert store.get_run("r1").workflow == "w"
    assert list(tmp_path.iterdir()) == []
    store.close()


def test_a_server_that_is_not_there_is_an_error_that_names_it_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=r"postgresql://127\.0\.0\.1:1/flows: .*refused.*Check that the server runs"
    ) as refused:
        Store.open(tmp_path, f"postgresql://ada:{PASSWORD}@127.0.0.1:1/flows")
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (f"mysql://ada:{PASSWORD}@host/flows", "'mysql://…'"),
        (f"postgresql+asyncpg://ada:{PASSWORD}@host/flows", r"'postgresql\+asyncpg://…'"),
        (f"ada:{PASSWORD}@host", "one that cannot be read"),
        ("", "one that cannot be read"),
        (f"postgresql://ada:{PASSWORD}@host:port/flows", "one that cannot be read"),
    ],
)
def test_an_address_of_something_else_is_refused_without_the_password(
    tmp_path: Path, url: str, found: str
) -> None:
    with pytest.raises(InvalidInputError, match=found) as refused:
        Store.open(tmp_path, url)
    assert "postgresql://user:password@host:port/database" in str(refused.value)
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


def test_what_the_server_says_is_told_without_the_password(
    tmp_path: Path, postgresql_url: str, postgresql_server: str
) -> None:
    host = postgresql_server.split("@", 1)[1]
    address = f"postgresql://{PASSWORD}:{PASSWORD}@{host}"
    with pytest.raises(StorageError, match=r'role "\*\*\*" does not exist') as refused:
        Store.open(tmp_path, address)
    assert PASSWORD not in str(refused.value)
    store = Store.open(tmp_path, postgresql_url)
    assert "postgres:" not in repr(store.database).removeprefix("PostgresqlServer('postgresql:")
    store.close()


def test_many_processes_bring_up_an_empty_database_at_once(tmp_path: Path, postgresql_url: str) -> None:
    program = """
import sys
from pathlib import Path
from agentflow.store.store import Store
print("ready", flush=True)
sys.stdin.readline()
Store.open(Path(sys.argv[1]), sys.argv[2]).create_run(sys.argv[3], "w", "d", {})
"""
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), postgresql_url, f"r{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    assert [opener.stdout.readline() for opener in openers] == ["ready\n"] * 4
    for opener in openers:
        opener.stdin.write("\n")
        opener.stdin.flush()
    for opener in openers:
        opener.communicate(timeout=PATIENCE_S)
    assert [opener.returncode for opener in openers] == [0] * 4
    store = Store.open(tmp_path, postgresql_url)
    assert sorted(run.id for run in store.list_runs()) == ["r0", "r1", "r2", "r3"]
    store.close()


def test_a_deadlock_is_broken_and_both_transactions_are_done(on_server: Store) -> None:
    for name in ("a", "b"):
        on_server.create_run(name, "w", "d", {})
    met = threading.Barrier(2)
    attempts: list[str] = []

    def in_order(first: str, second: str) -> None:
        mine = 0

        def work(connection: Connection) -> None:
            nonlocal mine
            mine += 1
            attempts.append(first)
            lock(connection, first)
            if mine == 1:
                met.wait(PATIENCE_S)
            lock(connection, second)

        on_server.attempt(work)

    threads = [threading.Thread(target=in_order, args=order) for order in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert {"a", "b"} == set(attempts)
    assert len(attempts) > 2
    assert [on_server.get_run(name).seed for name in ("a", "b")] == [2, 2]


def test_a_transaction_of_its_callers_is_not_repeated_but_says_that_it_may_be(on_server: Store) -> None:
    for name in ("a", "b"):
        on_server.create_run(name, "w", "d", {})
    met = threading.Barrier(2)
    errors: list[StorageError] = []

    def in_order(first: str, second: str) -> None:
        try:
            with on_server.transaction() as connection:
                lock(connection, first)
                met.wait(PATIENCE_S)
                lock(connection, second)
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=in_order, args=order) for order in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    (error,) = errors
    assert error.passing
    assert "deadlock detected" in str(error)
    assert "Nothing of this transaction was written" in str(error)
    assert [on_server.get_run(name).seed for name in ("a", "b")] == [1, 1]


def test_a_row_that_stays_locked_is_an_error_that_names_the_server(
    on_server: Store, tmp_path: Path, postgresql_url: str
) -> None:
    on_server.create_run("r1", "w", "d", {}, claim=False)
    hurried = Store.open(tmp_path, postgresql_url, busy_ms=50)
    with on_server.transaction() as connection:
        lock(connection, "r1")
        with pytest.raises(StorageError, match=r"postgresql://.*lock timeout"):
            hurried.claim_run("r1")
    assert hurried.claim_run("r1").fence == 1
    hurried.close()


def test_a_server_that_dropped_its_connections_is_reached_again(
    on_server: Store, postgresql_server: str
) -> None:
    on_server.create_run("r1", "w", "d", {})
    with on_server.database.read() as one, on_server.database.read() as other:
        theirs = [each.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for each in (one, other)]
    drop = "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid"
    with psycopg.connect(postgresql_server) as server:
        assert server.execute(drop, [theirs]).fetchall() == [(True,), (True,)]
    on_server.finish_run("r1", RunStatus.SUCCEEDED)
    with psycopg.connect(postgresql_server) as server, on_server.database.read() as connection:
        mine = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        server.execute(drop, [[mine]])
    assert on_server.get_run("r1").status is RunStatus.SUCCEEDED


def test_statements_of_the_hot_path_stay_prepared_between_reads_and_transactions(on_server: Store) -> None:
    """The driver forgets all of them when a transaction is rolled back, so nothing that ends well may be."""
    on_server.create_run("r1", "w", "d", {}, claim=False)
    for _ in range(6):
        on_server.put_checkpoint("r1", "c", b"x")
        on_server.find_step("key")
        on_server.get_checkpoint("r1")
    with on_server.database.read() as connection:
        listed = connection.exec_driver_sql("SELECT statement FROM pg_prepared_statements").scalars().all()
    for part in ("INSERT INTO checkpoints", "SELECT steps.envelope", "SELECT checkpoints.checkpoint_id"):
        assert any(part in statement for statement in listed), (part, listed)


def test_bookings_of_several_scopes_in_one_transaction_never_wait_for_each_other(
    tmp_path: Path, postgresql_url: str
) -> None:
    """Each transaction books in two runs' scopes, half of them in the other order."""
    stores = [Store.open(tmp_path, postgresql_url) for _ in range(2)]
    ledgers = [Ledger(store) for store in stores]
    ledgers[0].open_scope("project", Amounts.unlimited())
    for name in ("a", "b"):
        ledgers[0].open_scope(name, Amounts.unlimited(), "project")
    start = threading.Barrier(2)
    failed: list[BaseException] = []

    def book(number: int) -> None:
        store, ledger, order = stores[number], ledgers[number], ("a", "b")[:: 1 - 2 * number]
        start.wait(PATIENCE_S)
        try:
            for turn in range(50):
                holds = [ledger.reserve(name, Amounts(tokens=2), f"{number}-{turn}-{name}") for name in order]
                with store.transaction() as transaction:
                    for hold in holds:
                        ledger.settle(hold, Amounts(tokens=1), transaction)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=book, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert failed == []
    assert ledgers[0].usage("project").spent == Amounts(tokens=200)
    assert ledgers[0].usage("project").held == Amounts()
    for store in stores:
        store.close()


def test_texts_that_the_server_cannot_hold_in_an_error_are_still_recorded(on_server: Store) -> None:
    on_server.create_run("r1", "w", "d", {"raw": "a\0b"})
    on_server.finish_run("r1", RunStatus.FAILED, error=ValueError("bad byte \0"))
    run = on_server.get_run("r1")
    assert (run.inputs, run.error) == ({"raw": "a\0b"}, "bad byte �")
    on_server.record_step(
        "r1", "p", "", "d", Envelope(status=StepStatus.OK, output="a\0b", error="\0"), started_ms=0
    )
    assert on_server.find_step_at("r1", "p", "")[1].output == "a\0b"


def test_only_what_can_be_had_again_may_be_lost_with_the_server(on_server: Store) -> None:
    said = []
    for options in ({"fleeting": True}, {}, {"durable": True}):
        with on_server.database.write(**options) as connection:
            said.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())
    assert said == ["off", "on", "on"]
