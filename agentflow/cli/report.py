"""The report of a run: one HTML file that needs nothing from anywhere, and the video beside it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from agentflow.cli import figures
from agentflow.cli.figures import metres, percent, plain
from agentflow.cli.findings import Findings, Prediction
from agentflow.cli.summary import RunSummary
from agentflow.core.records import Artifact

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_GRAVE = {"succeeded": "good", "ok": "good", "allow": "good", "skipped": "dim"}
_WARN = {"degraded", "warn", "modify", "waiting", "escalate", "cancelled", "running"}


def write(summary: RunSummary, base: Path) -> RunSummary:
    """Write ``report.html`` and the videos' friendly names into the run's folder; return the summary with both.

    Raises:
        OSError: the folder cannot be written.
    """
    media = tuple(_link_media(summary, base))
    path = summary.folder / "report.html"
    done = replace(summary, media=media, report=path)
    part = path.with_name(f".report-{os.getpid()}.part")
    try:
        part.write_text(page(done), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return done


def _link_media(summary: RunSummary, base: Path) -> Iterator[Path]:
    """Yield videos and pictures under their names in the run's folder: hard links, or copies."""
    from agentflow.core.errors import InvalidInputError
    from agentflow.store.artifacts import FileArtifacts

    taken: set[str] = set()
    for artifact in summary.artifacts:
        if not artifact.media_type.startswith(("video/", "image/")):
            continue
        try:
            source = FileArtifacts(base).path(artifact.uri)
        except InvalidInputError:  # it was removed since
            continue
        name = _friendly(artifact, source, taken)
        taken.add(name)
        place = summary.folder / name
        if not (place.exists() and place.samefile(source)):
            _link(source, place)
        yield place


def _friendly(artifact: Artifact, source: Path, taken: set[str]) -> str:
    stem = _UNSAFE.sub("-", Path(artifact.name.replace("\\", "/")).stem).strip(".-")[:60] or "file"
    name, number = f"{stem}{source.suffix}", 1
    while name in taken or name == "report.html":
        number += 1
        name = f"{stem}-{number}{source.suffix}"
    return name


def _link(source: Path, place: Path) -> None:
    place.unlink(missing_ok=True)
    try:
        os.link(source, place)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, place)


def page(summary: RunSummary) -> str:
    """Return the report as HTML; every text in it is escaped."""
    run = summary.run
    title = f"{plain(run.workflow, 80)} · {run.status}"
    parts = [
        _header(summary),
        _media(summary),
        _plan(summary.findings),
        _outcome(summary.findings),
        _guards(summary),
        _budget(summary),
        _steps(summary),
        _outputs(summary),
        _error(summary),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "img-src 'self' file:; media-src 'self' file:\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n"
        f"<footer>agentflow · run {escape(run.id)} · {run.started:%Y-%m-%d %H:%M:%S} UTC · trace: "
        f"{escape(summary.trace.name)}</footer>\n</main>\n</body>\n</html>\n"
    )


def _colour(status: str) -> str:
    return "warn" if status in _WARN else _GRAVE.get(status, "bad")


def _badge(status: str, text: str | None = None) -> str:
    return f'<span class="badge {_colour(status)}">{escape(text or status)}</span>'


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{inner}</section>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "") -> str:
    """Return a table; cells are HTML already."""
    headings = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    style = f' class="{kind}"' if kind else ""
    return f"<table{style}><thead><tr>{headings}</tr></thead><tbody>\n{lines}</tbody></table>\n"


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{value}</dd>' for name, value in rows)}</dl>\n"


def _header(summary: RunSummary) -> str:
    run = summary.run
    plan = summary.findings.plan
    sentence = f'<p class="goal">{escape(plain(plan.goal.sentence))}</p>' if plan else ""
    facts = f"run {run.id} · seed {run.seed} · {figures.duration(summary.milliseconds)}"
    name = escape(plain(run.workflow, 80))
    return f"<header><h1>{name} {_badge(str(run.status))}</h1>{sentence}<p>{escape(facts)}</p></header>"


def _media(summary: RunSummary) -> str:
    shown = []
    for path in summary.media:
        source = escape(path.name)
        if path == summary.video or path.suffix in (".mp4", ".webm", ".mov"):
            shown.append(
                f'<figure><video controls loop muted playsinline preload="auto" src="{source}"></video>'
            )
        else:
            shown.append(f'<figure><img alt="{source}" src="{source}">')
        shown.append(f"<figcaption>{source}</figcaption></figure>")
    return f'<section class="media">{"".join(shown)}</section>' if shown else ""


