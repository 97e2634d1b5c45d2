"""What users test their own workflows with: throw-away projects, scripted models, a fake world, replay, assertions.

Needs neither torch nor a test framework: what fails raises ``AssertionError``.
"""

from agentflow.testing.assertions import (
    assert_blocked,
    assert_booked_once,
    assert_guard_ran,
    assert_span_order,
    assert_spent,
    assert_spent_at_most,
    assert_status,
    envelopes,
    spans,
)
from agentflow.testing.llm_server import RecordedRequest, ScriptedLLMServer
from agentflow.testing.models import ModelRequest, ScriptedModel, answer, tool_calls
from agentflow.testing.player import RecordedCall
from agentflow.testing.project import Bench
from agentflow.testing.recording import Recording, record, replay
from agentflow.testing.worlds import FakeWorld

__all__ = [
    "Bench",
    "FakeWorld",
    "ModelRequest",
    "RecordedCall",
    "RecordedRequest",
    "Recording",
    "ScriptedLLMServer",
    "ScriptedModel",
    "answer",
    "assert_blocked",
    "assert_booked_once",
    "assert_guard_ran",
    "assert_span_order",
    "assert_spent",
    "assert_spent_at_most",
    "assert_status",
    "envelopes",
    "record",
    "replay",
    "spans",
    "tool_calls",
]
