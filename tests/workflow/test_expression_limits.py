# ruff: noqa: E501 - a message stands here as it is read, in one piece
"""No expression holds the process: what is too deep, too long or too much work is refused before it runs.

The refusal is asserted here, not the time; `benchmarks/expressions.py` measures that.
"""

import subprocess
import sys
from typing import Any

import pytest

from agentflow.core.errors import InvalidInputError
from agentflow.workflow.cel_tree import MAX_BRACKETS, MAX_DEPTH, Node, UnreadableError, parse
from agentflow.workflow.expressions import compile_expr, compile_template, parse_expr, parse_template

DEEP: Any = 1
for _ in range(70):
    DEEP = [DEEP]
SCOPE: dict[str, Any] = {
    "inputs": {
        "l": list(range(10_000)),
        "d": [{"a": 1.0, "b": "x", "c": n} for n in range(10_000)],
        "m": {f"key{n}": n for n in range(20_000)},
        "s": "ab" * 20_000,
        "t": ["text"] * 10_000,
        "deep": DEEP,
        "huge": [None] * 1_000_000,
        "text": "x" * 50_000_000,
        "i": 1,
    }
}
WORK, LOOP, HANDED = "work of up to", "work of more than 30 ms: ", "to hand over"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("inputs.d.filter(x, true)", "more than 89900 values"),
        ("inputs.l.exists(x, inputs.l.exists(y, x + y < 0))", LOOP),
        ("inputs.l.map(x, inputs.s + inputs.s + inputs.s)", LOOP),
        ("inputs.l.all(x, inputs.s.contains('abba') == false)", LOOP),
        ("inputs.l.all(x, [inputs.l, x] != [inputs.l])", LOOP),
        ("inputs.l.all(x, !(x in inputs.t))", LOOP),
        ("inputs.l.map(x, string(inputs.s)).size()", LOOP),
        ("inputs.d.exists(x, duration('1h' + inputs.s) == null)", LOOP),
        ("inputs.d.exists(x, int(x.b + inputs.s) == 1)", "a value that 'int' does not take"),
        ("inputs.d.exists(x, x.b.matches('^a+$'))", LOOP),
        ("inputs.d.filter(x, [x, x] == [])", LOOP),
        ("[1u].map(x, inputs.l.map(y, x))", WORK),
        ("inputs.s.matches('(a|b|ab)*(a|b|ab)*(a|b|ab)*c')", WORK),
        (r"'a'.matches('\\w{500}')", WORK),
        (r"'a'.matches('(\\pL|\\d){90}')", WORK),
        ("['x']" + ".map(x, x + x)" * 60, WORK),
        ("[1]" + ".map(x, [x, x])" * 60, WORK),
        ("[[1, 2]]" + ".map(x, x + x)" * 40, WORK),
        ("[[1]].map(x, " + " + ".join(["inputs.l"] * 100) + ")", WORK),
        ("inputs.d.map(x, {'a': inputs.d, 'b': x}).size()", HANDED),
        ("inputs.m.map(k, inputs.m[k])", HANDED),
        ("inputs.t.map(x, inputs.d).size() + inputs.m.size()", HANDED),
        ("inputs.deep == 1", "values nested deeper than 64"),
        ("inputs.deep", "values nested deeper than 64"),
        ("inputs.huge == null", "a list of 1000000 items"),
        ("inputs.huge", "more than 200000 values"),
        ("size(inputs.text) > 1", "a text of 50000000 characters"),
        ("inputs == 1", HANDED),
    ],
)
def test_what_might_hold_the_process_is_refused_before_it_runs(text: str, found: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        compile_expr(text).evaluate(SCOPE)
    assert found in str(caught.value)
    assert "; allowed: " in str(caught.value)


def test_a_refusal_says_what_is_too_large_and_what_is_allowed() -> None:
    nested = compile_expr("inputs.l.exists(a, inputs.l.exists(b, a > b))")
    assert nested.evaluate({"inputs": {"l": [0] * 50}}) is False
    with pytest.raises(InvalidInputError) as caught:
        nested.evaluate({"inputs": {"l": [0] * 1000}})
    assert caught.value.allowed == "30 ms; take fewer items, shorter text or less nesting"
    assert caught.value.found.startswith("work of more than 30 ms: 'exists' over 1000 items came to item ")
    with pytest.raises(InvalidInputError) as caught:
        compile_expr("inputs.d.exists(d, inputs.l + inputs.l == [d])").evaluate(SCOPE)
    assert caught.value.found.startswith("work of more than 30 ms: 'exists' over 10000 items came to item ")


@pytest.mark.parametrize(
    "text",
    [
        "inputs.d.filter(x, x.a > 0.0).map(x, x.c)",
        "inputs.d.all(x, x.b == 'x' && x.c >= 0)",
        "inputs.d.map(x, x.a).size() == 1000",
        "inputs.l.exists(x, x == 99) && size(inputs.s) > 3",
        "inputs.s.matches('^(ab)*$')",
        "inputs.m.key7 in inputs.l",
    ],
)
def test_ordinary_work_is_not_refused(text: str) -> None:
    few = {**SCOPE["inputs"], "d": SCOPE["inputs"]["d"][:1000], "l": list(range(500))}
    compile_expr(text).evaluate({"inputs": few})


@pytest.mark.parametrize(
    "text",
    [
        "(" * 900,
        "(" * 900 + "1" + ")" * 900,
        "[" * 40 + "]" * 40,
        "{'a': " * 40 + "1" + "}" * 40,
        "[{(" * 300,
        "-(" * 40 + "1" + ")" * 40,
        "true ? 1 : " * 40 + "1",
        "true ? " * 40 + "1" + " : 1" * 40,
        "1" + " + 1" * 200,
        "1" + " < 1" * 200,
        "a" + ".b" * 200,
        "a" + "[0]" * 200,
        "!" * 200 + "true",
        "-" * 200 + "1",
        "l" + ".map(x, x)" * 150,
    ],
)
def test_what_is_deep_enough_to_overflow_a_stack_is_never_given_to_cel(text: str) -> None:
    expr, flaws = parse_expr(text)
    assert expr is None
    assert "more than" in flaws[0].message


def test_the_deepest_that_is_taken_fits_a_small_stack() -> None:
    brackets, chain = "[" * MAX_BRACKETS + "1" + "]" * MAX_BRACKETS, "1" + " + 1" * (MAX_DEPTH - 1)
    mixed = "(" * (MAX_BRACKETS - 1) + "1" + " + 1)" * (MAX_BRACKETS - 1) + " < 1" * 90
    choices = "i == 0 ? 1 : " * MAX_BRACKETS + "1"
    code = (
        "import threading\n"
        "from agentflow.workflow.expressions import parse_expr\n"
        "def run():\n"
        f"    for text in {[brackets, chain, mixed, choices]!r}:\n"
        "        expr, flaws = parse_expr(text)\n"
        "        try: expr.evaluate({'i': 1})\n"
        "        except Exception as error: print(type(error).__name__)\n"
        "        else: print('value')\n"
        "threading.stack_size(512 * 1024)\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["value", "value", "InvalidInputError", "value"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inputs.s.matches(inputs.p)", "the pattern of 'matches' must stand here as text, as in s.matches('^a+$')."),
        ("inputs.s.matches('a' + 'b')", "the pattern of 'matches' must stand here as text, as in s.matches('^a+$')."),
        ("inputs.s.matches('(a{1000}){1000}')", "the counts in this pattern multiply to more than 1000; repeat less often."),
        ("inputs.s.matches('" + "a" * 201 + "')", "a pattern of 201 characters; at most 200 are taken."),
        ("inputs.s.matches('(?ix)a{1 000}')", "a pattern with the flag 'x' is not taken; write it without blanks and comments."),
    ],
)  # fmt: skip
def test_a_pattern_is_checked_where_it_stands(text: str, message: str) -> None:
    assert [(flaw.offset, flaw.message) for flaw in parse_expr(text)[1]] == [(9, message)]


