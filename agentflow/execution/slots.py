"""`Slots`: how many calls may occupy a resource such as ``gpu:0`` at once, over all runs of a process."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    granted: asyncio.Future[None]

    def grant(self) -> None:
        if not self.granted.done():
            self.granted.set_result(None)


class Slots:
    """The slots of resources, one each unless ``sizes`` says otherwise.

    Runs may be at work on several event loops in several threads; who asked first is served first. A slot stays
    taken until the call that holds it has really ended, or its thread was given up as lost.
    """

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self._sizes = dict(sizes or {})
        self._lock = threading.Lock()
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, deque[_Waiter]] = {}

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Wait for a slot of ``name`` and keep it inside the block."""
        await self._take(name)
        try:
            yield
        finally:
            self._give(name)

    def waiting(self, name: str) -> int:
        """Return how many calls wait for a slot of ``name``."""
        with self._lock:
            return len(self._waiting.get(name, ()))

    async def _take(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._taken.get(name, 0) < self._sizes.get(name, 1):
                self._taken[name] = self._taken.get(name, 0) + 1
                return
            queue = self._waiting.setdefault(name, deque())
            waiter = _Waiter(loop, loop.create_future())
            queue.append(waiter)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            with self._lock:
                waits = waiter in queue
                if waits:
                    queue.remove(waiter)
            if not waits:  # the slot was handed over in the same moment
                self._give(name)
            raise

    def _give(self, name: str) -> None:
        with self._lock:
            queue = self._waiting.get(name, deque())
            while queue:
                waiter = queue.popleft()
                try:
                    waiter.loop.call_soon_threadsafe(waiter.grant)
                except RuntimeError:  # its loop is closed: nobody waits there any more
                    continue
                return
            self._taken[name] -= 1
