# ruff: noqa: E501 - a message stands here as it is read, in one piece
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from agentflow.core.errors import InvalidInputError, MissingSecretError
from agentflow.workflow.cel_reading import read
from agentflow.workflow.cel_syntax import RESERVED
from agentflow.workflow.expressions import (
    Flaw,
    Secrets,
    compile_expr,
    compile_template,
    compile_value,
    parse_expr,
    parse_template,
    resolve,
)

ROOTS = frozenset({"inputs", "steps"})
SCOPE: dict[str, Any] = {
    "inputs": {"n": 3, "x": 1.5, "goal": "left", "none": None, "list": [1, 2, 3], "flag": True},
    "steps": {"plan": {"output": {"candidates": [{"cost": 2.0}, {"cost": 1.0}]}, "skipped": False}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.n + 1", 4),
        ("inputs.n > 2 && inputs.goal == 'left'", True),
        ("steps.plan.output.candidates.map(c, c.cost)", [2.0, 1.0]),
        ("inputs['goal'].size()", 4),
        ("has(inputs.gone) ? 1 : 2", 2),
        ("inputs.none == null", True),
        ("{'a': [inputs.x]}", {"a": [1.5]}),
        ("inputs.list[1]", 2),
        ("1in(inputs.list)&&(inputs.list)[0]in inputs.list", True),
        ("[inputs.n,inputs . n,(inputs).n,inputs['n']]", [3, 3, 3, 3]),
        ("has(inputs.n)&&!has(inputs.gone)", True),
    ],
)
def test_an_expression_gives_its_value(text: str, value: Any) -> None:
    assert compile_expr(text, ROOTS).evaluate(SCOPE) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inputs.gone", "expression `inputs.gone`: found no key 'gone'; allowed: a key that is there; test it with has(…) first."),
        ("inputs.list[9]", "expression `inputs.list[9]`: found index out of bounds: 9; "
                           "allowed: an index within the list; test size(…) first."),
        ("inputs.n / 0", "expression `inputs.n / 0`: found a division by zero; allowed: a divisor that is not 0."),
        ("inputs.x + 1", "expression `inputs.x + 1`: found float + int; "
                         "allowed: operands of one type; convert with double(x), int(x)."),
        ("0.0 / 0.0", "expression `0.0 / 0.0`: found the number nan; allowed: a finite number."),
        ("{1: 2}", "expression `{1: 2}`: found the map key 1; allowed: map keys that are text."),
        ("b'x'", "expression `b'x'`: found a bytes; allowed: text, a number, true, false, null, a list or a map."),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_an_error_without_the_values(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        compile_expr(text).evaluate(SCOPE)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["inputs.n", "inputs.goal", "inputs.none", "inputs.list"])
def test_only_a_boolean_is_a_condition(text: str) -> None:
    with pytest.raises(InvalidInputError, match="a condition that is true or false"):
        compile_expr(text).condition(SCOPE)
    assert compile_expr("inputs.flag").condition(SCOPE) is True


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", Flaw(0, "the expression is empty.")),
        ("inputs.n >", Flaw(10, "this is not CEL: it ends too early.")),
        ("inputs.n\n  >> 1", Flaw(12, "this is not CEL: extraneous input '>'.")),
        ("secrets.KEY", Flaw(0, "unknown name 'secrets'. Allowed here: inputs, steps.")),
        ("input.n", Flaw(0, "unknown name 'input'. Did you mean 'inputs'? Allowed here: inputs, steps.")),
        (".inputs.n", Flaw(0, "'.inputs' cannot be read like this; write it as a plain path.")),
        ("len(inputs.goal)", Flaw(0, "unknown function 'len'. Allowed here: bytes, double, duration, dyn, has, int, "
                                     "size, string, timestamp, type, uint.")),
        ("[1].map(a, [1].map(b, [1].map(c, c)))", Flaw(0, "3 comprehensions inside one another; at most 2 are taken.")),
        ("1" + " + 1" * 500, Flaw(0, "the expression has 2001 characters; at most 2000 are taken.")),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_it_runs_and_where_it_stands(text: str, flaw: Flaw) -> None:
    assert parse_expr(text, ROOTS) == (None, (flaw,))


@pytest.mark.parametrize("word", sorted(RESERVED - {"true", "false", "null"}))
def test_a_reserved_word_is_refused_by_cel_itself(word: str) -> None:
    assert parse_expr(word)[0] is None


def test_only_the_paths_that_are_named_are_read() -> None:
    paths = [
        reference.path
        for reference in read("steps.a.output.x.map(c, c.y).size() > inputs['k'].z[0]").references
    ]
    assert paths == [("steps", "a", "output", "x"), ("inputs", "k", "z")]
    unreadable = object()  # CEL refuses it, so it would show
    assert (
        compile_expr("inputs.n").evaluate({"inputs": {"n": 1, "other": unreadable}, "steps": unreadable}) == 1
    )


def test_a_name_in_a_string_or_a_comment_is_no_reference() -> None:
    assert read('\'secrets.A\' + r\'\\\' + """secrets.B""" // secrets.C').references == []


def test_a_name_that_a_comprehension_binds_is_free_again_after_it() -> None:
    assert parse_expr("inputs.l.map(i, i)[0] + i", ROOTS)[1] == (
        Flaw(24, "unknown name 'i'. Allowed here: inputs, steps."),
    )


