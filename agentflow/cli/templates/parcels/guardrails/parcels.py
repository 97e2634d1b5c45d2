"""What must hold before anything is called."""

from agentflow import Subject, Verdict, guardrail


@guardrail(hooks=["tool_args"])
def not_too_heavy(subject: Subject, kilograms: float) -> Verdict:
    """Deny parcels that nobody may carry."""
    found = subject.value["kilograms"]
    if found > kilograms:
        return Verdict.deny(f"{found} kg is more than {kilograms} kg", found=found)
    return Verdict.allow(f"{found} kg can be carried")
