"""What users test their workflows with."""

from agentflow.testing.llm_server import RecordedRequest, ScriptedLLMServer

__all__ = ["RecordedRequest", "ScriptedLLMServer"]
