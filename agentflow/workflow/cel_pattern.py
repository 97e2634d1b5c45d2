"""What a regular expression may cost: patterns stand in the expression, so that this is known beforehand.

The engine runs in time linear in the text, but compiles the pattern on every call, and a counted repetition
multiplies what it compiles.
"""

from __future__ import annotations

import math
import re

from agentflow.workflow.cel_tree import Node

MAX_PATTERN = 200
"""Characters of a pattern."""
MAX_REPEATS = 1000
"""All counts of a pattern, ``{n}`` or ``{n,m}``, multiplied with one another."""

ATOM_NS, CLASS_NS, STEP_NS = 6_000, 500_000, 30
"""To compile one character of a pattern, one class such as ``\\w`` of all scripts, and to match one character."""

_COUNT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_CLASS = re.compile(r"\\[wWdDsSbBpP]|\[\^|\[:|\[\[|\(\?")


def pattern_flaw(node: Node) -> str:
    """Return what is wrong with the pattern of a call of ``matches``, or an empty text."""
    pattern = node.args[-1] if node.args else node
    if pattern.kind != "literal" or not isinstance(pattern.value, str):
        return "the pattern of 'matches' must stand here as text, as in s.matches('^a+$')."
    if len(pattern.value) > MAX_PATTERN:
        return f"a pattern of {len(pattern.value)} characters; at most {MAX_PATTERN} are taken."
    if repeats(pattern.value) > MAX_REPEATS:
        return f"the counts in this pattern multiply to more than {MAX_REPEATS}; repeat less often."
    if re.search(r"\(\?[a-zA-Z-]*x", pattern.value):
        return "a pattern with the flag 'x' is not taken; write it without blanks and comments."
    return ""


def repeats(pattern: str) -> int:
    """Return how often the counts of a pattern together may repeat a part of it."""
    counts = [max(int(low), int(high or 0)) for low, high in _COUNT.findall(pattern)]
    return math.prod(max(count, 1) for count in counts)


def pattern_ns(pattern: str, characters: int) -> int:
    """Return a bound on the time to compile a pattern and to match it with a text."""
    classes = len(_CLASS.findall(pattern))
    copies = repeats(pattern)
    return copies * (classes * CLASS_NS + len(pattern) * (ATOM_NS + STEP_NS * characters)) + 20_000
