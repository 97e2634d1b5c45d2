"""What a person sees while a run is at work: a live board in a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TextIO

from agentflow.cli.figures import BUDGET_LABELS, amount, duration, plain
from agentflow.core.errors import AgentflowError
from agentflow.execution.events import (
    Event,
    ItemsProgress,
    Progress,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.spinner import Spinner
    from rich.table import Table

    from agentflow.cli.summary import BudgetLine

_TOP = re.compile(r"[\[/#]")
_QUIET_STEPS = ("input", "output")
_BAR = 24
_BUDGET_EVERY_S = 0.5
_REMEMBERED_ITEMS = 1000

Budget = Callable[[str], Sequence["BudgetLine"]]
"""Returns what a run, by its id, has used so far."""


@dataclass
class StepProgress:
    """A step of the file, as far as it has come. ``done`` of ``total`` is the step's own count, or its items."""

    id: str
    began: float
    """Seconds since 1970."""
    text: str = ""
    done: int = 0
    total: int = 0
    failed: int = 0
    status: str = ""
    seconds: float = 0.0
    repeats: bool = False
    """Whether it is a ``foreach``."""
    at_work: dict[str, float] = field(default_factory=dict)
    """Its items at work, and when each was begun."""
    took: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_ITEMS))
    """How long the newest finished items took, in seconds."""

    @property
    def left_s(self) -> float | None:
        """How long its other items will take: the median of the finished ones, so many at a time as now."""
        if not self.took or self.done >= self.total:
            return None
        return statistics.median(self.took) * (self.total - self.done) / max(1, len(self.at_work))

    def take(self, event: Event) -> None:
        """Take in what happened in it."""
        item = event.step.startswith(f"{self.id}[") and "/" not in event.step
        match event:
            case Progress() if not self.repeats:
                self.text, self.done, self.total = plain(event.text, 120), event.done, event.total
            case ItemsProgress() if event.step == self.id:
                self.repeats, self.text = True, "items"
                self.done, self.failed, self.total = event.done, event.failed, event.total
            case StepStarted() if item:
                self.at_work[event.step] = event.time
            case StepFinished() if item:
                begun = self.at_work.pop(event.step, None)
                if begun is not None and not event.found:
                    self.took.append(event.time - begun)
            case StepFinished() if event.step == self.id:
                self.status, self.seconds = str(event.envelope.status), event.time - self.began


class Follower:
    """Keeps the steps of a run up to date; what shows them inherits it. An event never raises here."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.run_id = ""
        self.begin = time.time()
        self.steps: dict[str, StepProgress] = {}
        self._budget = budget
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
            self.run_id = event.run_id
            if isinstance(event, RunStarted):
                self.begin = event.time
            step = self._step(event)
            if step is not None:
                step.take(event)
            try:
                self.changed(step, event)
            except (OSError, ValueError):  # nobody reads any more: the run goes on
                self.close()

    def changed(self, step: StepProgress | None, event: Event) -> None:
        """Show what ``event`` changed; ``step`` is the step of the file to which it belongs."""

    @property
    def finished(self) -> list[str]:
        """The steps that are finished and usable."""
        return [step.id for step in self.steps.values() if step.status in ("ok", "degraded", "skipped")]

    def _step(self, event: Event) -> StepProgress | None:
        """Return the step of the file that an event belongs to."""
        name = _TOP.split(event.step, maxsplit=1)[0]
        if not name or name in _QUIET_STEPS or not isinstance(event, _OF_STEPS):
            return None
        if name not in self.steps or (isinstance(event, StepStarted) and event.step == name):
            self.steps[name] = StepProgress(name, event.time)
        return self.steps[name]


_OF_STEPS = (StepStarted, StepFinished, Progress, ItemsProgress)


class LineFollower(Follower):
    """One plain line for each thing worth a line: for logs and pipes."""

    def __init__(self, stream: TextIO, budget: Budget | None = None) -> None:
        super().__init__(budget)
        self._stream: TextIO | None = stream
        self._quarters: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        """Write nothing more."""
        self._stream = None

    def changed(self, step: StepProgress | None, event: Event) -> None:
        """Write a step's end, its progress and its items by quarters, and what a person is asked."""
        if isinstance(event, Waiting):
            self._write(
                event, f"{plain(event.step, 200)}: waits for a decision: {plain(event.question.message)}"
            )
        if step is None:
            return
        if isinstance(event, Progress | ItemsProgress) and (event.done or isinstance(event, Progress)):
            self._progress(step, event)
        elif isinstance(event, StepFinished) and event.step == step.id:
            items = f", {step.done} items" if step.repeats else ""
            failed = f", {step.failed} failed" if step.failed else ""
            spent = "" if step.status == "skipped" else f", {step.seconds:.1f} s"
            self._write(event, f"{step.id}: {step.status}{items}{failed}{spent}")

    def _progress(self, step: StepProgress, event: Progress | ItemsProgress) -> None:
        quarter = 4 * event.done // event.total if event.total else -1
        key = (step.id, step.text)
        if self._quarters.get(key, -2) == quarter:
            return
        self._quarters[key] = quarter
        count = f" ({event.done}/{event.total})" if event.total else ""
        left = "" if step.left_s is None else f", about {duration(1e3 * step.left_s)} left"
        self._write(event, f"{step.id}: {step.text}{count}{left}")

    def _write(self, event: Event, line: str) -> None:
        if self._stream is not None:
            self._stream.write(f"[{event.time - self.begin:6.1f} s] {line}\n")
            self._stream.flush()


