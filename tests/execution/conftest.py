"""Small projects whose tools write down each of their calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentflow.testing import Bench


@pytest.fixture
def bench(tmp_path: Path, project_database: None) -> Iterator[Bench]:
    with Bench(tmp_path / "project") as made:
        yield made


@pytest.fixture
def run(bench: Bench) -> Callable[..., Any]:
    """Write a project and run its workflow once."""

    def once(steps: str, *, inputs: dict[str, Any] | None = None, **parts: str) -> Any:
        bench.write(steps, **parts)
        return bench.open().run("work", **(inputs or {}))

    return once
