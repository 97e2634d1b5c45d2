"""Types that a file declares: what they stand for, what values they take, and where ``defaults`` go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import jsonschema
import pytest
from pydantic import BaseModel, Field

from agentflow.agent.plan import Plan
from agentflow.core.errors import InvalidInputError, WorkflowFileError
from agentflow.core.records import Artifact
from agentflow.workflow.checked_values import check_value, described
from agentflow.workflow.inputs import checked_outputs, resolve_answers, resolve_inputs
from agentflow.workflow.loader import load_workflow_text
from agentflow.workflow.schema import Workflow
from agentflow.workflow.type_hints import ARTIFACT, ROLLOUT, type_of_hint
from agentflow.workflow.type_schema import json_schema_of
from agentflow.workflow.types import ANY, INT, NUMBER, STRING, Type, list_of, map_of
from agentflow.worldmodel.contract import Rollout

FILE = """\
version: 1
types:
  Body:
    type: object
    fields:
      name: {type: string, min_length: 1, max_length: 8}
      mass_kg: {type: number, minimum: 0, maximum: 1000, default: 1}
      kind: {type: string, enum: [block, disc], optional: true}
  Tags: list of string
  Scene: {type: object, fields: {seed: integer, bodies: list of Body, tags: {type: Tags, optional: true}}}
  Scores: {type: object, values: number}
workflows:
  w:
    inputs: {scene: Scene, scores: {type: Scores, default: {}}, note: {type: string, optional: true}}
    steps:
      - {id: ask, approval: {message: ok, answers: {fps: {type: integer, default: 30}, why: string}}}
    outputs:
      plain: ${{ run.id }}
      first: {value: "${{ inputs.scene.bodies[0] }}", type: Body}
"""
SCENE = {"seed": 1, "bodies": [{"name": "red", "mass_kg": 2}, {"name": "blue", "kind": "disc"}]}


@pytest.fixture(scope="module")
def workflow() -> Workflow:
    return load_workflow_text(FILE).workflow("w")


def test_inputs_of_a_named_type_are_filled_in_and_numbers_become_floats(workflow: Workflow) -> None:
    found = resolve_inputs(workflow, {"scene": SCENE, "scores": {"goal": 1}})
    assert found == {
        "scene": {
            "seed": 1,
            "bodies": [
                {"name": "red", "mass_kg": 2.0, "kind": None},
                {"name": "blue", "kind": "disc", "mass_kg": 1.0},
            ],
            "tags": None,
        },
        "scores": {"goal": 1.0},
        "note": None,
    }
    assert type(found["scores"]["goal"]) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "one"}, "input 'scene', at seed: found 'one' (text); allowed: a whole number."),
        ({"seed": True}, "input 'scene', at seed: found true (a boolean); allowed: a whole number."),
        ({"bodies": {}}, "input 'scene', at bodies: found a mapping; allowed: a list of mappings (Body)."),
        ({"bodies": [{}]}, "input 'scene', at bodies[0]: found no 'name'; allowed: a mapping (Body) with name, "
                           "mass_kg, kind."),
        ({"bodies": [{"name": ""}]}, "input 'scene', at bodies[0].name: found 0 characters; allowed: at least 1 "
                                     "characters."),
        ({"bodies": [{"name": "a", "mass_kg": -1}]}, "input 'scene', at bodies[0].mass_kg: found -1; allowed: at least "
                                                     "0."),
        ({"bodies": [{"name": "a", "kind": "cup"}]}, "input 'scene', at bodies[0].kind: found 'cup'; allowed: one of "
                                                     "'block', 'disc'."),
        ({"bodies": [{"name": "a", "mas_kg": 1}]}, "input 'scene', at bodies[0]: found the key 'mas_kg' (Did you mean "
                                                   "'mass_kg'?); allowed: name, mass_kg, kind."),
        ({"tags": ["a", 2]}, "input 'scene', at tags[1]: found 2 (an integer); allowed: text."),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_with_its_path(
    workflow: Workflow, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve_inputs(workflow, {"scene": {**SCENE, **change}})
    assert str(caught.value) == message


def test_answers_are_checked_and_filled_in(workflow: Workflow) -> None:
    approval = workflow.steps[0].approval
    assert approval is not None
    assert resolve_answers(approval, {"why": "it looks right"}) == {"fps": 30, "why": "it looks right"}
    with pytest.raises(
        InvalidInputError, match=r"answer 'why': found nothing; allowed: text; it has no default\."
    ):
        resolve_answers(approval, {"fps": 10})
    with pytest.raises(
        InvalidInputError, match=r"answer 'fsp': found a name that the approval does not have \(Did"
    ):
        resolve_answers(approval, {"fsp": 10, "why": "x"})


def test_outputs_are_held_to_their_types(workflow: Workflow) -> None:
    assert checked_outputs(workflow, {"plain": 1, "first": {"name": "a", "mass_kg": 3}}) == {
        "plain": 1,
        "first": {"name": "a", "mass_kg": 3.0, "kind": None},
    }
    with pytest.raises(
        InvalidInputError, match=r"output 'first', at name: found 3 \(an integer\); allowed: text\."
    ):
        checked_outputs(workflow, {"plain": 1, "first": {"name": 3}})


def test_the_digest_of_a_workflow_covers_the_types_and_defaults_that_it_uses() -> None:
    first = load_workflow_text(FILE).digest("w")
    assert load_workflow_text(FILE.replace("maximum: 1000", "maximum: 999")).digest("w") != first
    tool = "version: 1\ndefaults: {timeout: 3s}\nworkflows: {w: {steps: [{id: a, use: x}]}}\n"
    assert load_workflow_text(tool).digest("w") != load_workflow_text(tool.replace("3s", "4s")).digest("w")


def test_a_step_that_says_nothing_takes_the_file_s_defaults_and_one_that_does_keeps_its_own() -> None:
    file = load_workflow_text("""\
