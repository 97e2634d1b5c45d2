"""A YAML file as values with positions: YAML 1.2's core scalars, nothing that runs, points back or repeats.

PyYAML's own loader keeps the last of two equal keys, reads ``no`` as False and ``12:30:00`` as a number, and
forgets where a value stood. This one reads libyaml's events itself, so a bomb is refused at its first
excess node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agentflow.core.errors import Problem, WorkflowFileError
from agentflow.workflow.traps import EXPRESSION_KEYS, syntax_problems

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_PROBLEMS = 100

KeyPath = tuple[str | int, ...]

_Event = Any  # the stubs of PyYAML leave events untyped
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class Problems:
    """The mistakes found so far. After `MAX_PROBLEMS` it raises what it has: nobody reads more at once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []
        self._settled: set[tuple[int, int]] = set()
        self.known = 0
        """How many there are at least, counting those that were not noted."""

    def settle_places(self) -> None:
        """Note nothing more at the places of the mistakes found so far: it would only be their echo."""
        self._settled = {(problem.line, problem.column) for problem in self.found}

    def add(self, position: tuple[int, int], message: str) -> None:
        """Note one mistake at (line, column)."""
        if position in self._settled:
            return
        self.found.append(Problem(self.file, *position, message))
        if len(self.found) >= MAX_PROBLEMS:
            last = max(self.found)
            more = f"and {self.known - MAX_PROBLEMS} more" if self.known > MAX_PROBLEMS else "and more"
            note = f"{more} mistakes, which are not listed. Correct these first."
            self.found.append(Problem(self.file, last.line, last.column + 1, note))
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raise all mistakes as one error.

        Raises:
            WorkflowFileError: there is at least one.
        """
        if self.found:
            raise WorkflowFileError(self.found)


@dataclass(slots=True)
class Node:
    """One value of the file: a scalar, a list of nodes or a mapping to nodes. Positions count from 1."""

    value: Any
    line: int
    column: int
    start: int = 0
    end: int = 0
    style: str = ""
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def position(self) -> tuple[int, int]:
        """Line and column of the first character."""
        return (self.line, self.column)

    def data(self) -> Any:
        """Return the value without positions."""
        if isinstance(self.value, dict):
            return {key: node.data() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.data() for node in self.value]
        return self.value


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its text, its tree, and where each thing stands."""

    file: str
    text: str
    root: Node

    def node(self, path: Sequence[str | int]) -> Node:
        """Return the node at ``path``, or the deepest one on the way there."""
        node = self.root
        for part in path:
            child = _child(node, part)
            if child is not None:
                node = child
        return node

    def position(self, path: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Return line and column of the value at ``path`` (with ``key``: of its key)."""
        if key and path:
            at = self.node(path[:-1]).keys.get(str(path[-1]))
            if at:
                return at
        return self.node(path).position

    def inside(self, path: Sequence[str | int], offset: int) -> tuple[int, int]:
        """Return line and column of character ``offset`` of the text value at ``path``."""
        node = self.node(path)
        raw = self.text[node.start : node.end]
        at = _raw_offset(node, raw, offset)
        lines = raw[:at].count("\n")
        if not lines:
            return (node.line, node.column + at)
        return (node.line + lines, at - raw.rfind("\n", 0, at))


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, dict):
        return node.value.get(str(part))
    if isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
        child: Node = node.value[part]
        return child
    return None


_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|.", re.DOTALL)
_DOUBLED = re.compile(r"''|.", re.DOTALL)


def _raw_offset(node: Node, raw: str, offset: int) -> int:
    """Return where in the source text ``raw`` of a scalar its character ``offset`` stands."""
    value = str(node.value)
    if "\n" not in raw:
        if node.style not in ("'", '"'):
            return offset
        pattern = _ESCAPE if node.style == '"' else _DOUBLED
        for count, match in enumerate(pattern.finditer(raw, 1)):
            if count == offset:
                return match.start()
        return 0
    start = value.rfind("\n", 0, offset) + 1
    line = value[start:].split("\n", 1)[0]
    word = value[offset : offset + 16].split("\n", 1)[0]
    for needle, skip in ((line, offset - start), (word, 0), (word.split(" ")[0], 0)):
        found = raw.find(needle) if needle else -1
        if found >= 0:
            return found + skip
    return 0


def read_document(path: str | Path, problems: Problems | None = None) -> Document:
    """Read and parse a YAML file, see `parse_document`.

    Raises:
        WorkflowFileError: it cannot be read, is too large, or is not the YAML that agentflow takes.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refusal(
            name,
            "there is no such file. Give the path of a workflow file, or of a folder with workflows.yaml",
        ) from None
    except OSError as error:
        raise _refusal(name, f"the file cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise _refusal(name, f"the file is larger than {MAX_BYTES} bytes; split it into several files")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        message = f"the file is not UTF-8: found the byte 0x{data[error.start]:02x}. Save it as UTF-8."
        raise WorkflowFileError([Problem(name, line, column, message)]) from None
    return parse_document(text, name, problems)


def _refusal(file: str, message: str) -> WorkflowFileError:
    return WorkflowFileError([Problem(file, 1, 1, f"{message}.")])


def parse_document(text: str, file: str, problems: Problems | None = None) -> Document:
    """Parse YAML text; ``file`` is the name that messages carry.

    Args:
        text: the file's text.
        file: its name.
        problems: given, mistakes that leave a tree to work with (a key twice, an alias) are noted there
            and the tree is returned; otherwise they are raised too.

    Raises:
        WorkflowFileError: every mistake that was found before parsing had to end.
    """
    composer = _Composer(text, Problems(file) if problems is None else problems)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            composer.take(event)
    except yaml.YAMLError as error:
        composer.problems.found.extend(syntax_problems(text, file, error))
        composer.problems.raise_if_any()
    if problems is None:
        composer.problems.raise_if_any()
    if composer.root is None:
        raise _refusal(file, "the file is empty. Start it with 'version: 1'")
    return Document(file, text, composer.root)


class _Composer:
    """Builds nodes from events, one at a time, without recursion."""

    def __init__(self, text: str, problems: Problems) -> None:
        self.text, self.problems = text, problems
        self.root: Node | None = None
        self.count = 0
        self.open: list[Node] = []
        self.pending: list[Node | None] = []

    def take(self, event: _Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._place(self._scalar(event))
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self.open.pop()
                self.pending.pop()
            case yaml.AliasEvent():
                self._problem(event, "YAML aliases (*) are not taken. Write the value out, or use an input.")
                self._place(self._node(event, None))
            case yaml.DocumentStartEvent() if self.root is not None:
                self._fatal(event, "a second YAML document starts here; a file holds one")

    def _start(self, event: _Event) -> None:
        self._check_marks(event)
        node = self._node(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
        if len(self.open) >= MAX_DEPTH:
            self._fatal(event, f"nested deeper than {MAX_DEPTH} levels")
        self._place(node)
        self.open.append(node)
        self.pending.append(None)

    def _node(self, event: _Event, value: Any) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            self._fatal(event, f"more than {MAX_NODES} values; split the file")
        start, end = event.start_mark, event.end_mark
        return Node(value, start.line + 1, start.column + 1, start.index, end.index)

    def _scalar(self, event: _Event) -> Node:
        self._check_marks(event)
        node = self._node(event, event.value)
        node.style = event.style or ""
        if event.tag is None and event.implicit[0]:
            node.value = self._plain(node, event.value)
        return node

    def _plain(self, node: Node, text: str) -> Any:
        """Return what a plain scalar means in YAML 1.2's core schema."""
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.fullmatch(text):
            number = int(text, 0) if text[:2] in ("0o", "0x") else int(text) if len(text) < 25 else 2**64
            if not -(2**63) <= number < 2**63:
                self.problems.add(node.position, f"found {text[:30]}; whole numbers have at most 64 bits.")
                return 0
            return number
        if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and float(text) in (_INF, -_INF)):
            self.problems.add(node.position, f"found {text[:30]}; numbers must be finite.")
            return 0
        return float(text) if _FLOAT.fullmatch(text) else text

    def _place(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif self.pending[-1] is None:
            self._check_key(node)
            self.pending[-1] = node
        else:
            key, self.pending[-1] = self.pending[-1], None
            self._enter(parent, key, node)

    def _enter(self, parent: Node, key: Node, node: Node) -> None:
        name = key.value if isinstance(key.value, str) else f"<line {key.line}, column {key.column}>"
        if name in parent.value:
            first = parent.keys[name][0]
            shown = name if len(name) <= 60 else name[:60] + "…"
            self.problems.add(
                key.position, f"the key '{shown}' stands here a second time; first on line {first}."
            )
            return
        parent.value[name] = node
        parent.keys[name] = key.position

    def _check_key(self, key: Node) -> None:
        if key.value == "<<" and not key.style:
            self.problems.add(key.position, "YAML merge keys (<<) are not taken. Write the values out.")
        elif isinstance(key.value, dict | list):
            hint = (
                ' An expression is written "${{ … }}", in quotes.'
                if self.text.startswith("{", key.start) and self.text[key.start - 1 : key.start] == "{"
                else ""
            )
            self.problems.add(key.position, f"a key must be text, not a list or mapping.{hint}")
        elif not isinstance(key.value, str):
            shown = self.text[key.start : key.end][:30] or "nothing"
            self.problems.add(key.position, f"a key must be text; found {shown}. Put it in quotes.")

    def _check_marks(self, event: _Event) -> None:
        if event.anchor:
            self._problem(event, "YAML anchors (&) are not taken. Remove the anchor, and write values out.")
        if event.tag is None:
            return
        before = self.text[: event.start_mark.index].rsplit("\n", 1)[-1].rstrip().removesuffix(":")
        if any(before.endswith(key) for key in EXPRESSION_KEYS):
            self._problem(event, "a value that starts with ! is a YAML tag: quote this expression.")
        else:
            self._problem(
                event, f"YAML tags ({event.tag[:40]}) are not taken. Put text that starts with ! in quotes."
            )

    def _problem(self, event: _Event, message: str) -> None:
        self.problems.add((event.start_mark.line + 1, event.start_mark.column + 1), message)

    def _fatal(self, event: _Event, message: str) -> None:
        self._problem(event, f"{message}.")
        self.problems.raise_if_any()


_INF = float("inf")


def texts_in(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield every text inside a JSON value with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_in(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from texts_in(item, (*path, index))