def test_a_text_has_at_most_64_expressions() -> None:
    assert parse_template("${{ 1 }}" * 64)[0] is not None
    assert [flaw.message for flaw in parse_template("${{ 1 }}" * 65)[1]] == [
        "a text has at most 64 expressions; split this one."
    ]


def test_the_expressions_of_one_text_share_what_one_may_work() -> None:
    one = "${{ inputs.l.map(x, x + 1).size() }}"
    scope = {"inputs": {"l": list(range(500))}}
    assert compile_template(f"{one} and {one}").render(scope) == "500 and 500"
    with pytest.raises(
        InvalidInputError, match="work of more than 30 ms: 'map' over 500 items came to item "
    ):
        compile_template(" ".join([one] * 40)).render(scope)


FORMS = {
    "literal": lambda node, parts: node.name,
    "name": lambda node, parts: node.name,
    "select": lambda node, parts: f"{parts[0]}.{node.name}",
    "has": lambda node, parts: f"has({parts[0]}.{node.name})",
    "index": lambda node, parts: f"{parts[0]}[{parts[1]}]",
    "call": lambda node, parts: f"{node.name}({', '.join(parts)})",
    "method": lambda node, parts: f"{parts[0]}.{node.name}({', '.join(parts[1:])})",
    "macro": lambda node, parts: f"{parts[0]}.{node.name}({node.value}, {', '.join(parts[1:])})",
    "binary": lambda node, parts: f"({parts[0]} {node.name} {parts[1]})",
    "unary": lambda node, parts: f"({node.name}{parts[0]})",
    "choice": lambda node, parts: f"({parts[0]} ? {parts[1]} : {parts[2]})",
    "list": lambda node, parts: f"[{', '.join(parts)}]",
    "map": lambda node, parts: (
        "{" + ", ".join(map(": ".join, zip(parts[::2], parts[1::2], strict=True))) + "}"
    ),
}


