"""The scripted model: what it answers, what it remembers, what it costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentflow import Amounts, ChatModel, Message, ModelError
from agentflow.testing import (
    Bench,
    FakeWorld,
    ModelRequest,
    ScriptedModel,
    answer,
    assert_booked_once,
    assert_spent,
    assert_status,
    envelopes,
    tool_calls,
)

GOAL = {"understood": True, "body": "red block", "x_m": 0.0, "y_m": 0.0, "avoid": [], "pushes": []}
SCHEMA = {"type": "object", "required": ["understood"]}


def ask(model: ScriptedModel, text: str = "hi", **options: Any) -> Any:
    return asyncio.run(model.complete([Message(role="user", content=text)], **options))


def test_it_answers_in_order_and_keeps_what_it_was_asked() -> None:
    model = ScriptedModel(["one", {"understood": True}], usage=(3, 4), micro_usd=9)
    assert isinstance(model, ChatModel)
    heard: list[str] = []
    first = ask(model, "what", on_text=heard.append, max_tokens=7)
    assert (first.text, first.usage, heard) == ("one", Amounts(tokens=7, micro_usd=9), ["one"])
    assert ask(model, schema=SCHEMA).data == {"understood": True}
    assert model.unused == 0
    assert [(request.text, request.max_tokens) for request in model.requests] == [("what", 7), ("hi", 1024)]


def test_a_function_answers_what_it_makes_of_the_request() -> None:
    def parrot(request: ModelRequest) -> str:
        return request.text.upper()

    assert ask(ScriptedModel(parrot), "hello").text == "HELLO"


def test_what_goes_wrong_goes_wrong_as_with_a_real_model() -> None:
    down = ModelError("planner", "is down", "Wait.", retryable=True, spent=Amounts(tokens=3))
    model = ScriptedModel([down, "no JSON", "{}"])
    with pytest.raises(ModelError) as caught:
        ask(model)
    assert caught.value is down
    with pytest.raises(ModelError, match="the answer cannot be used: text that is not JSON") as caught:
        ask(model, schema=SCHEMA)
    assert (caught.value.spent_tokens, caught.value.retryable) == (15, True)
    with pytest.raises(ModelError, match="an object without the required 'understood'"):
        ask(model, schema=SCHEMA)
    with pytest.raises(ModelError, match="the script has no reply for request 4, which ends: 'once more'"):
        ask(model, "once more")


def test_it_takes_the_place_of_a_model_of_the_file_whatever_that_is(pushing: Bench) -> None:
    model = ScriptedModel(
        [
            tool_calls(("t_nothing", {}), usage=(100, 10)),
            answer({**GOAL, "body": "unicorn"}, usage=(100, 20), micro_usd=5),
            answer(GOAL, usage=(100, 30), micro_usd=7),
        ]
    )
    flow = pushing.open(worlds={"tabletop": FakeWorld(trusted_steps=50)}, models={"planner": model})
    result = flow.run("push", goal="put the red one in the middle")
    assert_status(result, "waiting", plan="ok")
    assert model.unused == 0
    assert "there is no tool 't_nothing' for you" in model.requests[1].text
    assert "That does not hold: body: found 'unicorn'" in model.requests[2].text
    assert_spent(result, tokens=360, micro_usd=12)
    assert_booked_once(result)
    assert envelopes(result)["plan/chat[3]"].usage == Amounts(tokens=130, micro_usd=7)


def test_a_set_error_fails_the_step_with_its_cost_booked(pushing: Bench) -> None:
    model = ScriptedModel([ModelError("planner", "is down", "Wait.", spent=Amounts(tokens=11))])
    result = pushing.open(worlds={"tabletop": FakeWorld(trusted_steps=50)}, models={"planner": model}).run(
        "push"
    )
    assert_status(result, "failed", plan="failed")
    assert str(result.error) == "language model 'planner': is down. Wait."
    assert_spent(result, tokens=11)
