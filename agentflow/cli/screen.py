"""The one screen of a run: plan, outcome, guardrails, steps, budget, files. Nothing of it is markup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from agentflow.cli import figures
from agentflow.cli.figures import metres, percent, plain, short_path
from agentflow.cli.questions import answers_of, commands_of
from agentflow.core.records import RunStatus

if TYPE_CHECKING:
    from agentflow.cli.findings import Findings, Prediction, Verification
    from agentflow.cli.summary import BudgetLine, GuardLine, RunSummary, StepLine

WIDTH = 100
GOOD, WARN, BAD, DIM, HEAD = "green", "yellow", "red", "bright_black", "bold cyan"
_LOOKS = {
    "succeeded": ("✔", GOOD), "ok": ("✔", GOOD), "allow": ("✔", GOOD),
    "degraded": ("▼", WARN), "degrade": ("▼", WARN), "warn": ("!", WARN), "modify": ("✎", WARN),
    "waiting": ("?", WARN), "escalate": ("?", WARN), "running": ("…", "cyan"), "called": ("…", "cyan"),
    "refused": ("✖", BAD), "exhausted": ("✖", BAD), "failed": ("✖", BAD), "cancelled": ("■", WARN),
    "deny": ("✖", BAD), "block": ("✖", BAD), "skipped": ("–", DIM),
}  # fmt: skip


class _Terminal(Console):
    """A console whose reader may go away: that is the program's business, not a reason to exit at once."""

    def on_broken_pipe(self) -> None:
        """Say it as Python does."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console of at most 100 columns; what is not a terminal has 100, or what ``COLUMNS`` says."""
    made = _Terminal(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        import os

        wide = os.environ.get("COLUMNS", "")
        made.width = int(wide) if wide.isdigit() and int(wide) >= 40 else WIDTH
    made.width = min(made.width, WIDTH)
    return made


def badge(status: str, text: str | None = None) -> Text:
    """Return a status with its sign, in its colour."""
    sign, colour = _LOOKS.get(status, ("·", ""))
    return Text(f"{sign} {text or status}", style=colour)


def show(target: Console, summary: RunSummary) -> None:
    """Print the screen of a run."""
    target.print(_headline(summary))
    findings = summary.findings
    if findings.plan is not None:
        target.print(_section("Plan", _plan(findings)))
    elif findings.scores:
        target.print(_section("Best", _measured(findings.scores)))
    if findings.prediction is not None or findings.verification is not None:
        target.print(_section("Outcome", *_outcome(findings, target.width)))
    if summary.guards:
        target.print(_section("Guardrails", _guards(summary.guards)))
    for part in _steps_and_budget(summary, target.width):
        target.print(part)
    outputs = _outputs(summary)
    if outputs:
        target.print(_section("Outputs", outputs))
    if summary.status is RunStatus.WAITING:
        target.print(_section("Waiting for a decision", *_question(summary)))
    if summary.run.error is not None:
        target.print(_section("Why it ended", _error(summary)))
    if summary.status in (RunStatus.CANCELLED, RunStatus.RUNNING):
        target.print(_section("To go on", Text(f"agentflow resume {summary.run.id}", "cyan")))
    _files(target, summary)


def _headline(summary: RunSummary) -> RenderableType:
    run = summary.run
    colour = _LOOKS[str(run.status)][1]
    line = Text.assemble(
        (f"{_LOOKS[str(run.status)][0]} {run.status}", f"bold {colour}"), "   ",
        (plain(run.workflow, 40), "bold"), "   ", (run.id, ""), "   ",
        (f"seed {run.seed}   {figures.duration(summary.milliseconds)}", DIM),
    )  # fmt: skip
    return Panel(line, border_style=colour, padding=(0, 1))


def _section(title: str, *parts: RenderableType) -> RenderableType:
    rule = Rule(Text(title, style=HEAD), align="left", style=DIM)
    return Group(rule, *(Padding(part, (0, 0, 0, 2)) for part in parts), Text(""))


def pairs(rows: Iterable[tuple[str, RenderableType]], width: int = 10) -> Table:
    """Return names with their values, one line each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style=DIM, no_wrap=True, min_width=width)
    table.add_column(overflow="fold", ratio=1)
    for name, value in rows:
        table.add_row(name, value)
    return table


def _plan(findings: Findings) -> RenderableType:
    plan, chosen = findings.plan, findings.chosen
    if plan is None or chosen is None:
        return Text("")
    goal = plan.goal
    avoid = f", away from the {' and the '.join(map(plain, goal.avoid))}" if goal.avoid else ""
    place = f"{plain(goal.body)} to ({goal.place[0]:.3f}, {goal.place[1]:.3f}) m{avoid}, "
    number = plan.candidates.index(chosen) + 1
    why = f": {plain(chosen.rationale, 200)}" if chosen.rationale != chosen.source else ""
    rows: list[tuple[str, RenderableType]] = [
        ("goal", Text(plain(goal.sentence), style="bold")),
        ("", Text(f"{place}within {metres(goal.tolerance_m)}")),
        ("chosen", Text(f"candidate {number} of {len(plan.candidates)} · {plain(chosen.source, 60)}{why}")),
        ("scores", _scores(chosen.scores)),
    ]
    if findings.scores:
        rows.append(("measured", _measured(findings.scores)))
    rounds = f"{plan.rounds} round{'s' if plan.rounds != 1 else ''}"
    search = f"{rounds} · {plan.tried} sequences tried · {_history(plan.history)}"
    rows.append(("search", Text(search)))
    if plan.rejected:
        reason = plan.rejected[-1].violations[-1:] or [""]
        rows.append(("rejected", Text(f"by guardrails, the last one: {plain(reason[0], 160)}", WARN)))
    rows.append(("do nothing", Text(f"ends {metres(plan.do_nothing_m)} from the goal: the baseline")))
    if plan.rungs:
        rows.append(("gave up", Text(", ".join(map(plain, plan.rungs)), WARN)))
    return pairs(rows)


def _history(history: list[float]) -> str:
    costs = " → ".join(f"{cost:.3f}" for cost in history[-6:])
    return f"best cost {costs}" if costs else "no round ended"


_UNITS: dict[str, Callable[[float], str]] = {
    "goal": metres, "risk": percent, "uncertainty": metres,
    "effort": lambda value: f"{value:.2f} m", "cost": lambda value: f"{value:.3f}",
}  # fmt: skip
"""The terms of a candidate that stand on the screen, in this order; `Candidate` says what they are."""


def _scores(scores: Mapping[str, float]) -> Text:
    return Text(
        " · ".join(f"{name} {write(scores[name])}" for name, write in _UNITS.items() if name in scores)
    )


def _measured(scores: Mapping[str, float]) -> Text:
    listed = " · ".join(f"{plain(name, 40)} {figures.number(value)}" for name, value in scores.items())
    return Text.assemble(listed, ("  by the workflow's scorers", DIM))


def _outcome(findings: Findings, width: int) -> Iterator[RenderableType]:
    if findings.verification is not None:
        yield _side_by_side(findings, findings.verification)
    if findings.prediction is not None:
        yield pairs(_trust(findings.prediction, width), width=17)


def _side_by_side(findings: Findings, truth: Verification) -> Table:
    tolerance = findings.plan.goal.tolerance_m if findings.plan else None
    risk = findings.chosen.scores.get("risk") if findings.chosen else None
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold", show_edge=False)
    table.add_column("", style=DIM, no_wrap=True, min_width=16)
    table.add_column("the world model predicts")
    table.add_column("the true simulator says")
    table.add_row(
        "left to the goal",
        _distance(truth.predicted_m, tolerance),
        _distance(truth.true_m, tolerance),
    )
    for name, value in truth.facts.items():
        known = name == "glass_touched" and risk is not None
        said = Text(
            f"risk {percent(risk)}" if known and risk is not None else "–", style="" if known else DIM
        )
        colour = BAD if value and name.endswith("_touched") else GOOD if name.endswith("_touched") else ""
        table.add_row(plain(name.replace("_", " "), 30), said, Text("YES" if value else "no", colour))
    return table


def _distance(value: float, tolerance: float | None) -> Text:
    if tolerance is None:
        return Text(metres(value), "bold")
    good = value <= tolerance
    verdict = f"  {'within' if good else 'outside'} {metres(tolerance)}"
    return Text.assemble((metres(value), f"bold {GOOD if good else WARN}"), (verdict, DIM))


def _trust(prediction: Prediction, width: int) -> Iterator[tuple[str, RenderableType]]:
    radius, body = prediction.final_radius_m, plain(prediction.body, 40)
    if radius is None:
        yield "uncertainty", Text("not calibrated: this prediction claims no accuracy", WARN)
    else:
        of = f" of the {body}" if body else ""
        curve = figures.sparkline(prediction.radius_m, 20 if width >= 96 else 12)
        yield (
            "90 % radius",
            Text.assemble(
                (f"± {metres(radius)}", "bold"), f"{of} at the end  ",
                (curve if len(prediction.radius_m) > 1 else "", "magenta"),
            ),
        )  # fmt: skip
    if prediction.trusted_steps is None:
        return
    steps, trusted = prediction.steps, min(prediction.trusted_steps, prediction.steps)
    full = round(20 * trusted / steps) if steps else 0
    colour = GOOD if trusted == steps else WARN
    yield (
        "trusted horizon",
        Text.assemble(
            (f"{trusted} of {steps} steps", f"bold {colour}"), "  ", ("━" * full, colour), ("━" * (20 - full), DIM),
        ),
    )  # fmt: skip


def _guards(lines: Iterable[GuardLine]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=DIM, show_edge=False, expand=True)
    table.add_column("guardrail", overflow="fold", min_width=12)
    table.add_column("at", no_wrap=True)
    table.add_column("ran", justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_column("action")
    table.add_column("reason", ratio=1, overflow="fold")
    for line in lines:
        unable = f" ({line.unable} could not judge)" if line.unable else ""
        table.add_row(
            Text(plain(line.guardrail, 60)),
            Text(line.hook, DIM),
            f"{line.ran}×",
            badge(line.gravest, figures.counted(line.verdicts)) if line.ran else Text("– not reached", DIM),
            Text(figures.counted(line.actions), "" if line.gravest != "deny" else BAD),
            Text(plain(line.reason, 160) + unable, DIM if line.gravest == "allow" else ""),
        )
    return table


def _steps_and_budget(summary: RunSummary, width: int) -> Iterator[RenderableType]:
    steps = _section("Steps", _steps(summary.steps)) if summary.steps else None
    budget = _section("Budget", _budget(summary.budget)) if summary.budget else None
    parts = [part for part in (steps, budget) if part is not None]
    if len(parts) < 2 or width < 96:
        yield from parts
        return
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(width=53)
    grid.add_row(*parts)
    yield grid


def _steps(lines: Iterable[StepLine]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=24)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for line in lines:
        items = f" {line.items[0]}/{line.items[1]}" if line.items else ""
        passes = f" ×{line.passes}" if line.passes > 1 else ""
        spent = "" if line.status == "skipped" else figures.duration(line.milliseconds)
        table.add_row(
            Text(plain(line.id, 60)), badge(line.status, f"{line.status}{items}{passes}"), Text(spent, DIM)
        )
        for rung in line.rungs:
            table.add_row(Text(f"  gave up: {plain(rung, 80)}", WARN), "", "")
    return table


def _budget(lines: Iterable[BudgetLine]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=DIM, show_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("spent", "reserved", "cap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for line in lines:
        cap = Text("no cap", DIM) if line.cap is None else Text(figures.amount(line.dimension, line.cap))
        table.add_row(
            figures.BUDGET_LABELS[line.dimension],
            Text(figures.amount(line.dimension, line.spent), "bold" if line.spent else DIM),
            Text(figures.amount(line.dimension, line.held), "" if line.held else DIM),
            cap,
            share_bar(line.share, 8),
        )
    return table


def share_bar(share: float | None, width: int) -> Text:
    """Return how much of a cap is used, as a bar; nothing where there is no cap."""
    if share is None:
        return Text("")
    full = min(width, -(-round(share * 100 * width) // 100))
    colour = GOOD if share < 0.75 else WARN if share < 1 else BAD
    return Text.assemble(("━" * full, colour), ("━" * (width - full), DIM))


def _outputs(summary: RunSummary) -> RenderableType | None:
    """Return the outputs that no other section shows."""
    outputs = summary.run.outputs
    if not isinstance(outputs, dict):
        return None
    truth = summary.findings.verification
    shown = {"predicted_distance_m", "true_distance_m", "start_distance_m"} if truth else set()
    rows = [
        (plain(name, 40), Text(_output(value)))
        for name, value in outputs.items()
        if name not in shown and not _elsewhere(value)
    ]
    return pairs(rows) if rows else None


def _elsewhere(value: Any) -> bool:
    """Say whether a value is a file that is linked below, or the run's spending."""
    if not isinstance(value, dict):
        return False
    return {"gpu_ms", "micro_usd", "tokens"} <= set(value) or (
        value.get("type") == "file" and str(value.get("media_type", "")).startswith(("video/", "image/"))
    )


def _output(value: Any) -> str:
    if isinstance(value, dict) and value.get("type") == "file":
        return f"{plain(value.get('name', 'a file'), 80)}  {plain(value.get('artifact', ''), 90)}"
    return figures.compact(value)


def _question(summary: RunSummary) -> Iterator[RenderableType]:
    several = len(summary.questions) > 1
    for question in summary.questions:
        yield Text(plain(question.message), style="bold")
        if isinstance(question.shown, dict):
            shown = question.shown.items()
            yield pairs((plain(name, 40), Text(figures.compact(value))) for name, value in shown)
        if answers := answers_of(question):
            yield pairs(("answer", Text(line, DIM)) for line in answers)
        for command in commands_of(question, several=several):
            yield Text(command, style="cyan")


def _error(summary: RunSummary) -> RenderableType:
    run = summary.run
    kind = f"{plain(run.error_kind, 60)}: " if run.error_kind else ""
    colour = WARN if run.status is RunStatus.CANCELLED else BAD
    return Text.assemble((kind, f"bold {colour}"), plain(run.error, 1500))


def _files(target: Console, summary: RunSummary) -> None:
    """Print the paths unbroken, so that they can be copied."""
    files = [(path.stem if path != summary.video else "video", path) for path in summary.media]
    files += [("report", summary.report)] if summary.report else []
    files.append(("trace", summary.trace))
    target.print(Rule(Text("Files", style=HEAD), align="left", style=DIM))
    for name, path in files:
        _file(target, name, path)


def _file(target: Console, name: str, path: Path) -> None:
    link = Style(link=path.resolve().as_uri()) if target.is_terminal else Style()
    line = Text.assemble("  ", (f"{plain(name, 9):<10}", DIM), "  ", (plain(short_path(path)), link))
    target.print(line, soft_wrap=True)
