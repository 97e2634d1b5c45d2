"""What the workflow does: ask carriers, and write a label. Put your own calls here."""

from typing import Any

from agentflow import Amounts, Artifact, Call, tool

CARRIERS = {"bicycle": (4.0, 1.5, 5), "van": (6.0, 1.1, 2), "plane": (25.0, 3.0, 1)}
"""Of each: USD for a parcel, USD for a kilogram, days."""


@tool(estimate=lambda kilograms: Amounts(micro_usd=3_000))
def offers(kilograms: float, *, call: Call) -> list[dict[str, Any]]:
    """Ask every carrier; each answer costs a tenth of a cent."""
    found = []
    for name, (base, each, days) in CARRIERS.items():
        call.meter.charge(Amounts(micro_usd=1_000))
        found.append({"carrier": name, "usd": round(base + each * kilograms, 2), "days": days})
    return found


@tool(estimate=lambda carrier, kilograms: Amounts(), side_effects=True)
def label(carrier: str, kilograms: float, *, call: Call) -> dict[str, Artifact]:
    """Write the label as a file of the run."""
    text = f"{carrier}\n{kilograms} kg\n"
    return {"label": call.artifacts.put(text.encode(), "text/plain", "label.txt")}
