"""What the workflows of docs/language.md call: a warehouse that buys parts."""

from __future__ import annotations

from pydantic import BaseModel

from agentflow import Amounts, Call, tool


class Offer(BaseModel):
    """What a supplier asks for one part."""

    supplier: str
    price_usd: float
    days: int


class Order(BaseModel):
    """What was ordered, at what price."""

    supplier: str
    total_usd: float


PRICES = {"bolt": 0.2, "motor": 85.0, "gear": 12.5}


@tool(estimate=lambda part: Amounts())
def offers(part: str) -> list[Offer]:
    """Ask every supplier for a price."""
    price = PRICES[part]
    return [
        Offer(supplier="Arlo", price_usd=price, days=9),
        Offer(supplier="Berta", price_usd=round(1.1 * price, 2), days=2),
    ]


@tool(estimate=lambda offer, count: Amounts(), side_effects=True)
def order(offer: Offer, count: int, express: bool = False) -> Order:
    """Order parts; express costs ten dollars more."""
    return Order(supplier=offer.supplier, total_usd=count * offer.price_usd + 10 * express)


def _fewer(inputs: dict[str, object]) -> dict[str, object]:
    return {**inputs, "pictures": 2}


@tool(estimate=lambda pictures: Amounts(frames=pictures), ladder=[("two pictures", _fewer)])
def picture(part: str, pictures: int = 8, *, call: Call) -> dict[str, int]:
    """Take pictures of a part from all sides."""
    call.meter.charge(Amounts(frames=pictures))
    return {"pictures": pictures}
