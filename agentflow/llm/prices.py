"""What tokens cost: declared in the file, nothing on a machine of one's own, or the public list."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import urlsplit

from agentflow.core.errors import InvalidInputError
from agentflow.llm.usage import Tokens

_DECLARED_KEYS = ("input_per_million_usd", "output_per_million_usd")
_HOW = (
    "a model on the list of genai-prices, a local or private base_url (costs 0), or your own "
    "`price: {input_per_million_usd: …, output_per_million_usd: …}` beside the model"
)


class Price(Protocol):
    """Turns tokens into money; ``source`` says where the rates come from."""

    @property
    def source(self) -> str:
        """``declared``, ``self-hosted`` or ``genai-prices``."""
        ...

    def micro_usd(self, tokens: Tokens) -> int:
        """Return the cost in 1e-6 USD, rounded up."""
        ...


@dataclass(frozen=True)
class FlatPrice:
    """Fixed rates. USD per million tokens are micro-USD per token."""

    input_per_million_usd: Decimal
    output_per_million_usd: Decimal
    source: str = "declared"

    def micro_usd(self, tokens: Tokens) -> int:
        """Return the cost in 1e-6 USD, rounded up."""
        return math.ceil(
            tokens.input * self.input_per_million_usd + tokens.output * self.output_per_million_usd
        )


SELF_HOSTED = FlatPrice(Decimal(0), Decimal(0), "self-hosted")


@dataclass(frozen=True)
class ListedPrice:
    """The rates that the installed ``genai-prices`` lists; nothing is fetched."""

    model: str
    provider_id: str | None = None
    provider_api_url: str | None = None
    source: str = "genai-prices"

    def micro_usd(self, tokens: Tokens) -> int:
        """Return the cost in 1e-6 USD, rounded up.

        Raises:
            LookupError: the list does not know this provider or model.
        """
        import genai_prices

        usage = genai_prices.Usage(
            input_tokens=tokens.input, cache_read_tokens=tokens.cached, output_tokens=tokens.output
        )
        if self.provider_api_url is not None:
            cost = genai_prices.calc_price(usage, self.model, provider_api_url=self.provider_api_url)
        else:
            cost = genai_prices.calc_price(usage, self.model, provider_id=self.provider_id)
        return math.ceil(Decimal(cost.total_price) * 1_000_000)


def price_for(
    where: str,
    model: str,
    *,
    declared: Mapping[str, Any] | None = None,
    base_url: str | None = None,
    provider_id: str | None = None,
) -> Price:
    """Return what a model costs; a price is never guessed from a model's name alone.

    Args:
        where: what an error names, such as ``models.planner``.
        model: the model's name at its provider.
        declared: ``{input_per_million_usd, output_per_million_usd}``; it wins.
        base_url: the endpoint; a local or private host without a declared price costs nothing.
        provider_id: the provider's name on the list, where there is no ``base_url``.

    Raises:
        InvalidInputError: no price is known, or the declared one is not a price.
    """
    if declared is not None:
        return _declared(f"{where}.price", declared)
    if base_url is not None and is_own_host(base_url):
        return SELF_HOSTED
    at = base_url or provider_id or "an unknown provider"
    listed = ListedPrice(model, None if base_url else provider_id, base_url)
    try:
        if base_url or provider_id:
            listed.micro_usd(Tokens(1, 1))
            return listed
    except LookupError:
        pass
    raise InvalidInputError(f"{where}.price", f"no known price of '{model}' at {at}", _HOW)


def is_own_host(base_url: str) -> bool:
    """Return whether an address is this machine or a private network; no name is resolved."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        private = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
        return bool(host) and ("." not in host or host.endswith(private))


def is_loopback(base_url: str) -> bool:
    """Return whether an address is this very machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _declared(where: str, declared: Mapping[str, Any]) -> FlatPrice:
    if set(declared) != set(_DECLARED_KEYS):
        found = ", ".join(map(str, declared)) or "no keys"
        raise InvalidInputError(where, found, " and ".join(_DECLARED_KEYS))
    prompt, answer = (_rate(f"{where}.{key}", declared[key]) for key in _DECLARED_KEYS)
    return FlatPrice(prompt, answer)


def _rate(where: str, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise InvalidInputError(where, repr(value), "a number of USD, 0 or more")
    rate = Decimal(str(value))
    if not rate.is_finite() or rate < 0:
        raise InvalidInputError(where, str(value), "a number of USD, 0 or more")
    return rate
