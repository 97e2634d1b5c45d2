"""`Heartbeat`: keeps the leases of the runs at work, and hears when one is lost or asked to end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from agentflow.core.errors import StorageError
from agentflow.store.leases import LEASE_MS, Lease
from agentflow.store.store import Store

_HEAR_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class Heartbeat:
    """A thread that renews leases every third of their time, and looks every second for requests to cancel.

    A lease that could not be renewed for its whole time (the database was out of reach) counts as lost.

    Args:
        store: where the leases stand.
        ttl_ms: how long a lease holds from each renewal.
        on_lost: called once for a run that is another process's by now, from this thread; its lease is removed.
        on_cancel: called once for a run that somebody asked to end, from this thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        on_lost: Callable[[str], None],
        on_cancel: Callable[[str], None],
        ttl_ms: int = LEASE_MS,
    ) -> None:
        self._store, self._ttl_ms = store, ttl_ms
        self._on_lost, self._on_cancel = on_lost, on_cancel
        self._lock = threading.Lock()
        self._renewed_s: dict[Lease, float] = {}
        self._cancelled: set[Lease] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agentflow-heartbeat", daemon=True)
        self._thread.start()

    def add(self, lease: Lease) -> None:
        """Keep a lease that was claimed just now."""
        with self._lock:
            self._renewed_s[lease] = time.monotonic()

    def remove(self, lease: Lease) -> None:
        """Keep a lease no longer; it is not released."""
        self._removed(lease)

    def stop(self) -> None:
        """Stop, and wait for a beat that is under way; safe from a callback and more than once."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def beat(self) -> None:
        """Renew what is due, and call back about what is lost or asked to end."""
        now, due_s = time.monotonic(), self._ttl_ms / 3000
        with self._lock:
            kept = dict(self._renewed_s)
        due = [lease for lease, renewed_s in kept.items() if now - renewed_s >= due_s]
        try:
            lost = self._store.renew_leases(due, self._ttl_ms)
            with self._lock:
                self._renewed_s.update({lease: now for lease in due if lease in self._renewed_s})
            cancelled = self._store.cancels_requested([lease.run_id for lease in kept])
        except StorageError:
            _log.warning("leases could not be renewed", exc_info=True)
            lost = [lease for lease, renewed_s in kept.items() if now - renewed_s >= self._ttl_ms / 1000]
            cancelled = set()
        for lease in lost:
            if self._removed(lease):
                self._call(self._on_lost, lease)
        for lease in kept.keys() - lost:
            if lease.run_id in cancelled and self._first_time(lease):
                self._call(self._on_cancel, lease)

    def _removed(self, lease: Lease) -> bool:
        with self._lock:
            self._cancelled.discard(lease)
            return self._renewed_s.pop(lease, None) is not None

    def _first_time(self, lease: Lease) -> bool:
        with self._lock:
            new = lease in self._renewed_s and lease not in self._cancelled
            if new:
                self._cancelled.add(lease)
        return new

    def _call(self, callback: Callable[[str], None], lease: Lease) -> None:
        try:
            callback(lease.run_id)
        except Exception:  # whoever listens must not end the renewal of all other runs
            _log.exception("a listener failed for run %s", lease.run_id)

    def _run(self) -> None:
        while not self._stopped.wait(min(_HEAR_EVERY_S, self._ttl_ms / 3000)):
            self.beat()
