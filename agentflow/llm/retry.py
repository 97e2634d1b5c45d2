"""How long to wait before an endpoint is asked again."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT_S = 0.5
MAX_WAIT_S = 60.0

RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


def wait_s(attempt: int, retry_after_s: float | None) -> float:
    """Return the seconds to wait after attempt 1, 2, …: what the endpoint asks for, else longer each time.

    The wait that is not asked for is random in its upper half, so that clients do not come back together.
    """
    if retry_after_s is not None:
        return min(retry_after_s, MAX_WAIT_S)
    longest: float = min(FIRST_WAIT_S * 2 ** (attempt - 1), MAX_WAIT_S)
    return random.uniform(longest / 2, longest)


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3: seconds or an HTTP date), or None."""
    if value is None:
        return None
    text = value.strip()
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
