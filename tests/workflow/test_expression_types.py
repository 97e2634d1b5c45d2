# ruff: noqa: E501 - a message stands here as it is read, in one piece
import pytest

from agentflow.workflow.expressions import compile_expr
from agentflow.workflow.types import (
    ANY,
    BOOL,
    DOUBLE,
    INT,
    NULL,
    NUMBER,
    STRING,
    Type,
    either,
    list_of,
    map_of,
    misfit,
)

ITEM = map_of({"cost": DOUBLE, "name": STRING})
TYPES = {
    "inputs": map_of({"name": STRING, "n": INT, "x": DOUBLE, "q": NUMBER, "on": BOOL, "items": list_of(ITEM), "free": ANY}),
    "steps": map_of({"plan": map_of({"output": map_of({"top": INT}).or_null(), "more": map_of(value=INT)})}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("inputs.n + 1", INT),
        ("inputs.x * 2.0", DOUBLE),
        ("inputs.q + 1", INT),
        ("inputs.q + inputs.q", NUMBER),
        ("-inputs.x", DOUBLE),
        ("inputs.name + '!'", STRING),
        ("inputs.x > 1 && inputs.on", BOOL),
        ("inputs.items[0].cost", DOUBLE),
        ("inputs['name']", STRING),
        ("inputs.items.map(c, c.name)", list_of(STRING)),
        ("inputs.items.filter(c, c.cost > 1.0)", list_of(ITEM)),
        ("inputs.items.exists(c, c.cost > 1.0)", BOOL),
        ("inputs.on ? 1 : 2.5", NUMBER),
        ("inputs.on ? inputs.n : null", INT.or_null()),
        ("inputs.on ? 1 : 'a'", ANY),
        ("size(inputs.name)", INT),
        ("inputs.name.size()", INT),
        ("string(inputs.n)", STRING),
        ("inputs.name.startsWith('a')", BOOL),
        ("{'a': inputs.n}.a", INT),
        ("[1, 2] + [3]", list_of(INT)),
        ("steps.plan.output.top", INT),
        ("steps.plan.more.anything", INT),
        ("inputs.free.any.thing[0] + 1", ANY),
        ("other.name", ANY),
        ("null", NULL),
    ],
)
def test_the_type_of_an_expression_is_known_before_it_runs(text: str, found: Type) -> None:
    assert compile_expr(text).static_type(TYPES) == (found, ())


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("inputs.name + 1", 12, "the types do not fit: string + int; convert with double(x), int(x) or string(x), or write 2.0 for 2."),
        ("inputs.x + 1", 9, "the types do not fit: float + int; convert with double(x), int(x) or string(x), or write 2.0 for 2."),
        ("inputs.name < 1", 12, "the types do not fit: string < int; convert with double(x), int(x) or string(x), or write 2.0 for 2."),
        ("inputs.nam", 7, "inputs has no 'nam'. Did you mean 'name'? It has: name, n, x, q, on, items, free."),
        ("inputs.items.map(c, c.cots)", 22, "c has no 'cots'. Did you mean 'cost'? It has: cost, name."),
        ("inputs.items.filter(c, c.cost)", 25, "'filter' needs a condition; this is a number."),
        ("inputs.items.cost", 13, "inputs.items is a list of mappings; it has no 'cost'. Write inputs.items[0].cost, or inputs.items.map(x, x.cost)."),
        ("inputs.n.x", 9, "inputs.n is a whole number; it has no 'x'."),
        ("inputs.items['a']", 13, "a list is indexed by an integer; this is text."),
        ("inputs.n[0]", 8, "inputs.n is a whole number; it has no items."),
        ("inputs.n.map(x, x)", 7, "'map' goes over a list; this is an integer."),
        ("!inputs.n", 8, "'!' turns a condition round; this is an integer."),
        ("-inputs.name", 8, "'-' takes a number; this is text."),
        ("inputs.n && true", 7, "'&&' joins conditions; this is an integer."),
        ("inputs.n ? 1 : 2", 7, "'?' needs a condition before it; this is an integer."),
        ("size(inputs.n)", 12, "'size' takes text, a list or a map; this is an integer."),
        ("int(inputs.items)", 11, "'int' takes text or a number; this is a list."),
        ("inputs.n.matches('a')", 7, "'matches' takes text; this is an integer."),
        ("1 in inputs.name", 12, "'in' looks into a list or a map; this is text."),
        ("steps.plan.output.tip", 18, "steps.plan.output has no 'tip'. Did you mean 'top'? It has: top."),
    ],
)  # fmt: skip
def test_operands_that_cannot_fit_are_found_where_they_stand(text: str, offset: int, message: str) -> None:
    flaws = compile_expr(text).static_type(TYPES)[1]
    assert [(flaw.offset, flaw.message) for flaw in flaws] == [(offset, message)]


@pytest.mark.parametrize(
    "text",
    [
        "inputs.free + 1",
        "inputs.free.map(x, x + 1)",
        "has(inputs.gone) ? inputs.gone : 1",
        "steps.plan.output == null || steps.plan.output.top > 1",
        "inputs.x == 1",
        "inputs.q > 1 && inputs.q + 1.0 > 2",
        "(inputs.on ? 1 : 'a') + 1",
        "inputs.items.map(x, x)[inputs.q]",
    ],
)
def test_what_may_fit_is_no_mistake(text: str) -> None:
    assert compile_expr(text).static_type(TYPES)[1] == ()


def test_a_place_says_what_it_wants() -> None:
    assert misfit(INT, "a condition") == "this gives an integer; allowed: a condition."
    assert misfit(STRING, "a list") == "this gives text; allowed: a list."
    assert [misfit(kind, "a number") for kind in (INT, DOUBLE, NUMBER, ANY, INT.or_null())] == [""] * 5


def test_what_is_one_type_or_another_keeps_only_what_both_have() -> None:
    assert either([INT, INT]) == INT
    assert either([INT, NULL, DOUBLE]) == NUMBER.or_null()
    assert either([list_of(INT), list_of(STRING)]) == list_of(ANY)
    assert either([map_of({"a": INT, "b": INT}), map_of({"a": DOUBLE})]) == map_of({"a": NUMBER}, ANY)
    assert either([]) == either([INT, STRING]) == ANY
