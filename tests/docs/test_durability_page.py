"""The page about durability: its commands run on both databases, in a project as it shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from agentflow.store.leases import LEASE_MS
from agentflow.workflow.worker import POLL_S

PAGE = (Path(__file__).parents[2] / "docs" / "durability.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def server_as_on_the_page(postgresql_server: str) -> Iterator[str]:
    """The address that whoever follows the page has: of the database and the role that it makes."""
    with psycopg.connect(postgresql_server, autocommit=True) as server:
        for statement in block("sql").splitlines():
            server.execute(statement)
        yield make_url(postgresql_server).set(
            username="flows", password="a long one", database="flows"  # noqa: S106 - the page's
        ).render_as_string(hide_password=False)  # fmt: skip
        server.execute("DROP DATABASE flows WITH (FORCE)")
        server.execute("DROP ROLE flows")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_its_commands_do_what_it_says(
    tmp_path: Path, database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database == "postgresql":
        monkeypatch.setenv("DATABASE_URL", request.getfixturevalue("server_as_on_the_page"))
    (tmp_path / "workflows.yaml").write_text(block("yaml"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block("bash")],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Order 7?" in done.stdout
    shown = json.loads(done.stdout[done.stdout.index("\n{\n") :])
    assert (shown["status"], shown["outputs"]) == ("succeeded", {"said": "ordered 7"})
    assert (tmp_path / ".agentflow" / "agentflow.db").exists() == (database == "sqlite")


def test_the_times_that_it_says_are_those_of_the_program() -> None:
    assert (LEASE_MS, POLL_S) == (15_000, 1.0)
    assert "lease of 15 seconds that it renews every 5" in PAGE
    assert "every second" in PAGE