class LiveFollower(Follower):
    """A board that is drawn over itself, and is gone when the run ends."""

    def __init__(self, console: Console, budget: Budget | None = None) -> None:
        super().__init__(budget)
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner: Spinner = Spinner("dots", style="cyan")
        self._used: Sequence[BudgetLine] = ()
        self._looked = 0.0
        self._live: Live | None = Live(
            console=console, get_renderable=self.board, refresh_per_second=10, transient=True
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

    def board(self) -> RenderableType:
        """Return what is drawn now: a line a step, then a bar for each budget that has a cap."""
        from rich.console import Group
        from rich.table import Table

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=1)
        table.add_column(min_width=10, max_width=24, no_wrap=True)
        table.add_column(width=_BAR)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True, style="bright_black")
        now = time.time()
        for step in list(self.steps.values()):
            self._add(table, step, now)
        if not self.steps:
            table.add_row(self._spinner, "starting", "", "", f"{now - self.begin:.1f} s")
        return Group(table, *self._bars())

    def _add(self, table: Table, step: StepProgress, now: float) -> None:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        from agentflow.cli.screen import DIM, badge

        running = not step.status
        sign: RenderableType = self._spinner if running else badge(step.status)[:1]
        bar: RenderableType = Text("")
        if running and step.total:
            bar = ProgressBar(total=step.total, completed=step.done, width=_BAR, complete_style="cyan")
        count = f" {step.done}/{step.total}" if step.total and (running or step.repeats) else ""
        failed = f", {step.failed} failed" if step.failed else ""
        left = "" if step.left_s is None or not running else f", about {duration(1e3 * step.left_s)} left"
        said = step.text if running or step.repeats else ("" if step.status == "ok" else step.status)
        spent = now - step.began if running else step.seconds
        text = Text(f"{said}{count}{failed}{left}", DIM)
        table.add_row(sign, plain(step.id, 24), bar, text, f"{max(0.0, spent):.1f} s")

    def _bars(self) -> list[RenderableType]:
        from rich.table import Table
        from rich.text import Text

        from agentflow.cli.screen import DIM, share_bar

        if self._budget is not None and self.run_id and time.monotonic() - self._looked > _BUDGET_EVERY_S:
            self._looked = time.monotonic()
            with suppress(AgentflowError):  # the run goes on without its bars
                self._used = self._budget(self.run_id)
        capped = [line for line in self._used if line.cap is not None]
        if not capped:
            return []
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=1)
        table.add_column(min_width=10, max_width=24, no_wrap=True, style=DIM)
        table.add_column(width=_BAR)
        table.add_column(no_wrap=True)
        for line in capped:
            used = (
                f"{amount(line.dimension, line.spent + line.held)} of {amount(line.dimension, line.cap or 0)}"
            )
            bar = share_bar(line.share, _BAR)
            table.add_row("", BUDGET_LABELS[line.dimension], bar, Text(used, DIM))
        return [Text(""), table]


def follower(console: Console, *, quiet: bool, budget: Budget | None = None) -> Follower:
    """Return what fits the place: nothing, a live board, or lines."""
    if quiet:
        return Follower()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveFollower(console, budget)
    return LineFollower(console.file, budget)  # type: ignore[arg-type]
