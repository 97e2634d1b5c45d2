"""A chart as SVG: boxes in a column, workflows within as frames around theirs, ways back in lanes at the right.

Everything is measured in signs of a monospaced font before it is placed, so that no two labels lie on each other.
The middle of every box is x = 0.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

from agentflow.cli.flowchart import Box, Chart
from agentflow.cli.mermaid import COLOURS

_FONT = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"
_SIGN, _TITLE_SIGN, _LINE = 7.3, 8.5, 17.0
"""The width of a sign of 12 px, of one of 14 px, and the height of a line."""
_PAD, _GAP, _LANE, _STUB, _MARGIN = 14.0, 34.0, 24.0, 26.0, 24.0
_MOST_SIGNS = 48
_LABEL_SIGNS = 18
_PLAIN, _TAKEN, _LOOP, _INK, _DIM = "#8a8f98", "#2e7d32", "#6a4fa3", "#1b1b1b", "#5f6570"
_KINDS = {"approval": "#b26a00", "evaluate": "#6a4fa3", "agent": "#0277bd"}


@dataclass
class _Placed:
    """A box, or a frame around others, where it is drawn; it reaches from ``-left`` to ``right``."""

    box: Box
    lines: list[str]
    top: float
    bottom: float
    left: float
    right: float
    inner: _Column | None = None

    def port(self, share: float) -> float:
        """Return the height of a point of its right edge."""
        return self.top + share * min(self.bottom - self.top, 80.0)


@dataclass
class _Lane:
    """A way back, upwards at ``x``, between the right edges of two boxes (or of one), with its label."""

    x: float
    source: tuple[float, float]
    target: tuple[float, float]
    label: list[str]


@dataclass
class _Column:
    """Boxes below each other with the lanes beside them, and how far it all reaches."""

    placed: list[_Placed]
    lanes: list[_Lane]
    left: float
    right: float
    bottom: float


def svg(chart: Chart) -> str:
    """Return the picture of a chart."""
    ends = [
        _pill(f"{chart.name}: {', '.join(chart.inputs) or 'no inputs'}"),
        _pill(", ".join(chart.outputs) or "no outputs"),
    ]
    first_height, last_height = (_LINE * len(lines) + _PAD for lines, _ in ends)
    column = _column(chart.boxes, _MARGIN + first_height + _GAP)
    half = max(width for _, width in ends) / 2
    left, right = max(column.left, half) + _MARGIN, max(column.right, half) + _MARGIN
    last_top = column.bottom + _GAP
    width, height = left + right, last_top + last_height + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-left:.1f} 0 {width:.1f} {height:.1f}" font-family="{_FONT}" role="img">',
        f"<title>{escape(chart.name)}</title>",
        _marker("plain", _PLAIN) + _marker("taken", _TAKEN) + _marker("loop", _LOOP),
        f'<rect x="{-left:.1f}" y="0" width="{width:.1f}" height="{height:.1f}" fill="#ffffff"/>',
        *_drawn_pill(*ends[0], _MARGIN, first_height),
        *_drawn_pill(*ends[1], last_top, last_height),
        *_drawn(chart, column),
        *_chain(chart, column, _MARGIN + first_height, last_top),
        *_labels(column),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# Where things are


def _column(boxes: Iterable[Box], top: float) -> _Column:
    placed: list[_Placed] = []
    for box in boxes:
        placed.append(_place(box, top))
        top = placed[-1].bottom + _GAP
    reach = max(each.right + _stub(each.box) for each in placed)
    lanes: list[_Lane] = []
    for source, target, start, end, label in sorted(_loops(placed), key=lambda loop: loop[2] - loop[3]):
        alone = source is target  # nothing else stands beside it
        x = (source.right + _stub(source.box) if alone else reach) + _LANE
        lanes.append(_Lane(x, (source.right, start), (target.right, end), label))
        reach = max(reach, x + 6 + max(map(_signs, label)) * _SIGN)
    return _Column(placed, lanes, max(each.left for each in placed), reach, placed[-1].bottom)


def _place(box: Box, top: float) -> _Placed:
    lines = _lines(box)
    wide = max(_TITLE_SIGN * _signs(lines[0]), *(_SIGN * _signs(line) for line in lines)) + 2 * _PAD
    head = _LINE * len(lines) + _PAD
    if not box.inner:
        return _Placed(box, lines, top, top + head, wide / 2, wide / 2)
    inner = _column(box.inner, top + head + _PAD)
    left = inner.left + _PAD
    return _Placed(box, lines, top, inner.bottom + _PAD, left, max(inner.right + _PAD, wide - left), inner)


def _lines(box: Box) -> list[str]:
    said = [box.id]
    for line in box.lines:
        said += textwrap.wrap(line, _MOST_SIGNS) or [""]
    if box.condition:
        said += textwrap.wrap(f"if {box.condition}", _MOST_SIGNS)
    return [*said, box.taken.words] if box.taken else said


def _loops(placed: list[_Placed]) -> Iterator[tuple[_Placed, _Placed, float, float, list[str]]]:
    """Yield source, target, the heights of both ends, and the label of each way back."""
    by_path = {each.box.path: each for each in placed}
    for each in placed:
        if each.box.repeats:
            low = each.bottom - 12 if each.inner else each.port(0.85)
            yield each, each, low, each.port(0.4), textwrap.wrap(each.box.repeats, _LABEL_SIGNS)
        if target := by_path.get(each.box.back_to):
            label = textwrap.wrap(each.box.back_when, _LABEL_SIGNS)
            yield each, target, each.port(0.5), target.port(0.18), label


def _stub(box: Box) -> float:
    """Return how much room a box needs at its right for where it ends the run."""
    return _STUB + 6 + _signs(box.ends) * _SIGN if box.ends else 0.0


def _pill(text: str) -> tuple[list[str], float]:
    lines = textwrap.wrap(text, _MOST_SIGNS)
    return lines, max(map(_signs, lines)) * _SIGN + 3 * _PAD


def _signs(text: str) -> int:
    """Return how many signs wide a text is; those of Chinese, Japanese and Korean count twice."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


