from typing import Any

import pytest

from agentflow.core.amounts import UNLIMITED, Amounts
from agentflow.core.errors import InvalidInputError
from agentflow.workflow.inputs import resolve_inputs
from agentflow.workflow.schema import Workflow, definition, workflow_digest
from agentflow.workflow.steps import Budget, Step

WORKFLOW = Workflow.model_validate(
    {
        "inputs": {
            "goal": {"type": "string", "max_length": 5},
            "n": {"type": "integer", "default": 64, "minimum": 1, "maximum": 4096},
            "x": {"type": "number", "default": 1},
            "scene": {"type": "object", "default": {"seed": 0}},
            "mode": {"type": "string", "default": "fast", "enum": ["fast", "careful"]},
            "maybe": {"type": "array", "default": None, "max_length": 2},
        },
        "steps": [{"id": "a", "use": "t"}],
    }
)


def test_defaults_fill_what_was_not_given_and_numbers_become_floats() -> None:
    resolved = resolve_inputs(WORKFLOW, {"goal": "left"})
    assert resolved == {
        "goal": "left",
        "n": 64,
        "x": 1.0,
        "scene": {"seed": 0},
        "mode": "fast",
        "maybe": None,
    }
    assert type(resolved["x"]) is float
    resolved["scene"]["seed"] = 9
    assert resolve_inputs(WORKFLOW, {"goal": "left"})["scene"] == {"seed": 0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "input 'goal': found nothing; allowed: text; it has no default."),
        ({"gaol": "x"}, "input 'gaol': found a name that the workflow does not have (Did you mean 'goal'?); "
                        "allowed: goal, n, x, scene, mode, maybe."),
        ({"goal": "much too long"}, "input 'goal': found 13 characters; allowed: at most 5 characters."),
        ({"goal": 3}, "input 'goal': found 3 (an integer); allowed: text."),
        ({"goal": "a", "n": True}, "input 'n': found true (a boolean); allowed: a whole number."),
        ({"goal": "a", "n": 3.0}, "input 'n': found 3.0 (a number); allowed: a whole number."),
        ({"goal": "a", "n": 0}, "input 'n': found 0; allowed: at least 1."),
        ({"goal": "a", "n": 5000}, "input 'n': found 5000; allowed: at most 4096."),
        ({"goal": "a", "x": float("nan")}, "input 'x': found nan, which is not finite; allowed: finite numbers, text, "
                                           "true, false, null, lists and mappings with text keys."),
        ({"goal": "a", "scene": {"p": [float("inf")]}}, "input 'scene': found inf, which is not finite; allowed: "
            "finite numbers, text, true, false, null, lists and mappings with text keys."),
        ({"goal": "a", "scene": None}, "input 'scene': found nothing; allowed: a mapping."),
        ({"goal": "a", "mode": "slow"}, "input 'mode': found 'slow'; allowed: one of 'fast', 'careful'."),
        ({"goal": "a", "maybe": [1, 2, 3]}, "input 'maybe': found 3 items; allowed: at most 2 items."),
    ],
)  # fmt: skip
def test_an_input_that_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolve_inputs(WORKFLOW, given)
    assert str(caught.value) == message


def test_a_budget_becomes_whole_amounts_and_is_unlimited_where_it_says_nothing() -> None:
    budget = Budget.model_validate({"tokens": 60000, "usd": 0.5, "gpu_seconds": 1.5, "wall_clock": "1h30m"})
    assert budget.to_amounts() == Amounts(
        tokens=60000, micro_usd=500_000, gpu_ms=1500, frames=UNLIMITED, wall_ms=5_400_000
    )


def test_a_step_knows_its_kind_and_what_it_repeats() -> None:
    step = Step.model_validate({"id": "a", "foreach": {"in": "inputs.l"}, "use": "t"})
    assert (step.kind, step.body) == ("foreach", "use")
    assert Step.model_validate({"id": "a", "approval": {"message": "ok?"}}).kind == "approval"


def test_the_digest_depends_on_the_meaning_only() -> None:
    same = Workflow.model_validate({"steps": [{"use": "t", "id": "a", "timeout": "90s"}]})
    other_words = Workflow.model_validate({"steps": [{"id": "a", "timeout": 90, "use": "t", "cache": False}]})
    changed = Workflow.model_validate({"steps": [{"id": "a", "timeout": 91, "use": "t"}]})
    assert workflow_digest(same) == workflow_digest(other_words) != workflow_digest(changed)


def test_the_digest_holds_nothing_that_the_file_does_not_say_so_a_new_option_changes_none() -> None:
    said = {"steps": [{"id": "a", "use": "t", "timeout": 90.0}]}
    assert definition(Workflow.model_validate(said)) == said
