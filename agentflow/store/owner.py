"""`Owner`: which process this is, and whether another one is surely dead."""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Owner:
    """One process, as it stands in a row: ``host:pid:start:id``.

    ``host`` ends in ``@`` and what tells apart the machines and containers that share a name: only within one of
    them does a process number mean anything. ``start`` tells processes apart that had the same number.
    """

    host: str
    pid: int
    start: str
    id: str

    @classmethod
    def current(cls) -> Owner:
        """Return this process; a fork of it is another one."""
        return _of_process(os.getpid())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the process of which ``text`` speaks, or None where it speaks of none."""
        match text.rsplit(":", 3):
            case [host, pid, start, own] if pid.isdecimal():
                return cls(host, int(pid), start, own)
        return None

    @property
    def text(self) -> str:
        """How it stands in a row."""
        return f"{self.host}:{self.pid}:{self.start}:{self.id}"

    @property
    def surely_dead(self) -> bool:
        """Whether it ran here and does no longer. Of a process elsewhere, nothing is known."""
        if self.host != Owner.current().host:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # it is there, and another user's
        state, start = _state_and_start(self.pid)
        return state in ("Z", "X") or (bool(start) and start != self.start)


@cache
def _of_process(pid: int) -> Owner:
    _, start = _state_and_start(pid)
    return Owner(f"{socket.gethostname().replace(':', '.')}@{_space()}", pid, start, uuid.uuid4().hex)


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the state of a process and when it was started, in ticks since boot; empty where nothing tells."""
    try:
        # The second field is the program's name in brackets, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]


def _space() -> str:
    """Return what tells this boot of this machine, and this container on it, from all others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        facts = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        facts = f"{uuid.getnode()}"
    return hashlib.sha256(facts.encode()).hexdigest()[:12]
