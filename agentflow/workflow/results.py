"""`Results`: what the items of a ``foreach`` gave, read from the store when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

from agentflow.core.records import Envelope, StepStatus
from agentflow.store.store import Store

KEPT_ITEMS = 1_000
"""Of a list no longer than this, the results stay in memory once they were read."""


def visible(envelope: Envelope) -> dict[str, Any]:
    """Return what expressions may read of a finished step."""
    return {
        "status": envelope.status.value,
        "ok": envelope.usable,
        "skipped": envelope.status is StepStatus.SKIPPED,
        "output": envelope.output,
        "error": envelope.error,
        "error_kind": envelope.error_kind,
        "usage": envelope.usage.as_dict(),
    }


class Results(Sequence[dict[str, Any]]):
    """The results of a ``foreach`` in the order of its list: ``index``, and what expressions read of a step."""

    def __init__(self, store: Store, run_id: str, path: str, iteration: str, count: int | None) -> None:
        self._store, self._run_id, self._path, self._iteration = store, run_id, path, iteration
        self._count = count  # None: as many as there are, of a step that failed
        self._kept: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self._all()) if self._count is None else self._count

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice) or self._kept is not None or self._count is None:
            return self._all()[index]
        place = range(self._count)[index]
        found = self._store.find_step_at(self._run_id, f"{self._path}[{place}]", self._iteration)
        return _result(place, found[1] if found else None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<results of {len(self)} items>"

    def _all(self) -> list[dict[str, Any]]:
        if self._kept is not None:
            return self._kept
        found = self._store.item_envelopes(self._run_id, self._path, self._iteration)
        count = max(found, default=-1) + 1 if self._count is None else self._count
        made = [_result(index, found.get(index)) for index in range(count)]
        if count <= KEPT_ITEMS:
            self._kept = made
        return made


def _result(index: int, envelope: Envelope | None) -> dict[str, Any]:
    if envelope is None:  # its pass was cut off before it was reached
        envelope = Envelope(status=StepStatus.CANCELLED)
    return {"index": index, **visible(envelope)}
