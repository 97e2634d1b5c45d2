"""A world card on the screen: any nested JSON as headed tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agentflow.cli.figures import compact, plain
from agentflow.cli.screen import DIM, HEAD

_LONG = 40
_MANY = 8
"""Rows of nothing but numbers, such as a course of losses, of which the first and the last are shown."""
_FIRST = ("evaluation", "training")
"""What a reader of a card looks for; the other parts follow in their own order."""


def show_card(target: Console, name: str, card: Mapping[str, Any]) -> None:
    """Print a card."""
    target.print(Rule(Text(f"world {plain(name)}", style=HEAD), align="left", style=DIM))
    for depth, part in _parts(card, 1):
        target.print(Padding(part, (0, 0, 0, 2 * depth)))


def _parts(value: Mapping[str, Any], depth: int) -> Iterator[tuple[int, RenderableType]]:
    """Yield the plain entries as one table, then each nested one under its name."""
    flat = {name: item for name, item in value.items() if not _nested(item)}
    if flat:
        table = Table.grid(padding=(0, 2))
        table.add_column(style=DIM, overflow="fold", max_width=36)
        table.add_column(overflow="fold")
        for name, item in flat.items():
            table.add_row(_title(name), _entry(item))
        yield depth, table
    for name, item in sorted(value.items(), key=lambda entry: _order(entry[0])):
        if not _nested(item):
            continue
        yield depth, Text(f"\n{_title(name)}" if depth == 1 else _title(name), style="bold")
        yield from _inside(item, depth + 1)


def _entry(item: Any) -> Text:
    """Return a plain entry; sentences stand on lines of their own."""
    if _is_list(item) and any(isinstance(one, str) and " " in one.strip() and len(one) > 24 for one in item):
        return Text("\n".join(plain(one, 300) for one in item))
    return Text(compact(item, 600))


def _order(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _inside(item: Any, depth: int) -> Iterator[tuple[int, RenderableType]]:
    rows = _rows(item)
    if rows is not None:
        yield depth, _table(rows)
    elif isinstance(item, Mapping):
        yield from _parts(item, depth)
    else:
        yield depth, Text(compact(item, 600))


def _nested(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value)
    return _is_list(value) and any(isinstance(one, Mapping) or _is_list(one) for one in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _rows(value: Any) -> list[list[str]] | None:
    """Return a table, heading first, where ``value`` is one: lists of lists, objects alike, objects of objects."""
    if isinstance(value, Mapping):
        inner = list(value.values())
        if (
            len(inner) > 1
            and all(isinstance(one, Mapping) for one in inner)
            and set.intersection(*map(set, inner))
        ):
            flat = [_flattened(one) for one in inner]
            return _of_objects(flat, list(value))
        return None
    if _is_list(value) and value and all(isinstance(one, Mapping) for one in value):
        return _of_objects([_flattened(one) for one in value], None)
    if _is_list(value) and value and all(_is_list(one) for one in value):
        return [[], *([compact(cell, _LONG) for cell in row] for row in value)]
    return None


def _flattened(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            found |= _flattened(item, f"{prefix}{_title(name)} ")
        else:
            found[f"{prefix}{_title(name)}"] = compact(item, _LONG)
    return found


def _of_objects(rows: list[dict[str, str]], names: list[str] | None) -> list[list[str]] | None:
    """Return rows with one column a key; a table of more columns than fit is turned on its side."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if not keys:
        return None
    heads = [_title(name) for name in names] if names is not None else [str(n + 1) for n in range(len(rows))]
    if len(keys) > len(rows) and len(rows) <= 6:
        return [["", *heads], *([key, *(row.get(key, "") for row in rows)] for key in keys)]
    if names is None:
        return [keys, *([row.get(key, "") for key in keys] for row in rows)]
    body = ([head, *(row.get(key, "") for key in keys)] for head, row in zip(heads, rows, strict=True))
    return [["", *keys], *body]


def _table(rows: list[list[str]]) -> Table:
    head, body = rows[0], rows[1:]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=DIM, show_header=bool(head))
    for index in range(max(map(len, rows))):
        name = head[index] if index < len(head) else ""
        table.add_column(plain(name, 40), overflow="fold", justify="left" if index == 0 else "right")
    most = _LONG if any(_words(row) for row in body) else _MANY
    shown = body if len(body) <= most else [*body[: most // 2], ["…"], *body[-(most // 2) :]]
    for row in shown:
        table.add_row(*(Text(plain(cell, 200)) for cell in row))
    return table


def _words(row: Sequence[str]) -> bool:
    return any(cell[:1].isalpha() for cell in row)


def _title(name: Any) -> str:
    return plain(str(name).replace("_", " "), 60)
