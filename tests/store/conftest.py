"""A store on either database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentflow.store.store import Store


@pytest.fixture
def store(tmp_path: Path, store_url: str | None) -> Iterator[Store]:
    opened = Store.open(tmp_path / ".agentflow", store_url)
    yield opened
    opened.close()
