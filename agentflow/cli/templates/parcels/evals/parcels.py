"""How offers are measured."""

from agentflow import Score, Subject, scorer


@scorer(lower_is_better=True, unit="USD")
def price(subject: Subject) -> Score:
    """What the offer costs."""
    return Score(value=subject.value["usd"])


@scorer(lower_is_better=True, unit="d")
def late(subject: Subject, within_days: int) -> Score:
    """How many days too late it comes."""
    return Score(value=float(max(0, subject.value["days"] - within_days)))