def unparsed(node: Node) -> str:
    """Return a node as text in which every operation has its own brackets."""
    return FORMS[node.kind](node, [unparsed(arg) for arg in node.args])


@pytest.mark.parametrize(
    "text",
    [
        "1 + 2 * 3 - 4 / 2 % 3",
        "2 - 1 - 1",
        "1 < 2 == true",
        "1 + 1 in [2] && !false || 1 > 2",
        "false || true && false",
        "true || false && false",
        "false ? 1 : false ? 2 : 3",
        "1 < 2 ? 1 + 1 : 2 * 2",
        "-1 + 2",
        "-(1 + 2) * 3",
        "!!true && !(1 > 2)",
        "[1, 2, 3].filter(x, x > 1).map(y, y * 2)[0] + 1",
        "{'a': {'b': [1]}}.a.b[0] == 1",
        "has({'a': 1}.b) || size('abc') == 3",
        '\'a\' + "b" + r\'\\\' + """c""" + \'\\x41\\u00e9\\101\\n\' // the rest',
        "[1, 2].exists(x, x == 2) == [[1]].all(l, l[0] == 1)",
        "10 / 3 * 3 + 10 % 3 == 10 && 'a' in {'a': 1}",
        "0x1F + 1 == 32 && 1.5e1 > .5 && 7u > 3u",
    ],
)
def test_the_tree_that_costs_are_worked_out_on_is_the_one_that_cel_reads(text: str) -> None:
    bracketed = unparsed(parse(text))
    assert bracketed != text
    assert compile_expr(bracketed).evaluate({}) == compile_expr(text).evaluate({})


@pytest.mark.parametrize(
    "text", ["a.?b", "[?a]", "a{b: 1}", "a.b{}", "`a`", "a b", "1 +", "f(1,)", "'a\rb'", "a # b", "@a", "l.map(x)", "a.in",
             "has(a)", "l.map(1, 2)", "'\\q'", "a\u00a0+ b", "return"],
)  # fmt: skip
def test_the_tree_is_made_of_no_more_than_is_known_to_be_bounded(text: str) -> None:
    with pytest.raises(UnreadableError):
        parse(text)
    assert parse_expr(text)[0] is None
