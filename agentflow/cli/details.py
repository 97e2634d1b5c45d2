"""``show --guards`` and ``show --trace``: the manifest, and the tree of spans."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from agentflow.cli import figures
from agentflow.cli.figures import plain
from agentflow.cli.screen import BAD, DIM, WARN, badge

if TYPE_CHECKING:
    from rich.console import Console

    from agentflow.store.records import RunRecord
    from agentflow.tracing.read import SpanNode


def show_manifest(target: Console, run: RunRecord) -> None:
    """Print which guardrails a workflow asked for, and which ran."""
    manifest = run.manifest
    if manifest is None:
        target.print("no manifest: it is written when a run ends")
        return
    target.print(f"{manifest['effective']} of {manifest['requested']} guardrail hooks were reached")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=DIM)
    for name in ("guardrail", "at", "ran", "verdicts", "actions", "on fail", "on error", "rule"):
        table.add_column(name, overflow="fold")
    for row in manifest["guardrails"]:
        verdicts = row["verdicts"]
        table.add_row(
            plain(row["guardrail"], 80), row["hook"], f"{row['ran']}×" if row["effective"] else "not reached",
            badge("deny" if "deny" in verdicts else "allow", figures.counted(verdicts)) if verdicts else "",
            figures.counted(row["actions"]), row["on_fail"], row["on_error"], Text(row["rule_digest"], DIM),
        )  # fmt: skip
    target.print(table)


def show_trace(target: Console, path: Path) -> None:
    """Print the spans of a trace file as a tree; many alike in a row become one line."""
    from agentflow.tracing.read import read_trace

    trace = read_trace(path)
    if not trace.roots:
        target.print(f"no spans in {plain(path)}")
    for root in trace.roots:
        tree = Tree(_span([root]), guide_style=DIM)
        _grow(tree, root.children)
        target.print(tree)
    if trace.unreadable_lines:
        target.print(Text(f"{trace.unreadable_lines} lines could not be read", WARN))


def _grow(tree: Tree, spans: list[SpanNode]) -> None:
    for _, alike in groupby(spans, key=lambda span: (span.name, span.status, bool(span.children))):
        group = list(alike)
        if len(group) > 2 and not group[0].children:
            tree.add(_span(group))
            continue
        for span in group:
            _grow(tree.add(_span([span])), span.children)


def _span(group: list[SpanNode]) -> Text:
    span = group[0]
    times = f" ×{len(group)}" if len(group) > 1 else ""
    took = sum(one.duration_ms for one in group)
    line = Text.assemble((plain(span.name, 120) + times, ""), (f"  {took:,.0f} ms", DIM))
    if span.status == "ERROR":
        line.append(f"  {plain(span.status_message or 'error', 200)}", BAD)
    return line


def trace_as_json(path: Path) -> list[dict[str, Any]]:
    """Return the spans of a trace file as nested objects."""
    from agentflow.tracing.read import read_trace

    return [_node(root) for root in read_trace(path).roots]


def _node(span: SpanNode) -> dict[str, Any]:
    return {
        "name": span.name,
        "duration_ms": round(span.duration_ms, 3),
        "status": span.status,
        "attributes": span.attributes,
        "children": [_node(child) for child in span.children],
    }
