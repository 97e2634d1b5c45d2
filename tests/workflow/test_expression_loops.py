# ruff: noqa: E501 - an expression stands here in one piece
"""Comprehensions are driven item by item, and give what CEL gives where it evaluates the whole at once."""

import random
from collections import Counter
from typing import Any

import pytest

from agentflow.core.errors import InvalidInputError
from agentflow.workflow.cel_engine import cel, failure, undefined
from agentflow.workflow.cel_loops import Run
from agentflow.workflow.cel_plan import plan
from agentflow.workflow.cel_reading import read
from agentflow.workflow.cel_values import UnfitError
from agentflow.workflow.expressions import compile_expr

RECORDS = [
    {"id": n, "ok": n % 2 == 0, "cost": n / 2, "name": f"item {n}", "tags": ["a", "b"][: n % 3]}
    for n in range(10_000)
]


class Grower:
    """Grows expressions that mostly fit their values: ``names`` are what can be read, with its kind."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.nesting = 0
        self.names = {"nums": "nums", "recs": "recs", "n": "num", "t": "text", "none": "any", "gone": "any"}

    def scope(self) -> dict[str, Any]:
        """Return values for the names; ``gone`` has none."""
        dice = self.dice

        def record() -> dict[str, Any]:
            own = {"id": dice.choice([0, 1, 2, 3, 2.0, None, "1"]) if dice.random() < 0.2 else dice.randint(0, 3),
                   "ok": dice.random() < 0.5, "name": dice.choice("abc") * dice.choice([1, 1, 90]),
                   "tags": [dice.choice("abc") for _ in range(dice.randint(0, 3))],
                   "in": {"x": dice.randint(0, 2)}}  # fmt: skip
            if dice.random() < 0.15:
                del own[dice.choice(list(own))]
            return own

        return {
            "nums": [dice.randint(-1, 3) for _ in range(dice.randint(0, 5))],
            "recs": [record() for _ in range(dice.randint(0, 5))],
            "n": dice.randint(0, 3), "t": dice.choice(["a", "b", ""]), "none": None,
        }  # fmt: skip

    def grow(self, kind: str, depth: int) -> str:
        """Return an expression of a kind; one in forty is of another."""
        if self.dice.random() < 0.025:
            kind = self.dice.choice(["num", "text", "bool", "nums", "recs", "texts", "any"])
        return str(getattr(self, kind)(depth - 1))

    def read(self, kind: str, otherwise: str) -> str:
        """Return a name of this kind, or a field of one."""
        fields = {"num": ".id", "bool": ".ok", "text": ".name", "texts": ".tags"}
        found = [name for name, each in self.names.items() if each == kind]
        found += [
            name + fields[kind] for name, each in self.names.items() if each == "rec" and kind in fields
        ] * 3
        found += [f"{name}['in'].x" for name, each in self.names.items() if each == "rec" and kind == "num"]
        return self.dice.choice(found) if found and self.dice.random() < 0.8 else otherwise

    def num(self, depth: int) -> str:
        if depth <= 0 or self.dice.random() < 0.3:
            return self.read("num", self.dice.choice("0123"))
        one, other = self.grow("num", depth), self.grow("num", depth)
        listed = self.grow(self.dice.choice(["nums", "recs", "texts"]), depth)
        return self.dice.choice(
            [f"({one} + {other})", f"({one} * {other})", f"({one} / {other})", f"size({listed})", f"{listed}.size()",
             f"{self.grow('nums', depth)}[{self.dice.randint(0, 2)}]", f"({self.grow('bool', depth)} ? {one} : {other})"]
        )  # fmt: skip

    def text(self, depth: int) -> str:
        if depth <= 0 or self.dice.random() < 0.5:
            return self.read("text", self.dice.choice(["'a'", "'b'"]))
        return self.dice.choice([f"({self.grow('text', depth)} + 'b')", f"{self.grow('recs', depth)}[0].name",
                                 f"string({self.grow('num', depth)})"])  # fmt: skip

    def bool(self, depth: int) -> str:
        if depth <= 0 or self.dice.random() < 0.2:
            return self.read("bool", self.dice.choice(["true", "n > 1", "none == null"]))
        one, other = self.grow("num", depth), self.grow("num", depth)
        words, tests = (
            (self.grow("text", depth), self.grow("texts", depth)),
            (self.grow("bool", depth), self.grow("bool", depth)),
        )
        record = next((name for name, kind in self.names.items() if kind == "rec"), "recs[0]")
        return self.dice.choice(
            [f"({one} {self.dice.choice(['<', '==', '>=', '!='])} {other})", f"({one} in {self.grow('nums', depth)})",
             f"({words[0]} in {words[1]})", f"({tests[0]} && {tests[1]})", f"({tests[0]} || {tests[1]})", f"!({tests[0]})",
             f"({words[0]} == {self.grow('text', depth)})", f"has({record}.id)", f"({tests[0]} || gone)",
             *[self.loop(["all", "exists", "exists_one"], depth) for _ in range(4)]]
        )  # fmt: skip

    def nums(self, depth: int) -> str:
        return self.gathered("nums", "num", ["nums", "[2, 0, 1]", "[n, 1]"], depth)

    def texts(self, depth: int) -> str:
        return self.gathered("texts", "text", [self.read("texts", "['a', t]")], depth)

    def recs(self, depth: int) -> str:
        return "recs" if depth <= 0 or self.nesting > 1 else self.loop(["filter"], depth, "recs")

    def any(self, depth: int) -> str:
        return self.dice.choice(["none", "gone", "null", "[]", "{'a': [n]}", "n.x", "1u"])

    def gathered(self, kind: str, item: str, leaves: list[str], depth: int) -> str:
        if depth <= 0 or self.nesting > 1 or self.dice.random() < 0.3:
            return self.dice.choice(leaves)
        return (
            self.loop(["filter"], depth, kind)
            if self.dice.random() < 0.5
            else self.loop(["map"], depth, "", item)
        )

    def loop(self, macros: list[str], depth: int, over: str = "", item: str = "") -> str:
        """Return a comprehension over a list of a kind, whose result has items of a kind."""
        if self.nesting > 1:
            return "true"
        over = over or self.dice.choice(["nums", "recs", "recs", "texts"])
        listed = self.grow(over, depth)
        name = self.dice.choice(["x", "y", "n", "nums"])
        before, self.names = (
            self.names,
            {**self.names, name: {"nums": "num", "recs": "rec", "texts": "text"}[over]},
        )
        self.nesting += 1
        bodies = [self.grow("bool", depth)]
        if macros == ["map"]:
            bodies = (
                [*bodies, self.grow(item, depth)] if self.dice.random() < 0.3 else [self.grow(item, depth)]
            )
        self.nesting -= 1
        self.names = before
        return f"{listed}.{self.dice.choice(macros)}({', '.join([name, *bodies])})"


def at_once(text: str, scope: dict[str, Any]) -> Any:
    """Return what CEL gives for the whole expression, or the kind of its error."""
    try:
        return cel().compile(text).execute(scope)
    except ValueError:
        raise
    except BaseException as error:
        said = (
            "Undefined variable or function"
            if undefined(error) in {*scope, "l", "gone"}
            else failure(error, text)[0]
        )
        return "error", said.partition(":")[0]


def driven(text: str, scope: dict[str, Any]) -> Any:
    """Return what driving its comprehensions gives, or the kind of its error."""
    try:
        return plan(text, read(text).tree).value(Run(text, scope, 10**12))
    except UnfitError as error:
        return "error", error.found.partition(":")[0]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same kinds."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def difference(text: str, scope: dict[str, Any]) -> str:
    """Return how driving differs from evaluating at once, or an empty text."""
    one, other = driven(text, scope), at_once(text, scope)
    return "" if same(one, other) else f"{text} over {scope}: {one!r} driven, {other!r} at once"


@pytest.mark.parametrize("block", range(10))
def test_what_is_driven_gives_what_cel_gives_at_once(block: int) -> None:
    ended = Counter[str]()
    for seed in range(block * 100, block * 100 + 100):
        grower = Grower(seed)
        text, scope = (
            grower.grow(grower.dice.choice(["bool", "num", "nums", "recs", "texts"]), 5),
            grower.scope(),
        )
        assert not difference(text, scope), f"seed {seed}: {difference(text, scope)}"
        ended["failed" if isinstance(at_once(text, scope), tuple) else "value"] += 1
    assert min(ended["failed"], ended["value"]) > 10


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("l.exists(x, 1 / x == 1)", {"l": [1, 0]}),
        ("l.exists(x, 1 / x == 1)", {"l": [0, 1]}),
        ("l.all(x, 1 / x == 2)", {"l": [1, 0]}),
        ("l.exists_one(x, 1 / x == 1)", {"l": [1, 0]}),
        ("l.all(x, x == 1 || m.all(y, y / x == 1))", {"l": [1, 0], "m": [1]}),
        ("l.map(x, x.a == null ? 1 : 2)", {"l": [{"a": None}, {"a": 3}, {"a": None}]}),
        ("l.map(x, x.a == x.b)", {"l": [{"a": None, "b": 1}, {"a": 1, "b": None}, {"a": None, "b": None}]}),
        ("l.map(x, x.a == null || true)", {"l": [{"a": None}, {}]}),
        ("l.map(x, has(x.a) && x.a)", {"l": [{"a": True}, {}, {"a": False}]}),
        ("l.map(l, l.map(l, l + 1))", {"l": [[1], [2, 3]]}),
        ("l.exists(x, x) || true", {"l": ["a"]}),
        ("l.filter(x, x.a)[0].b", {"l": [{"a": False}, {"a": True, "b": 2}]}),
        ("l.filter(x, x.a)[1]", {"l": [{"a": True}]}),
        ("size(l.filter(x, x in m))", {"l": [1, 2.0, "a"], "m": ["a", 2]}),
        ("l.map(x, m == null)", {"l": [1], "m": None}),
        ("l.map(x, x == 1u)", {"l": [1]}),
        ("[1u].map(x, x + 1u)", {}),
        ("l.exists(x, timestamp(x) > timestamp('2026-01-01T00:00:00Z'))", {"l": ["2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z"]}),
        ("['2026-01-01T00:00:00Z'].map(x, timestamp(x)).map(t, t.getFullYear())", {}),
        ("[b'a'].map(x, x + b'b').map(x, string(x))", {}),
        ("l.map(x, x)", {"l": {"key": 1}}),
        ("l.map(x, x)", {"l": "text"}),
        ("l.map(x, x)", {"l": None}),
        ("l.map(x, 1)", {}),
        ("l.map(x, x > 1, x * 2)", {"l": [1, 2, 3]}),
        ("l.map(x, x, x)", {"l": [1]}),
        ("l.filter(x, x.size() > 80).size()", {"l": ["a", "b" * 100, "c" * 70]}),
    ],
)  # fmt: skip
def test_every_rule_of_a_comprehension_is_that_of_cel(text: str, scope: dict[str, Any]) -> None:
    assert difference(text, scope) == ""
    assert at_once(text, scope) != ("error", "what CEL cannot evaluate")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.l.filter(r, r.ok)", RECORDS[::2]),
        ("inputs.l.filter(r, r.cost < 100.0)", RECORDS[:200]),
        ("inputs.l.map(r, r.name)", [record["name"] for record in RECORDS]),
        ("inputs.l.map(r, r.cost * 2.0)", [float(n) for n in range(10_000)]),
        ("inputs.l.all(r, r.cost >= 0.0)", True),
        ("inputs.l.exists(r, r.cost < 0.0)", False),
        ("inputs.l.exists_one(r, r.id == 7)", True),
        ("inputs.l.filter(r, !r.ok).size()", 5_000),
        ("inputs.l.filter(r, r.ok).map(r, r.id)[1]", 2),
    ],
)
def test_ten_thousand_records_are_ordinary_work(text: str, value: Any) -> None:
    assert compile_expr(text).evaluate({"inputs": {"l": RECORDS}}) == value


def test_what_passes_is_decided_by_the_values_and_never_by_a_clock() -> None:
    text = "inputs.l.exists(a, inputs.l.exists(b, a + b < 0))"
    said = set()
    for _ in range(3):
        with pytest.raises(InvalidInputError) as caught:
            compile_expr(text).evaluate({"inputs": {"l": list(range(1000))}})
        said.add((caught.value.found, caught.value.allowed))
    assert said == {
        (
            "work of more than 30 ms: 'exists' over 1000 items came to item 14",
            "30 ms; take fewer items, shorter text or less nesting",
        )
    }


def test_only_what_a_body_names_is_read_of_an_item() -> None:
    unreadable = object()  # CEL refuses it, so it would show
    items = [{"n": n, "other": unreadable} for n in range(3)]
    assert compile_expr("inputs.l.filter(i, i.n > 0).map(i, i.n)").evaluate({"inputs": {"l": items}}) == [
        1,
        2,
    ]


def test_a_gathered_result_is_a_copy() -> None:
    items = [{"ok": True, "list": [1]}]
    result = compile_expr("inputs.l.filter(i, i.ok)").evaluate({"inputs": {"l": items}})
    result[0]["list"].append(2)
    result[0]["ok"] = False
    assert items == [{"ok": True, "list": [1]}]
