"""An expression cut into what CEL evaluates at once and the comprehensions that are driven around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agentflow.workflow.cel_loops import Loop, Part, Place, Program, Source
from agentflow.workflow.cel_reading import path_from, path_of
from agentflow.workflow.cel_tree import Node

_OWN = frozenset({"bytes", "duration", "timestamp", "type", "uint"})
"""Functions whose values are of kinds that do not come back from Python as they went there."""
_SURE = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "&&", "||", "!"})


def plan(text: str, tree: Node) -> Source:
    """Return what evaluates the expression ``text``.

    Raises:
        ValueError: a part of it is no CEL.
    """
    prefix = "_path"
    while any(node.kind == "macro" and node.value.startswith(prefix) for node in tree.walk()):
        prefix += "_"
    return _Cutter(text, prefix, driven=not any(_crosses(node) for node in tree.walk())).source(tree)


def _crosses(node: Node) -> bool:
    """Whether a comprehension would take a value through Python that comes back as another kind."""
    return node.kind == "macro" and (_own(node.args[0]) or (node.name == "map" and _own(node.args[-1])))


def _own(node: Node) -> bool:
    """Whether a value may be, or hold, one of a kind that only CEL has."""
    if node.kind == "literal":
        return isinstance(node.value, bytes) or (node.name[-1:] in "uU" and type(node.value) is int)
    if node.kind == "has" or node.name in _SURE:
        return False
    if node.kind in ("call", "method"):
        return node.name in _OWN or (node.name == "dyn" and any(map(_own, node.args)))
    if node.kind == "macro":
        return node.name in ("map", "filter") and any(map(_own, node.args))
    return any(map(_own, node.args))


@dataclass(slots=True)
class _Cutter:
    text: str
    prefix: str
    driven: bool
    """Whether comprehensions are driven; otherwise CEL is given them whole."""

    def source(self, node: Node, around: frozenset[str] = frozenset(), variable: str = "") -> Source:
        """Return what gives the value of a node, in the body of the comprehension that binds ``variable``."""
        if (own := self._one(node, around)) is not None:
            return own
        pieces = _Pieces(self, around)
        tree = pieces.cut(node, frozenset())
        fixed = {name: source for name, source in pieces.sources.items() if variable not in source.free}
        moving = {name: source for name, source in pieces.sources.items() if variable in source.free}
        free = frozenset().union(*(source.free for source in pieces.sources.values()))
        return Program(pieces.written(node), tree, fixed, moving, free)

    def _one(self, node: Node, around: frozenset[str]) -> Source | None:
        """Return the path or the comprehension that a node is, or None."""
        holder = path_of(node.args[0] if node.kind == "has" else node)
        if holder is not None:
            parts = (*holder, node.name) if node.kind == "has" else holder
            return Place(parts, node.kind == "has", around & {str(parts[0])})
        if not self.driven:
            return None
        return self._loop(node, around) if node.kind == "macro" else self._part(node, around)

    def _part(self, node: Node, around: frozenset[str]) -> Part | None:
        """Return what a node takes of a list that a comprehension gathers, so that CEL is not given all of it."""
        whole, parts = path_from(node)
        if node.name == "size" and node.kind in ("call", "method") and len(node.args) == 1:
            whole = node.args[0]
        if whole is node or whole.kind != "macro" or whole.name not in ("filter", "map"):
            return None
        loop = self._loop(whole, around)
        return Part(loop, parts, loop.free)

    def _loop(self, node: Node, around: frozenset[str]) -> Loop:
        over = self.source(node.args[0], around)
        bodies = [self.source(body, around | {node.value}, node.value) for body in node.args[1:]]
        free = over.free | (frozenset().union(*(body.free for body in bodies)) - {node.value})
        result = bodies.pop() if node.name == "map" else None
        return Loop(node.name, node.value, over, bodies[0] if bodies else None, result, free)


@dataclass(slots=True)
class _Pieces:
    """What is cut out of one program, each under a name that nothing in the expression binds."""

    cutter: _Cutter
    around: frozenset[str]
    sources: dict[str, Source] = field(default_factory=dict)
    names: dict[tuple[tuple[str | int, ...], bool], str] = field(default_factory=dict)
    places: list[tuple[int, int, str]] = field(default_factory=list)

    def cut(self, node: Node, inside: frozenset[str]) -> Node:
        """Return a tree with names in the place of what is cut; ``inside`` are names that CEL itself binds."""
        source = None if _first(node) in inside else self.cutter._one(node, self.around)
        if source is not None:
            name = self._name(source)
            self.places.append((node.start, node.end, name))
            return Node("name", node.offset, name)
        bound = inside | {node.value} if node.kind == "macro" else inside
        args = [self.cut(arg, bound if index else inside) for index, arg in enumerate(node.args)]
        return Node(node.kind, node.offset, node.name, tuple(args), node.value)

    def _name(self, source: Source) -> str:
        key = (source.parts, source.asks) if isinstance(source, Place) else None
        if key is not None and key in self.names:
            return self.names[key]
        name = f"{self.cutter.prefix}{len(self.sources)}"
        self.sources[name] = source
        if key is not None:
            self.names[key] = name
        return name

    def written(self, node: Node) -> str:
        """Return the text of a node with the names in it."""
        return "".join(self._written(node))

    def _written(self, node: Node) -> Iterator[str]:
        done = node.start
        for start, end, name in sorted(self.places):
            yield self.cutter.text[done:start]
            yield f" {name} "  # blanks, for `in(inputs.l)`
            done = end
        yield self.cutter.text[done : node.end]


def _first(node: Node) -> str:
    """Return the name that a path begins with, or an empty text."""
    path = path_of(node.args[0] if node.kind == "has" else node)
    return str(path[0]) if path else ""
