"""What a person sees while a run is at work: a live board in a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TextIO

from agentflow.cli.figures import plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.spinner import Spinner

    from agentflow.execution.context import Event

_TOP = re.compile(r"[\[/#]")
_QUIET_STEPS = ("input", "output")
_BAR = 24


@dataclass
class StepProgress:
    """A step of the file, as far as it has come. ``done`` of ``total`` is the step's own count."""

    id: str
    began: float
    text: str = ""
    done: int = 0
    total: int = 0
    status: str = ""
    seconds: float = 0.0
    items: set[str] = field(default_factory=set)
    items_done: int = 0


class Follower:
    """Keeps the steps of a run up to date; what shows them inherits it. An event never raises here."""

    def __init__(self) -> None:
        self.run_id = ""
        self.begin = time.monotonic()
        self.steps: dict[str, StepProgress] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Show nothing more."""

    def __call__(self, event: Event) -> None:
        """Take an event in, from whichever thread."""
        with self._lock:
            if event.kind == "run_started":
                self.run_id = str(event.data.get("run_id", ""))
            step = self._step(event)
            if step is None:
                return
            self._take(step, event)
            try:
                self.changed(step, event)
            except (OSError, ValueError):  # nobody reads any more: the run goes on
                self.close()

    def changed(self, step: StepProgress, event: Event) -> None:
        """Show what ``event`` changed in ``step``."""

    @property
    def finished(self) -> list[str]:
        """The steps that are finished and usable."""
        return [step.id for step in self.steps.values() if step.status in ("ok", "degraded", "skipped")]

    def _step(self, event: Event) -> StepProgress | None:
        """Return the step of the file that an event belongs to."""
        name = _TOP.split(event.step, maxsplit=1)[0]
        if not name or name in _QUIET_STEPS or event.kind not in _KINDS:
            return None
        if name not in self.steps or (event.kind == "step_started" and event.step == name):
            self.steps[name] = StepProgress(name, time.monotonic())
        return self.steps[name]

    @staticmethod
    def _take(step: StepProgress, event: Event) -> None:
        inner = event.step != step.id
        item = event.step.startswith(f"{step.id}[") and "/" not in event.step
        if event.kind == "progress":
            step.text, step.done, step.total = plain(event.text, 120), event.done, event.total
        elif item and event.kind == "step_started":
            step.items.add(event.step)
        elif item and event.kind == "step_finished":
            step.items_done += 1
            step.text, step.done, step.total = "items", step.items_done, len(step.items)
        elif not inner and event.kind == "step_finished":
            envelope: Mapping[str, Any] = event.data.get("envelope") or {}
            step.status, step.seconds = str(envelope.get("status", "ok")), time.monotonic() - step.began


_KINDS = ("step_started", "step_finished", "progress")


class LineFollower(Follower):
    """One plain line for each thing worth a line: for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream: TextIO | None = stream
        self._quarters: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        """Write nothing more."""
        self._stream = None

    def changed(self, step: StepProgress, event: Event) -> None:
        """Write a step's end, and its progress by quarters."""
        if event.kind == "progress":
            quarter = 4 * event.done // event.total if event.total else -1
            key = (step.id, event.text)
            if self._quarters.get(key, -2) != quarter:
                self._quarters[key] = quarter
                count = f" ({event.done}/{event.total})" if event.total else ""
                self._write(f"{step.id}: {step.text}{count}")
        elif event.kind == "step_finished" and event.step == step.id:
            items = f", {step.items_done} items" if step.items else ""
            spent = "" if step.status == "skipped" else f", {step.seconds:.1f} s"
            self._write(f"{step.id}: {step.status}{items}{spent}")

    def _write(self, line: str) -> None:
        if self._stream is not None:
            self._stream.write(f"[{time.monotonic() - self.begin:6.1f} s] {line}\n")
            self._stream.flush()


class LiveFollower(Follower):
    """A board that is drawn over itself, and is gone when the run ends."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner: Spinner = Spinner("dots", style="cyan")
        self._live: Live | None = Live(
            console=console, get_renderable=self._board, refresh_per_second=10, transient=True
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def close(self) -> None:
        """Take the board away."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _board(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from agentflow.cli.screen import DIM, badge

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=1)
        table.add_column(min_width=10, max_width=24, no_wrap=True)
        table.add_column(width=_BAR)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True, style=DIM)
        now = time.monotonic()
        for step in list(self.steps.values()):
            running = not step.status
            sign: RenderableType = self._spinner if running else badge(step.status)[:1]
            bar: RenderableType = Text("")
            if running and step.total:
                bar = ProgressBar(total=step.total, completed=step.done, width=_BAR, complete_style="cyan")
            count = f" {step.done}/{step.total}" if step.total and running else ""
            text = f"{step.text}{count}" if running else ("" if step.status == "ok" else step.status)
            spent = now - step.began if running else step.seconds
            table.add_row(sign, plain(step.id, 24), bar, Text(text, DIM), f"{spent:.1f} s")
        if not self.steps:
            table.add_row(self._spinner, "starting", "", "", f"{now - self.begin:.1f} s")
        return table


def follower(console: Console, *, quiet: bool) -> Follower:
    """Return what fits the place: nothing, a live board, or lines."""
    if quiet:
        return Follower()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveFollower(console)
    return LineFollower(console.file)  # type: ignore[arg-type]
