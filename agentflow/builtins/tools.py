"""Tools in the box."""

from __future__ import annotations

from typing import Any

from agentflow.core.amounts import Amounts
from agentflow.core.registry import tool


@tool(estimate=lambda value: Amounts())
async def echo(value: Any) -> dict[str, Any]:
    """Give back what it was given: for trying out expressions and guardrails."""
    return {"value": value}
