"""What the warehouse does not do."""

from __future__ import annotations

from agentflow import Subject, Verdict, guardrail


@guardrail(hooks=["tool_args"])
def known_supplier(subject: Subject, names: list[str]) -> Verdict:
    """Deny an order at a supplier that nobody has checked."""
    supplier = subject.value["offer"]["supplier"]
    if supplier in names:
        return Verdict.allow(f"{supplier} is known")
    return Verdict.deny(f"{supplier} is not one of {', '.join(names)}")
