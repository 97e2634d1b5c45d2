"""A chart as Mermaid text, which many viewers of Markdown draw."""

from __future__ import annotations

from collections.abc import Iterator

from agentflow.cli.flowchart import Box, Chart

_SIGNS = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"}
_SHAPES = {"approval": ("{{", "}}"), "evaluate": ("{", "}"), "agent": ("([", "])")}
COLOURS = {
    "ok": ("#e3f4e6", "#2e7d32"), "degraded": ("#fff4d6", "#b26a00"), "skipped": ("#f4f4f4", "#9e9e9e"),
    "waiting": ("#fff4d6", "#b26a00"), "failed": ("#fde4e1", "#c62828"), "refused": ("#fde4e1", "#c62828"),
    "exhausted": ("#fde4e1", "#c62828"), "cancelled": ("#fff4d6", "#b26a00"), "running": ("#e1f1fb", "#0277bd"),
    "called": ("#e1f1fb", "#0277bd"), "unreached": ("#ffffff", "#c8c8c8"),
}  # fmt: skip
"""Of each status: the box's colour, and its line's."""


def mermaid(chart: Chart) -> str:
    """Return the text of a chart."""
    names: dict[str, str] = {}
    for box in _all(chart.boxes):
        names[box.path] = f"s{len(names)}"
    lines = [
        "flowchart TD",
        f"  begin([{_text(f'{chart.name}: ' + (', '.join(chart.inputs) or 'no inputs'))}])",
    ]
    for box in chart.boxes:
        lines += _node(box, names, "  ")
    lines.append(f"  finish([{_text(', '.join(chart.outputs) or 'no outputs')}])")
    before, arrow = "begin", _arrow(chart, None)
    for box in chart.boxes:
        lines.append(f"  {before} {_arrow(chart, box)} {_first(box, names)}")
        before, arrow = _last(box, names), _arrow(chart, box)
    lines.append(f"  {before} {arrow} finish")
    for box in _all(chart.boxes):
        lines += _links(chart, box, names)
    lines += _classes(chart, names)
    return "\n".join(lines) + "\n"


def _node(box: Box, names: dict[str, str], indent: str) -> Iterator[str]:
    name, said = names[box.path], _text(*words(box))
    if not box.inner:
        opening, closing = _SHAPES.get(box.kind, ("[", "]"))
        yield f"{indent}{name}{opening}{said}{closing}"
        return
    yield f"{indent}subgraph {name} [{said}]"
    yield f"{indent}  direction TB"
    for inner in box.inner:
        yield from _node(inner, names, indent + "  ")
    yield f"{indent}end"


def words(box: Box) -> list[str]:
    """Return what stands in a box: its name first."""
    said = [box.id, *box.lines]
    if box.condition:
        said.append(f"if {box.condition}")
    return [*said, box.taken.words] if box.taken else said


def _links(chart: Chart, box: Box, names: dict[str, str]) -> Iterator[str]:
    name = names[box.path]
    for one, other in zip(box.inner, box.inner[1:], strict=False):
        yield f"  {_last(one, names)} {_arrow(chart, other)} {_first(other, names)}"
    if box.repeats and box.inner:
        yield f"  {_last(box.inner[-1], names)} -. {_text(box.repeats)} .-> {_first(box.inner[0], names)}"
    elif box.repeats:
        yield f"  {name} -. {_text(box.repeats)} .-> {name}"
    if box.back_to:
        yield f"  {_last(box, names)} -. {_text(box.back_when)} .-> {names[box.back_to]}"
    if box.ends:
        yield f"  {name} -. {_text(box.ends)} .-> {name}_end([{_text('the run ends')}])"


def _first(box: Box, names: dict[str, str]) -> str:
    return _first(box.inner[0], names) if box.inner else names[box.path]


def _last(box: Box, names: dict[str, str]) -> str:
    return _last(box.inner[-1], names) if box.inner else names[box.path]


def _arrow(chart: Chart, box: Box | None) -> str:
    return "==>" if chart.followed and box is not None and box.taken is not None else "-->"


def _classes(chart: Chart, names: dict[str, str]) -> Iterator[str]:
    if not chart.followed:
        return
    used: dict[str, list[str]] = {}
    for box in _all(chart.boxes):
        used.setdefault(box.taken.status if box.taken else "unreached", []).append(names[box.path])
    for status, found in used.items():
        fill, line = COLOURS[status]
        yield f"  classDef {status} fill:{fill},stroke:{line},color:#1b1b1b"
        yield f"  class {','.join(found)} {status}"


def _all(boxes: tuple[Box, ...]) -> Iterator[Box]:
    for box in boxes:
        yield box
        yield from _all(box.inner)


def _text(*lines: str) -> str:
    said = ("".join(_SIGNS.get(sign, sign) for sign in line) for line in lines)
    return f'"{"<br/>".join(said)}"'