# What is drawn


def _drawn(chart: Chart, column: _Column) -> Iterator[str]:
    for placed in column.placed:
        yield from _drawn_box(chart, placed)
        if placed.inner:
            yield from _drawn(chart, placed.inner)
            yield from _chain(chart, placed.inner, None, None)
    for lane in column.lanes:
        (x1, y1), (x2, y2) = lane.source, lane.target
        way = f"M{x1:.1f},{y1:.1f} H{lane.x - 6:.1f} Q{lane.x:.1f},{y1:.1f} {lane.x:.1f},{y1 - 6:.1f} "
        way += f"V{y2 + 6:.1f} Q{lane.x:.1f},{y2:.1f} {lane.x - 6:.1f},{y2:.1f} H{x2 + 7:.1f}"
        yield f'<path d="{way}" fill="none" stroke="{_LOOP}" stroke-dasharray="5 3" marker-end="url(#loop)"/>'


def _drawn_box(chart: Chart, placed: _Placed) -> Iterator[str]:
    box = placed.box
    fill, line = "#f7f8fa", _KINDS.get(box.kind, "#4a5160")
    if chart.followed:
        fill, line = COLOURS[box.taken.status if box.taken else "unreached"]
    dash = ' stroke-dasharray="6 4"' if box.condition else ""
    clear = ' fill-opacity="0.35"' if placed.inner else ""
    yield (
        f'<rect x="{-placed.left:.1f}" y="{placed.top:.1f}" width="{placed.left + placed.right:.1f}" '
        f'height="{placed.bottom - placed.top:.1f}" rx="8" fill="{fill}"{clear} stroke="{line}" '
        f'stroke-width="1.6"{dash}/>'
    )
    x, anchor = (-placed.left + _PAD, "start") if placed.inner else (0.0, "middle")
    last = len(placed.lines) - 1
    for row, text in enumerate(placed.lines):
        y = placed.top + _PAD / 2 + _LINE * (row + 0.75)
        look = (
            f'font-size="14" font-weight="bold" fill="{_INK}"'
            if row == 0
            else f'font-size="12" fill="{_DIM}"'
        )
        if box.taken and row == last:
            look = f'font-size="12" fill="{line}"'
        yield _text(x, y, text, look, anchor)


def _chain(chart: Chart, column: _Column, begin: float | None, end: float | None) -> Iterator[str]:
    """Yield the arrows from each box to the next, and from ``begin`` and to ``end`` where these are given."""
    at, taken = begin, False
    for placed in column.placed:
        taken = chart.followed and placed.box.taken is not None
        if at is not None:
            yield _arrow(at, placed.top, taken)
        at = placed.bottom
    if at is not None and end is not None:
        yield _arrow(at, end, taken)


def _arrow(start: float, end: float, taken: bool) -> str:
    colour, width, marker = (_TAKEN, 2.4, "taken") if taken else (_PLAIN, 1.4, "plain")
    return (
        f'<line x1="0" y1="{start:.1f}" x2="0" y2="{end - 8:.1f}" stroke="{colour}" stroke-width="{width}" '
        f'marker-end="url(#{marker})"/>'
    )


def _labels(column: _Column) -> Iterator[str]:
    """Yield the labels of lanes, and where boxes end the run, each over what passes below it."""
    for lane in column.lanes:
        middle = (lane.source[1] + lane.target[1]) / 2 - _LINE * len(lane.label) / 2
        yield from _label(lane.x + 6, middle, lane.label, _LOOP)
    for placed in column.placed:
        if placed.box.ends:
            y, x = placed.port(0.5), placed.right
            yield f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x + _STUB - 8:.1f}" y2="{y:.1f}" stroke="{_PLAIN}" '
            yield 'stroke-dasharray="3 3" marker-end="url(#plain)"/>'
            yield from _label(x + _STUB + 4, y - _LINE / 2, [placed.box.ends], _DIM)
        if placed.inner:
            yield from _labels(placed.inner)


def _label(x: float, top: float, lines: list[str], colour: str) -> Iterator[str]:
    wide, high = max(map(_signs, lines)) * _SIGN, _LINE * len(lines)
    yield f'<rect x="{x - 2:.1f}" y="{top:.1f}" width="{wide + 4:.1f}" height="{high:.1f}" fill="#ffffff"/>'
    for row, line in enumerate(lines):
        yield _text(x, top + _LINE * (row + 0.75), line, f'font-size="12" fill="{colour}"', "start")


def _drawn_pill(lines: list[str], width: float, top: float, height: float) -> Iterator[str]:
    yield (
        f'<rect x="{-width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{height / 2:.1f}" '
        f'fill="#eef0f3" stroke="{_PLAIN}"/>'
    )
    for row, line in enumerate(lines):
        y = top + _PAD / 2 + _LINE * (row + 0.75)
        yield _text(0.0, y, line, f'font-size="12" fill="{_INK}"', "middle")


def _marker(name: str, colour: str) -> str:
    return (
        f'<defs><marker id="{name}" viewBox="0 0 10 10" refX="2" refY="5" markerWidth="9" markerHeight="9" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{colour}"/></marker></defs>'
    )


def _text(x: float, y: float, text: str, look: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {look} xml:space="preserve">{escape(text)}</text>'