def _plan(findings: Findings) -> str:
    plan, chosen = findings.plan, findings.chosen
    if plan is None or chosen is None:
        return ""
    goal = plan.goal
    avoid = f", away from the {' and the '.join(goal.avoid)}" if goal.avoid else ""
    where = f"{goal.body} to ({goal.place[0]:.3f}, {goal.place[1]:.3f}) m{avoid}"
    rows = [
        ("goal", escape(plain(f"{where}, within {metres(goal.tolerance_m)}"))),
        ("do nothing", f"ends {metres(plan.do_nothing_m)} from the goal: the baseline"),
        ("search", escape(f"rounds: {plan.rounds}, sequences tried: {plan.tried}")),
        ("best cost", escape(" → ".join(f"{cost:.3f}" for cost in plan.history) or "no round ended")),
    ]
    if plan.rungs:
        rows.append(("gave up", escape(plain(", ".join(plan.rungs)))))
    lines = [
        [
            f"{number}{' <b>chosen</b>' if candidate is chosen else ''}",
            escape(plain(candidate.source, 60)),
            escape(plain(candidate.rationale, 300)),
            metres(candidate.scores.get("goal")),
            percent(candidate.scores.get("risk", 0.0)),
            metres(candidate.scores.get("uncertainty")),
            f"{candidate.scores.get('cost', 0.0):.3f}",
            _badge("allow", "passed"),
        ]
        for number, candidate in enumerate(plan.candidates, 1)
    ]
    lines += [
        [
            "", escape(plain(candidate.source, 60)), escape(plain(candidate.rationale, 300)),
            metres(candidate.scores.get("goal")), percent(candidate.scores.get("risk", 0.0)),
            metres(candidate.scores.get("uncertainty")), f"{candidate.scores.get('cost', 0.0):.3f}",
            f"{_badge('deny', 'rejected')} {escape(plain('; '.join(candidate.violations), 300))}",
        ]
        for candidate in plan.rejected
    ]  # fmt: skip
    head = ("", "source", "rationale", "left to the goal", "risk", "90 % radius", "cost", "guardrails")
    return _section("Plan", _list(rows) + _table(head, lines))


def _outcome(findings: Findings) -> str:
    truth, prediction = findings.verification, findings.prediction
    inner = ""
    if truth is not None:
        rows = [["left to the goal", f"<b>{metres(truth.predicted_m)}</b>", f"<b>{metres(truth.true_m)}</b>"]]
        risk = findings.chosen.scores.get("risk") if findings.chosen else None
        for name, value in truth.facts.items():
            said = f"risk {percent(risk)}" if name == "glass_touched" and risk is not None else "–"
            answer = "YES" if value else "no"
            colour = "deny" if value else "allow"
            rows.append([escape(plain(name.replace("_", " "), 40)), said,
                         _badge(colour, answer) if name.endswith("_touched") else answer])  # fmt: skip
        inner += _table(("", "the world model predicts", "the true simulator says"), rows)
    if prediction is not None:
        inner += _trust(prediction)
    return _section("Outcome", inner) if inner else ""


def _trust(prediction: Prediction) -> str:
    rows = []
    if prediction.final_radius_m is None:
        rows.append(("uncertainty", "not calibrated: this prediction claims no accuracy"))
    else:
        of = f" of the {plain(prediction.body, 40)}" if prediction.body else ""
        rows.append(("90 % radius", f"± {metres(prediction.final_radius_m)}{escape(of)} at the end"))
    if prediction.trusted_steps is not None:
        rows.append(("trusted horizon", f"{prediction.trusted_steps} of {prediction.steps} steps"))
    return _list(rows) + (_curve(prediction) if len(prediction.radius_m) > 1 else "")


def _curve(prediction: Prediction) -> str:
    """Return the radius over the steps, with what is trusted underlaid."""
    width, height, left, low = 640, 150, 52, 24
    top = max(*prediction.radius_m, 1e-3)
    steps = len(prediction.radius_m) - 1

    def at(step: float, radius: float) -> str:
        x = left + (width - left - 8) * step / steps
        return f"{x:.1f},{height - low - (height - low - 12) * radius / top:.1f}"

    line = " ".join(at(step, radius) for step, radius in enumerate(prediction.radius_m))
    trusted = min(prediction.trusted_steps if prediction.trusted_steps is not None else steps, steps)
    band = (width - left - 8) * trusted / steps
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="90 % radius over the steps">'
        f'<rect class="trusted" x="{left}" y="12" width="{band:.1f}" height="{height - low - 12}"/>'
        f'<line x1="{left}" y1="{height - low}" x2="{width - 8}" y2="{height - low}"/>'
        f'<polygon points="{at(0, 0)} {line} {at(steps, 0)}"/><polyline points="{line}"/>'
        f'<text x="{left - 6}" y="20" text-anchor="end">{metres(top)}</text>'
        f'<text x="{left - 6}" y="{height - low}" text-anchor="end">0</text>'
        f'<text x="{left}" y="{height - 6}">step 0</text>'
        f'<text x="{width - 8}" y="{height - 6}" text-anchor="end">step {steps}</text>'
        f'<text x="{left + 6}" y="26">trusted</text></svg>'
    )