@pytest.mark.parametrize(
    "path", ["inputs.gone", "inputs.list[9]", "inputs.n.x", "inputs.none.x", "inputs.list.x", "inputs['goal'][0]",
             "inputs['list'][0][0]", "steps.plan[0]", "inputs.list['a']", "inputs[0]", "has(inputs.n.x)"],
)  # fmt: skip
def test_a_plain_path_that_leads_nowhere_fails_as_cel_does(path: str) -> None:
    def message(text: str) -> str:
        with pytest.raises(InvalidInputError) as caught:
            compile_expr(text).evaluate(SCOPE)
        return str(caught.value).partition(": found ")[2]

    name = path.removeprefix("has(").removesuffix(")").split(".")[0].split("[")[0]
    # bound by a comprehension, the same path is CEL's own work
    by_cel = message(f"[{name}].map(x, {path.replace(name, 'x')})")
    assert message(path) == message(f"[{path}]") == by_cel


@pytest.mark.parametrize(
    "text", ["inputs.n > 1 || inputs.gone", "inputs.flag ? 1 : inputs.gone.x", "true || gone.x"]
)
def test_a_path_that_leads_nowhere_fails_only_where_it_is_read(text: str) -> None:
    assert compile_expr(text).evaluate(SCOPE) in (True, 1)


def test_a_result_is_a_copy_and_plain() -> None:
    value = {"list": (1, {"a": 2})}
    result = compile_expr("inputs").evaluate({"inputs": value})
    assert result == {"list": [1, {"a": 2}]}
    result["list"][1]["a"] = 3
    assert value == {"list": (1, {"a": 2})}


def test_the_name_that_a_comprehension_binds_may_be_any() -> None:
    assert compile_expr("inputs.list.map(_path0, _path0 + inputs.n)").evaluate(SCOPE) == [4, 5, 6]
    assert compile_expr("(inputs.list).map(inputs, inputs + 1)").evaluate(SCOPE) == [2, 3, 4]


@pytest.mark.parametrize(
    "text", ["int('s3cret')", "int(inputs.key)", "inputs.big + 1", "double([inputs.key])", "timestamp(inputs.key)",
             "duration(inputs.key)", "inputs.key + 1", "{inputs: 1}", "inputs.key['x']", "[inputs.key][7]",
             "{'a': 1}[inputs.key]", "[1][inputs.big]"],
)  # fmt: skip
def test_an_error_carries_no_value(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        compile_expr(text).evaluate({"inputs": {"key": "s3cret", "big": 2**63 - 1}})
    said = str(caught.value).partition(": found ")[2]
    assert "s3cret" not in said
    assert "9223372036854775807" not in said


class Loading(Mapping[str, Any]):
    """A map whose values are read when they are touched."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values_, self.touched = values, set[str]()

    def __getitem__(self, key: str) -> Any:
        self.touched.add(key)
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


@pytest.mark.parametrize(
    "text", ["steps.a.output.x", "steps.a.output.x > 0", "[1].map(i, i + steps.a.output.x)[0] > 1"]
)
def test_a_map_that_loads_its_values_is_asked_only_for_what_is_named(text: str) -> None:
    output = Loading({"x": 1, "y": 2})
    steps = Loading({"a": {"output": output}, "b": {"output": None}})
    assert compile_expr(text).evaluate({"steps": steps})
    assert (steps.touched, output.touched) == ({"a"}, {"x"})


def test_cel_is_given_maps_that_load_their_values_as_plain_ones() -> None:
    steps = Loading({"a": {"output": Loading({"x": [Loading({"y": 1})]})}})
    assert compile_expr("steps.a.output.x.map(i, i.y)").evaluate({"steps": steps}) == [1]
    assert compile_expr("steps.a.output").evaluate({"steps": steps}) == {"x": [{"y": 1}]}


def test_a_compiled_value_fills_its_holes_and_shares_nothing() -> None:
    value = {"a": ["${{ inputs.n }}", {"b": "n = ${{ inputs.n }}"}], "c": {"d": [1]}}
    fill = compile_value(value)
    first, second = fill(SCOPE), fill({"inputs": {"n": 4}})
    assert first == resolve(value, SCOPE) == {"a": [3, {"b": "n = 3"}], "c": {"d": [1]}}
    assert second == {"a": [4, {"b": "n = 4"}], "c": {"d": [1]}}
    first["c"]["d"].append(2)
    assert fill(SCOPE)["c"] == value["c"] == {"d": [1]}


def test_a_whole_expression_keeps_its_type_and_mixed_text_gives_text() -> None:
    value = {
        "a": "${{ inputs.n }}",
        "b": ["${{ inputs.n }} of ${{ inputs.list }}"],
        "c": " ${{ inputs.none }} ",
        "d": 1,
    }
    assert resolve(value, SCOPE) == {"a": 3, "b": ["3 of [1,2,3]"], "c": None, "d": 1}
    assert compile_template("${{ {'a': {'b': '}}'}} }}").render({}) == {"a": {"b": "}}"}}


def test_flaws_of_a_template_count_from_its_start() -> None:
    assert parse_template("a ${{ x }} b ${{", ROOTS)[1] == (
        Flaw(6, "unknown name 'x'. Allowed here: inputs, steps."),
        Flaw(13, "this ${{ is not closed; end the expression with }}."),
    )


def test_an_unset_or_empty_secret_is_an_error_and_never_empty() -> None:
    scope = {"secrets": Secrets({"SET": "s3", "EMPTY": ""})}
    assert resolve("key ${{ secrets.SET }}", scope) == "key s3"
    for name in ("EMPTY", "UNSET"):
        with pytest.raises(MissingSecretError, match=name):
            resolve(f"${{{{ secrets.{name} }}}}", scope)


def test_cel_is_loaded_without_its_command_line_and_can_still_be_imported() -> None:
    code = (
        "import sys; from agentflow.workflow.expressions import compile_expr;"
        "assert compile_expr('1 + 1').evaluate({}) == 2; assert 'cel.cli' not in sys.modules;"
        "import cel; assert cel.evaluate('1 + 2') == 3"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