version: 1
defaults:
  budget: {usd: 2.0}
  guardrails: [{use: first, at: input}]
  retry: {attempts: 5}
  timeout: 10s
  cache: true
  max_parallel: 8
  on_error: collect
workflows:
  w:
    guardrails: [{use: second, at: input}]
    steps:
      - {id: plain, use: x}
      - {id: own, foreach: {in: "[1]", max_parallel: 2}, use: x, timeout: 3s, cache: false}
      - {id: ask, approval: {message: ok}}
      - {id: judge, evaluate: {over: "[1]", scorers: {s: x}}}
      - {id: sub, foreach: {in: "[1]"}, workflow: v}
  v: {budget: {usd: 1.0}, steps: [{id: a, use: x}]}
""")
    w = file.workflow("w")
    plain, own, ask, judge, sub = w.steps
    assert plain.retry is not None
    assert own.foreach is not None
    assert sub.foreach is not None
    assert (plain.retry.attempts, plain.timeout, plain.cache) == (5, 10.0, True)
    assert (own.timeout, own.cache, own.foreach.max_parallel, own.foreach.on_error) == (
        3.0,
        False,
        2,
        "collect",
    )
    assert (ask.retry, ask.timeout, ask.cache, judge.timeout) == (None, None, False, None)
    assert (sub.timeout, sub.foreach.max_parallel) == (None, 8)
    assert [use.use for use in w.guardrails] == ["first", "second"]
    assert (w.budget.usd, file.workflow("v").budget.usd) == (2.0, 1.0)


class Inner(TypedDict):
    a: int
    b: NotRequired[list[str]]


@dataclass
class Record:
    inner: Inner
    when: Annotated[float, Field(ge=0)] = 0.0


class Model(BaseModel):
    names: tuple[str, ...]
    again: Model | None = None
    mode: Literal["x", "y"] = "x"
    pair: tuple[int, int] = (0, 0)
    table: dict[str, float] = {}
    what: complex | None = None


def test_a_python_annotation_becomes_the_type_of_its_json() -> None:
    inner = map_of({"a": INT, "b": list_of(STRING)})
    assert type_of_hint(list[Record]) == list_of(map_of({"inner": inner, "when": NUMBER}))
    assert type_of_hint(Model) == map_of(
        {
            "names": list_of(STRING),
            "again": ANY,
            "mode": STRING,
            "pair": list_of(INT),
            "table": map_of(None, NUMBER),
            "what": ANY,
        }
    )
    assert type_of_hint(Record).optional == {"when"}
    assert type_of_hint(Inner).optional == {"b"}


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Any, ANY),
        (object, ANY),
        (int | str, ANY),
        (int | None, INT.or_null()),
        (dict, map_of()),
        (list, list_of()),
        (list[dict[str, int]], list_of(map_of(None, INT))),
        (Rollout, ROLLOUT),
        (Artifact, ARTIFACT),
        ("a name that is never resolved", ANY),
    ],
)
def test_what_json_has_no_form_of_is_not_known(hint: Any, expected: Type) -> None:
    assert type_of_hint(hint) == expected


def test_a_plan_s_type_has_the_plan_s_fields() -> None:
    assert set(type_of_hint(Plan).fields) == set(Plan.model_fields)
    assert described(type_of_hint(Plan)) == "a mapping (Plan)"


def test_a_type_s_json_schema_takes_what_the_type_takes_and_refuses_what_it_refuses(
    workflow: Workflow,
) -> None:
    declared = workflow.inputs["scene"].to_type()
    schema = json_schema_of(declared)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(SCENE)
    wrong: list[Any] = [
        {"seed": "one"},
        {"bodies": [{}]},
        {"bodies": [{"name": "a", "kind": "cup"}]},
        {"more": 1},
        {"tags": [2]},
    ]
    for change in wrong:
        value = {**SCENE, **change}
        assert not validator.is_valid(value), change
        with pytest.raises(InvalidInputError):
            check_value(value, declared, "x")


def test_types_whose_names_written_out_would_fill_the_memory_are_refused() -> None:
    lines = [f"  T{n}: {{type: object, fields: {{a: T{n + 1}, b: T{n + 1}}}}}\n" for n in range(14)]
    text = (
        "version: 1\ntypes:\n"
        + "".join(lines)
        + "  T14: string\nworkflows: {w: {steps: [{id: a, use: x}]}}\n"
    )
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow_text(text, file="f")
    assert [str(problem) for problem in caught.value.problems] == [
        "f:7:7: this type is too large: with all names written out it holds more than 2000 others."
    ]
