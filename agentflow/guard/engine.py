"""`GuardEngine`: runs the guardrails of a hook over one subject and says what may go on.

- Checks end before anything they guard begins. One that raises, times out or returns no verdict blocks,
  unless the file says ``on_error: open`` for it.
- A check looks at a copy: it changes nothing but by its verdict.
- A value that a check changed is checked again by all of them, so every record of the last pass carries
  the digest of exactly what goes on. A value that keeps changing is blocked.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from agentflow.core.errors import GuardrailBlockedError
from agentflow.core.records import GuardAction, GuardRecord, Hook, Subject, Verdict, VerdictType
from agentflow.core.registry import GuardrailSpec

CHECK_SECONDS = 10.0
_CHANGING = (GuardAction.REDACT, GuardAction.REWRITE, GuardAction.DEGRADE)


@dataclass(frozen=True)
class Guard:
    """A guardrail as a workflow asks for it."""

    spec: GuardrailSpec
    hooks: tuple[Hook, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    on_fail: GuardAction = GuardAction.BLOCK
    open_on_error: bool = False
    reason: str = ""

    @property
    def name(self) -> str:
        """The guardrail's name."""
        return self.spec.name


@dataclass
class Checked:
    """What a hook let through: the value, what was found, what was given up."""

    value: Any
    digest: str
    records: list[GuardRecord] = field(default_factory=list)
    rungs: list[str] = field(default_factory=list)
    blocked: GuardRecord | None = None

    def raise_if_blocked(self) -> None:
        """Raise where a guardrail blocked.

        Raises:
            GuardrailBlockedError: names the guardrail, the hook and its reason.
        """
        if self.blocked is not None:
            raise GuardrailBlockedError(self.blocked.guardrail, self.blocked.hook, self.blocked.reason)


Observe = Callable[[Guard, Hook], AbstractContextManager[Any]]
"""Opens a span around one check; what it yields is told the record by calling it."""


class GuardEngine:
    """The guardrails of one step (the workflow's and its own), ready to be run at any hook."""

    def __init__(
        self,
        guards: Sequence[Guard],
        digest: Callable[[Any], str],
        observe: Observe | None = None,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self.guards = tuple(guards)
        self._digest = digest
        self._observe = observe
        self._seconds = check_seconds
        self._at: dict[str, list[Guard]] = {}
        for guard in self.guards:
            for hook in dict.fromkeys(guard.hooks):
                self._at.setdefault(hook, []).append(guard)

    def at(self, hook: str) -> Sequence[Guard]:
        """Return the guards that look at a hook, in the file's order."""
        return self._at.get(hook, ())

    async def check(
        self,
        hook: str,
        value: Any,
        *,
        step: str = "",
        labels: Iterable[str] = (),
        run: Mapping[str, Any] | None = None,
    ) -> Checked:
        """Run every guardrail of ``hook`` over ``value``; never raises for what a guardrail does."""
        checked = Checked(value, "")
        guards = self.at(hook)
        if not guards:
            return checked
        for final in (False, True):
            checked.digest = self._digest(checked.value)
            changed = False
            for guard in guards:
                seen = copy.deepcopy(checked.value)
                subject = Subject(hook=hook, value=seen, step=step, labels=tuple(labels), run=run or {})
                record, replacement = await self._run(guard, Hook(hook), subject, checked.digest)
                if final and record.action in _CHANGING:
                    record = record.model_copy(
                        update={
                            "action": GuardAction.BLOCK,
                            "reason": f"still not right after a change: {record.reason}",
                        }
                    )
                checked.records.append(record)
                if record.action in (GuardAction.BLOCK, GuardAction.ESCALATE):
                    checked.blocked = record
                    return checked
                if record.action in _CHANGING:
                    checked.value, changed = replacement, True
                    checked.digest = self._digest(replacement)
                    if record.action is GuardAction.DEGRADE:
                        checked.rungs.append(record.reason)
            if not changed:
                break
        return checked

    async def _run(self, guard: Guard, hook: Hook, subject: Subject, digest: str) -> tuple[GuardRecord, Any]:
        begin = time.perf_counter()
        status = "ran"
        with self._observe(guard, hook) if self._observe else nullcontext() as tell:
            try:
                verdict = await asyncio.wait_for(_judge(guard, subject), self._seconds)
                if verdict.type is VerdictType.MODIFY:
                    self._digest(verdict.replacement)  # what has no digest cannot go on
            except TimeoutError:
                status, verdict = "timeout", Verdict.deny(f"it did not judge within {self._seconds:g} s")
            except Exception as error:
                status, verdict = (
                    "error",
                    Verdict.deny(f"it could not judge: {type(error).__name__}: {error}"),
                )
            action = _action(guard, verdict, status)
            reason = verdict.reason
            if action is GuardAction.ESCALATE:
                reason = f"a person must decide: {reason}"
            record = GuardRecord(
                guardrail=guard.name,
                hook=hook,
                step=subject.step,
                verdict=verdict.type,
                action=action,
                status=status,
                reason=reason,
                evidence=verdict.evidence,
                subject_digest=digest,
                duration_ms=round((time.perf_counter() - begin) * 1e3, 3),
            )
            if tell is not None:
                tell(record)
        return record, verdict.replacement


async def _judge(guard: Guard, subject: Subject) -> Verdict:
    call = guard.spec.call
    if inspect.iscoroutinefunction(call):
        verdict = await call(subject, **guard.params)
    else:
        verdict = await asyncio.to_thread(call, subject, **guard.params)
    if not isinstance(verdict, Verdict):
        raise TypeError(f"returned {type(verdict).__name__}, not a Verdict")
    return verdict


def _action(guard: Guard, verdict: Verdict, status: str) -> GuardAction:
    """Return what is done about a verdict: the file's ``on_fail``, and block where that cannot be done."""
    if status != "ran":
        return GuardAction.ALLOW if guard.open_on_error else GuardAction.BLOCK
    if verdict.type in (VerdictType.ALLOW, VerdictType.WARN):
        return GuardAction.ALLOW
    if verdict.type is VerdictType.ESCALATE:
        return GuardAction.ESCALATE
    if guard.on_fail in _CHANGING and verdict.type is not VerdictType.MODIFY:
        return GuardAction.BLOCK
    return guard.on_fail
