"""How the warehouse measures offers."""

from __future__ import annotations

from agentflow import Score, Subject, scorer


@scorer(lower_is_better=True, unit="USD")
def cost_usd(subject: Subject, day_usd: float = 0.0) -> Score:
    """Score what an offer costs, each day of waiting included."""
    offer = subject.value
    return Score(value=offer["price_usd"] + day_usd * offer["days"])
