"""A database of an earlier version gets what it lacks, and keeps all that it has."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import inspect

from agentflow.core.records import Envelope, RunStatus, StepStatus
from agentflow.store.store import Store, step_key

# As version 0.1.0 made them.
EARLIER = """
CREATE TABLE runs (
    id VARCHAR NOT NULL, workflow VARCHAR NOT NULL, digest VARCHAR NOT NULL, inputs TEXT NOT NULL,
    seed BIGINT NOT NULL, status VARCHAR NOT NULL, started_ms BIGINT NOT NULL, ended_ms BIGINT, error TEXT,
    error_kind VARCHAR, outputs TEXT, manifest TEXT, trace_path VARCHAR, PRIMARY KEY (id)
);
CREATE INDEX ix_runs_workflow ON runs (workflow);
CREATE TABLE steps (
    "key" VARCHAR NOT NULL, run_id VARCHAR NOT NULL, path VARCHAR NOT NULL, iteration VARCHAR NOT NULL,
    input_digest VARCHAR NOT NULL, status VARCHAR NOT NULL, envelope TEXT NOT NULL, started_ms BIGINT NOT NULL,
    ended_ms BIGINT NOT NULL, PRIMARY KEY ("key")
);
CREATE INDEX ix_steps_run_id ON steps (run_id);
"""


def schema(store: Store) -> dict[str, tuple[dict[str, str], set[str]]]:
    """Return each table's columns with their types, and its indexes."""
    with store.database.read() as connection:
        found = inspect(connection)
        return {
            table: (
                {
                    column["name"]: f"{column['type']} {column['nullable']}"
                    for column in found.get_columns(table)
                },
                {index["name"] for index in found.get_indexes(table)},
            )
            for table in found.get_table_names()
        }


def test_a_file_of_the_version_before_is_read_and_written_on(tmp_path: Path) -> None:
    done = Envelope(status=StepStatus.OK, output=1)
    file = sqlite3.connect(tmp_path / "agentflow.db")
    file.executescript(EARLIER)
    file.execute(
        "INSERT INTO runs (id, workflow, digest, inputs, seed, status, started_ms)"
        " VALUES ('r1', 'w', 'd', '{}', 7, 'running', 1)"
    )
    file.execute(
        "INSERT INTO steps VALUES (?, 'r1', 'plan', '', 'd', 'ok', ?, 1, 2)",
        (step_key("r1", "plan", "", "d"), done.model_dump_json(exclude={"reused"})),
    )
    file.commit()
    file.close()

    store = Store.open(tmp_path)
    run = store.get_run("r1")
    assert (run.seed, run.owner, run.fence, run.cancel_requested) == (7, None, 0, False)
    assert store.find_step_at("r1", "plan", "")[1] == done
    assert store.claimable_runs() == ["r1"]
    lease = store.claim_run("r1")
    assert lease.fence == 1
    assert store.record_step("r1", "next", "", "d", done, started_ms=3, cache_key="k", lease=lease)
    assert store.find_cached("k") == done
    store.finish_run("r1", RunStatus.SUCCEEDED, lease=lease)
    store.close()

    fresh = Store.open(tmp_path / "fresh")
    again = Store.open(tmp_path)
    expected = schema(fresh)
    expected["steps"][1].add("ix_steps_run_id")  # what is there is never taken away
    assert schema(again) == expected
    fresh.close()
    again.close()


def test_what_a_database_lacks_is_added_when_it_is_opened(tmp_path: Path, store_url: str | None) -> None:
    store = Store.open(tmp_path, store_url)
    store.create_run("r1", "w", "d", {}, claim=False)
    whole = schema(store)
    with store.transaction() as transaction:
        for change in (
            "DROP TABLE approvals",
            "DROP INDEX steps_by_cache_key",
            "ALTER TABLE steps DROP COLUMN cache_key",
            "ALTER TABLE runs DROP COLUMN fence",
            "ALTER TABLE runs DROP COLUMN owner",
        ):
            transaction.exec_driver_sql(change)
    assert schema(store) != whole
    store.close()

    again = Store.open(tmp_path, store_url)
    assert schema(again) == whole
    assert again.claim_run("r1").fence == 1
    again.close()