def _guards(summary: RunSummary) -> str:
    rows = [
        [
            escape(plain(line.guardrail, 80)),
            escape(line.hook),
            f"{line.ran}×",
            _badge(line.gravest, figures.counted(line.verdicts)) if line.ran else _badge("skipped", "not reached"),
            escape(figures.counted(line.actions)),
            escape(plain(line.reason, 400))
            + (f" <b>({line.unable} could not judge)</b>" if line.unable else ""),
        ]
        for line in summary.guards
    ]  # fmt: skip
    head = ("guardrail", "at", "ran", "verdict", "action", "reason")
    return _section("Guardrails", _table(head, rows)) if rows else ""


def _budget(summary: RunSummary) -> str:
    rows = [
        [
            figures.BUDGET_LABELS[line.dimension],
            figures.amount(line.dimension, line.spent),
            figures.amount(line.dimension, line.held),
            "no cap" if line.cap is None else figures.amount(line.dimension, line.cap),
            "" if line.share is None else f'<meter min="0" max="1" value="{min(1.0, line.share):.4f}"></meter>',
        ]
        for line in summary.budget
    ]  # fmt: skip
    return _section("Budget", _table(("", "spent", "reserved", "cap", ""), rows, "numbers")) if rows else ""


def _steps(summary: RunSummary) -> str:
    rows = []
    for line in summary.steps:
        items = f" {line.items[0]}/{line.items[1]}" if line.items else ""
        passes = f" ×{line.passes}" if line.passes > 1 else ""
        notes = "; ".join(
            [*(f"gave up {rung}" for rung in line.rungs), *([line.error] if line.error else [])]
        )
        rows.append(
            [
                escape(plain(line.id, 80)),
                _badge(line.status, f"{line.status}{items}{passes}"),
                "" if line.status == "skipped" else figures.duration(line.milliseconds),
                escape(plain(notes, 600)),
            ]
        )
    return _section("Steps", _table(("step", "status", "time", ""), rows)) if rows else ""


def _outputs(summary: RunSummary) -> str:
    outputs: Any = summary.run.outputs
    if not isinstance(outputs, dict):
        return ""
    return _section(
        "Outputs",
        _list((plain(name, 80), escape(figures.compact(value, 600))) for name, value in outputs.items()),
    )


def _error(summary: RunSummary) -> str:
    run = summary.run
    if run.error is None:
        return ""
    kind = f"<b>{escape(plain(run.error_kind, 80))}</b> " if run.error_kind else ""
    return _section("Why it ended", f'<p class="error">{kind}{escape(plain(run.error, 3000))}</p>')


_STYLE = """
:root { color-scheme: light dark; --ink: #1d2433; --paper: #f6f7fa; --card: #fff; --line: #dfe3ea; --dim: #667085;
  --good: #16794c; --warn: #9a6700; --bad: #b42318; --mark: #3557d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9f0; --paper: #12151c; --card: #1a1f29; --line: #303747;
  --dim: #98a2b3; --good: #4ecb8f; --warn: #e5b454; --bad: #ff7b72; --mark: #8aa4ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 16px; margin: 0 0 10px; color: var(--mark); }
header p { margin: 2px 0; color: var(--dim); } header .goal { color: var(--ink); font-size: 18px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px;
  margin: 16px 0; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--dim); font-size: 13px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
tbody tr:last-child td { border-bottom: 0; }
.numbers td:not(:first-child), .numbers th:not(:first-child) { text-align: right; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 0 0 10px; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
.badge { display: inline-block; border: 1px solid; border-radius: 99px; padding: 0 9px; font-size: 13px;
  font-weight: 600; vertical-align: middle; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .dim { color: var(--dim); }
.error { color: var(--bad); margin: 0; overflow-wrap: anywhere; }
.media { text-align: center; } figure { margin: 0; } video, img { max-width: 100%; border-radius: 6px; }
figcaption, footer { color: var(--dim); font-size: 13px; } meter { width: 110px; }
svg { width: 100%; max-width: 640px; } svg text { fill: var(--dim); font-size: 12px; }
svg .trusted { fill: var(--good); opacity: .12; } svg polyline { fill: none; stroke: var(--mark); stroke-width: 2; }
svg polygon { fill: var(--mark); opacity: .15; } svg line { stroke: var(--line); }
"""
