"""Names in messages: the one that was meant, and those that there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache
from heapq import nlargest
from itertools import islice, pairwise

_MOST_LOOKED_AT = 200
_LONG = 24
_MOST_LISTED = 25


@lru_cache(maxsize=8192)
def _pairs(name: str) -> frozenset[str]:
    """Return a name's pairs of neighbouring letters, its ends included."""
    return frozenset(map("".join, pairwise(f"^{name}$")))


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest allowed name, or an empty string.

    Comparing letter by letter is slow, so only the few names that share most pairs of letters get so far.
    """
    short = name[:60]
    wanted = _pairs(short)
    alike = (each for each in allowed if abs(len(each) - len(short)) <= 4 + len(short) // 2)
    few = nlargest(
        1 if len(short) > _LONG else 2,
        islice(alike, _MOST_LOOKED_AT),
        key=lambda each: len(wanted & _pairs(each)) / (len(wanted) + len(_pairs(each))),
    )
    close = difflib.get_close_matches(short, few, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def listed(names: Iterable[str]) -> str:
    """Return names as a message lists them: the first ones, and how many more there are."""
    known = list(names)
    more = len(known) - _MOST_LISTED
    shown = [name if len(name) <= 60 else f"{name[:59]}…" for name in known[:_MOST_LISTED]]
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") if shown else "none"
