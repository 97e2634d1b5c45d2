"""Guardrails in the box."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from agentflow.core.records import Subject, Verdict
from agentflow.core.registry import guardrail
from agentflow.worldmodel.contract import Rollout

_INJECTIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}"
        r"\b(?:previous|prior|above|earlier|all|any|your|the|these)\b.{0,30}"
        r"\b(?:instruction|prompt|rule|guardrail|guideline|direction|polic|constraint|limit)",
        r"\b(?:disable|turn off|switch off|skip|remove)\b.{0,30}\b(?:guardrail|safety|check|filter|limit|keep.?out)",
        r"\byou are (?:now|no longer)\b",
        r"\b(?:new|updated|real) (?:system )?(?:instruction|prompt)s?\b\s*:",
        r"\b(?:reveal|print|repeat|show|output|leak)\b.{0,40}"
        r"\b(?:system prompt|secret|api.?key|password|credential|instructions)",
        r"<\s*/?\s*(?:system|assistant|im_start|im_end|tool)\b|\[/?(?:INST|SYS)\]|<\|[a-z_]+\|>",
        r"\b(?:developer|jailbreak|dan|god) mode\b",
        r"\bpretend (?:to be|you are|that you)\b",
        r"\bact as (?:if you|an? (?:unrestricted|unfiltered))",
        r"^\s*(?:system|assistant)\s*:",
        r"\bdo anything now\b",
    )
)
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad\U000e0000-\U000e007f]")


@guardrail(hooks=["input", "plan", "tool_args", "tool_result", "output"])
def prompt_injection(subject: Subject) -> Verdict:
    """Deny text that gives orders about instructions, rules, roles or secrets instead of stating a wish.

    Patterns over normalised text (NFKC, invisible characters removed), wherever a string stands in the value. A
    detector of known shapes, not a proof: what protects is that text never becomes a tool's name or a rule.
    """
    for where, text in _strings(subject.value):
        plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
        for pattern in _INJECTIONS:
            found = pattern.search(plain)
            if found:
                return Verdict.deny(
                    f"{where or 'the text'} gives orders to the system: '{found[0][:60]}'",
                    where=where,
                    matched=found[0][:80],
                )
    return Verdict.allow("no text gives orders to the system")


def _strings(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield where, str(name)
            yield from _strings(item, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _strings(item, f"{where}[{index}]")


@guardrail(hooks=["predicted_state"])
def trusted_horizon(subject: Subject, min_steps: int = 1) -> Verdict:
    """Cut a rollout where its calibrated radius passes the world's bound; deny it where less than ``min_steps`` remain.

    With ``on_fail: degrade`` the plan goes on with the trusted steps only; with ``block`` it does not go on. A rollout
    without calibrated uncertainty is denied: nothing says how far it can be trusted.
    """
    rollout = rollout_of(subject)
    if rollout.trusted_steps is None:
        return Verdict.deny("the rollout has no calibrated uncertainty", world=rollout.world)
    trusted, horizon = int(rollout.trusted_steps[0]), rollout.horizon
    evidence = {"trusted_steps": trusted, "horizon_steps": horizon}
    if trusted >= horizon:
        return Verdict.allow(f"all {horizon} steps are trusted", **evidence)
    if trusted < min_steps:
        return Verdict.deny(f"{trusted} of {horizon} steps are trusted, fewer than {min_steps}", **evidence)
    shorter = cut(rollout, trusted)
    changed = {**subject.value, "rollout": shorter} if isinstance(subject.value, Mapping) else shorter
    return Verdict.modify(changed, f"{trusted} of {horizon} steps are trusted; the rest is cut", **evidence)


def rollout_of(subject: Subject) -> Rollout:
    """Return the rollout that a subject's value is or holds under ``rollout``.

    Raises:
        TypeError: it holds none, so nothing can be judged.
    """
    value = subject.value.get("rollout") if isinstance(subject.value, Mapping) else subject.value
    if not isinstance(value, Rollout):
        raise TypeError(f"no rollout in the {subject.hook} of step '{subject.step}'")
    return value


def cut(rollout: Rollout, steps: int) -> Rollout:
    """Return the first ``steps`` steps of a rollout."""
    keep = slice(0, steps + 1)
    return replace(
        rollout,
        actions=rollout.actions[:, :steps],
        states=rollout.states[:, keep],
        radius90=None if rollout.radius90 is None else rollout.radius90[:, keep],
        trusted_steps=None if rollout.trusted_steps is None else np.minimum(rollout.trusted_steps, steps),
        members=None if rollout.members is None else rollout.members[:, :, keep],
    )


@guardrail(hooks=["action"])
def action_bounds(subject: Subject, largest: float, limit_change: float | None = None) -> Verdict:
    """Deny actions beyond ``largest`` on any axis, or that change by more than ``limit_change`` between two steps."""
    actions = np.asarray(subject.value["actions"], dtype=float)
    if actions.ndim != 2 or not np.isfinite(actions).all():
        return Verdict.deny("the actions are no list of finite vectors", shape=list(actions.shape))
    peak = float(np.abs(actions).max(initial=0.0))
    if peak > largest + 1e-9:
        return Verdict.deny(f"an action of {peak:g} is beyond {largest:g}", peak=peak, allowed=largest)
    change = float(np.abs(np.diff(actions, axis=0)).max(initial=0.0))
    if limit_change is not None and change > limit_change + 1e-9:
        return Verdict.deny(
            f"a change of {change:g} between two steps is beyond {limit_change:g}", change=change
        )
    return Verdict.allow(f"within {largest:g}", peak=peak)
