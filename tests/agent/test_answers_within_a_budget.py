"""Agents that answer, and budgets that have no room for all of it: booked is what was paid, kept what is finished."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow.testing import ScriptedModel, assert_booked_once, assert_spent, envelopes, spans, tool_calls

GOOD = {"severity": "high", "reason": "two cracks"}
LOOK = tool_calls(("t_history", {"part": "weld"}), usage=(100, 10))


def held(result: Any, chat: str) -> int:
    """Return how many tokens were held for a chat."""
    (step,) = spans(result, f"step triage/{chat}")
    reserve = next(child for child in step.children if child.name == "budget.reserve")
    return int(reserve.attributes["agentflow.budget.reserved.tokens"])


@pytest.fixture
def second(office: Any) -> int:
    """The tokens held for the second of two chats; the first one costs 110, and its tool nothing but time."""
    result = office.run(tools="[t.history]", models={"writer": ScriptedModel([LOOK, GOOD])})
    assert result.status == "succeeded", result.error
    (office.bench.root / "calls.txt").unlink()
    return held(result, "chat[2]")


def budget(tokens: int, on_exhausted: str = "stop") -> str:
    return f"budget: {{tokens: {tokens}, on_exhausted: {on_exhausted}}}"


def test_a_budget_used_up_in_the_middle_ends_the_step_with_what_was_paid_on_the_bill(
    office: Any, second: int
) -> None:
    model = ScriptedModel([LOOK, GOOD])
    result = office.run(tools="[t.history]", head=budget(110 + second - 1), models={"writer": model})
    assert result.status == "exhausted"
    assert f"asked for {second}, left {second - 1} of {second + 109}" in str(result.error)
    assert (len(model.requests), office.bench.calls) == (1, ["history:weld"])
    assert_spent(result, tokens=110, gpu_ms=2)
    assert_booked_once(result)
    assert {path: str(each.status) for path, each in envelopes(result).items() if "triage" in path} == {
        "triage": "exhausted", "triage/chat[1]": "ok", "triage/t_history[1.0]": "ok",
        "triage/chat[2]": "exhausted",
    }  # fmt: skip


def test_a_budget_that_degrades_takes_shorter_answers_first(office: Any, second: int) -> None:
    model = ScriptedModel([LOOK, GOOD])
    head = budget(110 + second - 1, "degrade")
    result = office.run(tools="[t.history]", head=head, models={"writer": model})
    assert (result.status, result.outputs["triage"]["severity"]) == ("degraded", "high")
    assert envelopes(result)["triage"].rungs == ["chat 2: 300 → 256 tokens of an answer"]
    assert [(request.max_tokens, len(request.tools)) for request in model.requests] == [(300, 1), (256, 1)]
    assert_spent(result, tokens=125, gpu_ms=2)


def test_a_budget_that_degrades_gives_up_further_rounds_with_tools(office: Any, second: int) -> None:
    model = ScriptedModel([LOOK, GOOD])
    head = budget(110 + second - 44 - 1, "degrade")
    result = office.run(tools="[t.history]", head=head, models={"writer": model})
    assert (result.status, result.outputs["triage"]["severity"]) == ("degraded", "high")
    assert envelopes(result)["triage"].rungs == [
        "chat 2: 300 → 256 tokens of an answer", "chat 2: no further calls of tools",
    ]  # fmt: skip
    assert model.requests[1].tools == ()
    assert model.requests[1].schema is None
    assert model.requests[1].text == "No further tool can be called. Answer now, with what you know."


def test_where_nothing_more_can_be_given_up_the_step_is_exhausted(office: Any) -> None:
    model = ScriptedModel([GOOD])
    result = office.run(head=budget(600, "degrade"), models={"writer": model})
    assert (result.status, model.requests) == ("exhausted", [])
    assert_spent(result, tokens=0)


@pytest.mark.parametrize("on_exhausted", ["stop", "degrade"])
def test_a_tool_without_room_ends_the_step_unless_it_may_be_left_out(office: Any, on_exhausted: str) -> None:
    model = ScriptedModel([LOOK, LOOK, GOOD])
    head = f"budget: {{gpu_seconds: 0.006, on_exhausted: {on_exhausted}}}"
    result = office.run(tools="[t.history]", head=head, models={"writer": model})
    assert office.bench.calls == ["history:weld"]
    assert_spent(result, gpu_ms=2, tokens=220 if on_exhausted == "stop" else 235)
    if on_exhausted == "stop":
        assert result.status == "exhausted"
        return
    assert result.status == "degraded"
    told = model.requests[2].messages[-2].content
    assert told.startswith("exhausted: budget of ")
    assert "gpu_ms would pass its cap: asked for 5, left 4 of 6." in told
    assert envelopes(result)["triage"].rungs == ["t_history[2.0]: left out, the budget has no room for it"]


def test_a_budget_that_pauses_goes_on_where_it_was_when_somebody_raises_it(office: Any, second: int) -> None:
    model = ScriptedModel([LOOK, GOOD])
    head = budget(110 + second - 1, "pause")
    result = office.run(tools="[t.history]", head=head, models={"writer": model})
    assert (result.status, len(model.requests)) == ("waiting", 1)
    flow = office.bench.flow
    result = flow.decide(result.run_id, "approve", by="lena")
    assert result.status == "succeeded", result.error
    assert (len(model.requests), office.bench.calls) == (2, ["history:weld"])
    assert_spent(result, tokens=125, gpu_ms=2)
    assert_booked_once(result)
