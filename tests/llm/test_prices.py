"""What tokens cost, and which models are refused for want of a price."""

from decimal import Decimal

import pytest

from agentflow.core.errors import InvalidInputError
from agentflow.llm.prices import FlatPrice, ListedPrice, is_own_host, price_for
from agentflow.llm.usage import Tokens

OPENAI = "https://api.openai.com/v1"


def test_a_listed_price_is_found_by_the_endpoint_and_rounded_up():
    price = price_for("models.planner", "gpt-4o-mini", base_url=OPENAI)
    assert price == ListedPrice("gpt-4o-mini", provider_api_url=OPENAI)
    assert price.micro_usd(Tokens(1_000_000, 1_000_000)) == 750_000
    assert price.micro_usd(Tokens(1, 0)) == 1


def test_cached_tokens_cost_what_the_list_says():
    price = price_for("models.planner", "gpt-4o-mini", base_url=OPENAI)
    assert price.micro_usd(Tokens(1_000_000, 0, cached=1_000_000)) == 75_000


def test_a_declared_price_wins_and_is_exact():
    declared = {"input_per_million_usd": 0.1, "output_per_million_usd": 0.2}
    price = price_for("models.planner", "gpt-4o-mini", declared=declared, base_url=OPENAI)
    assert price == FlatPrice(Decimal("0.1"), Decimal("0.2"))
    assert price.micro_usd(Tokens(10, 10)) == 3
    assert price.micro_usd(Tokens(10, 11)) == 4


def test_a_model_on_a_machine_of_ones_own_costs_nothing_and_says_why():
    price = price_for("models.planner", "anything", base_url="http://localhost:11434/v1")
    assert price.source == "self-hosted"
    assert price.micro_usd(Tokens(10**9, 10**9)) == 0


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000", True),
        ("http://10.1.2.3/v1", True),
        ("http://192.168.0.7", True),
        ("http://ollama:11434", True),
        ("http://gpu-box.local", True),
        ("https://api.openai.com/v1", False),
        ("http://8.8.8.8/v1", False),
        ("https://localhost.example.com", False),
        ("https://10.example.com", False),
    ],
)
def test_only_this_machine_and_private_networks_are_ones_own(address, own):
    assert is_own_host(address) is own


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("gpt-9-imaginary", {"base_url": OPENAI}),
        ("gpt-4o-mini", {"base_url": "https://gateway.example.com/v1"}),
        ("gpt-4o-mini", {}),
        ("gpt-4o-mini", {"provider_id": "nobody"}),
    ],
)
def test_a_model_without_a_known_price_is_refused_with_what_to_declare(model, where):
    with pytest.raises(InvalidInputError, match=f"no known price of '{model}'") as caught:
        price_for("models.planner", model, **where)
    assert "`price: {input_per_million_usd: …, output_per_million_usd: …}`" in str(caught.value)


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"input_per_million_usd": 1},
        {"input_per_million_usd": 1, "output_per_million_usd": 1, "per_call": 1},
        {"input_per_million_usd": -1, "output_per_million_usd": 1},
        {"input_per_million_usd": 1, "output_per_million_usd": float("nan")},
        {"input_per_million_usd": 1, "output_per_million_usd": "2"},
        {"input_per_million_usd": True, "output_per_million_usd": 2},
    ],
)
def test_a_declared_price_that_is_none_is_refused(declared):
    with pytest.raises(InvalidInputError, match=r"models\.planner\.price"):
        price_for("models.planner", "gpt-4o-mini", declared=declared, base_url=OPENAI)
