"""The manifest of a run: which guardrails were asked for, which ran, what they found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from agentflow.core.records import GuardRecord, digest_of
from agentflow.guard.engine import Guard


def manifest(guards: Iterable[tuple[str, Guard]], records: Iterable[GuardRecord]) -> dict[str, Any]:
    """Return, for each guardrail and hook that a workflow asks for, how often it ran and with what verdicts.

    ``effective`` is False where a guardrail was asked for and never judged anything, be it that its hook was
    not reached or that it failed each time: no run claims a guard that did not run.

    Args:
        guards: each with the step that asks for it; empty where the whole workflow does.
        records: what guardrails found in the run.
    """
    found = list(records)
    rows = []
    for step, guard in guards:
        for hook in guard.hooks:
            of_it = [
                r for r in found if (r.guardrail, r.hook) == (guard.name, hook) and _within(r.step, step)
            ]
            rows.append(
                {
                    "guardrail": guard.name,
                    "hook": str(hook),
                    "step": step,
                    "rule_digest": digest_of([guard.name, dict(guard.params), guard.on_fail])[:16],
                    "on_fail": str(guard.on_fail),
                    "on_error": "open" if guard.open_on_error else "closed",
                    "ran": len(of_it),
                    "effective": any(r.status == "ran" for r in of_it),
                    "failed_to_judge": sum(r.status != "ran" for r in of_it),
                    "verdicts": dict(sorted(Counter(str(r.verdict) for r in of_it).items())),
                    "actions": dict(sorted(Counter(str(r.action) for r in of_it).items())),
                }
            )
    return {"requested": len(rows), "effective": sum(row["effective"] for row in rows), "guardrails": rows}


def _within(path: str, step: str) -> bool:
    """Whether a record's path lies within a step: the step itself, its items, its own calls."""
    return not step or path == step or path.startswith((f"{step}[", f"{step}/"))
