"""The envelope: the only way that anything is called.

::

    span ▸ if ▸ inputs ▸ guard(before) ▸ reserve ▸ call (retry, timeout) ▸ settle ▸ guard(after) ▸ score ▸ record

Tools, agents, an agent's own calls, evaluations, the items of a ``foreach``, a run's inputs and outputs: each is a
`StepCall`, and `perform` turns it into an `Envelope`. Whatever goes wrong inside becomes part of the envelope; only
cancellation passes through. A finished step is found again by its key and not called twice; one that was paid
for and then cut off goes on behind its settlement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentflow.budget.ledger import Hold
from agentflow.core.amounts import UNLIMITED, Amounts
from agentflow.core.errors import (
    AgentflowError,
    BudgetExceededError,
    GuardrailBlockedError,
    StepFailedError,
    StepTimeoutError,
)
from agentflow.core.protocols import Call, Meter
from agentflow.core.records import Artifact, Envelope, GuardRecord, Hook, ScoreRecord, StepStatus
from agentflow.execution import values
from agentflow.execution.context import RunContext
from agentflow.guard.engine import Checked, GuardEngine
from agentflow.store.store import now_ms, step_key

Rung = tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]
"""One thing to give up: what it is called, and what it makes of a call's inputs."""


def _nothing(_: dict[str, Any]) -> Amounts:
    return Amounts()


@dataclass(frozen=True)
class StepCall:
    """What is to be called, and all that has to happen around it.

    Attributes:
        id: the step's id in the file; ``path`` its place in the run; ``iteration`` which pass or item.
        path: see above.
        iteration: see above.
        kind: the step's kind, as spans say it.
        name: what is called.
        inputs: resolves the inputs (JSON), within the envelope.
        body: does the work.
        estimate: an upper bound of the cost, of the inputs.
        scope: the budget's scope.
        before: the hook before the call; ``after`` behind it. None where there is nothing to guard.
        after: see above.
        condition: ``if``.
        guards: the step's guardrails.
        ladder: what may be given up, in order, when the budget has no room.
        attempts: in all; ``backoff_s`` doubles.
        backoff_s: see above.
        timeout_s: of one attempt.
        books_wall: whether it books wall-clock time (calls inside it do not).
        score: measures the output.
        labels: where the inputs came from.
        resource: what it occupies alone.
    """

    id: str
    path: str
    kind: str
    name: str
    inputs: Callable[[], dict[str, Any]]
    body: Callable[[Call, dict[str, Any]], Awaitable[Any]]
    scope: str
    iteration: str = ""
    estimate: Callable[[dict[str, Any]], Amounts] = _nothing
    before: Hook | None = None
    after: Hook | None = None
    condition: Callable[[], bool] | None = None
    guards: GuardEngine | None = None
    ladder: Sequence[Rung] = ()
    attempts: int = 1
    backoff_s: float = 1.0
    timeout_s: float | None = None
    books_wall: bool = False
    score: Callable[[Any], Sequence[ScoreRecord]] | None = None
    labels: tuple[str, ...] = ()
    resource: str = ""


@dataclass
class _Progress:
    """What has happened in one step so far."""

    digest: str = ""
    attempts: int = 0
    usage: Amounts = field(default_factory=Amounts)
    verdicts: list[GuardRecord] = field(default_factory=list)
    scores: list[ScoreRecord] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    rungs: list[str] = field(default_factory=list)
    found: bool = False


async def perform(context: RunContext, call: StepCall) -> Envelope:
    """Put one call through the envelope and return its outcome; it raises for nothing but cancellation."""
    return await _Envelope(context, call).run()


def _bill(amounts: Amounts) -> Amounts:
    """Return what somebody else bills for: tokens and money."""
    return Amounts(tokens=amounts.tokens, micro_usd=amounts.micro_usd)


class _Envelope:
    def __init__(self, context: RunContext, call: StepCall) -> None:
        self.context, self.call = context, call
        self.so_far = _Progress()
        self.started_ms = now_ms()

    async def run(self) -> Envelope:
        context, call = self.context, self.call
        context.emit("step_started", call.path, call.name, step_kind=call.kind, iteration=call.iteration)
        with context.tracer.step(call.path, kind=call.kind, iteration=call.iteration) as span:
            try:
                envelope = await self._guarded()
            except asyncio.CancelledError:
                span.envelope(self._envelope(StepStatus.CANCELLED, None, None))
                raise
            except Exception as error:
                envelope = self._failed(error)
            span.envelope(envelope)
        context.emit("step_finished", call.path, call.name, envelope=envelope.model_dump(mode="json"))
        return envelope

    async def _guarded(self) -> Envelope:
        call = self.call
        if call.condition is not None and not call.condition():
            return self._record(self._envelope(StepStatus.SKIPPED, None, None))
        inputs = call.inputs()
        self.so_far.digest = values.digest(inputs)
        known = self._known()
        if known is not None and known.status is not StepStatus.CALLED:
            self.so_far.found = True
            return known
        if known is not None:
            self._take_over(known)
            output = values.decode(known.output, self.context.artifacts)
        else:
            checked = await self._check(call.before, inputs)
            output = await self._attempts(checked.value)
        checked = await self._check(call.after, output)
        if call.score is not None:
            self.so_far.scores += call.score(checked.value)
        encoded = values.encode(checked.value, self.context.artifacts, self.so_far.artifacts)
        status = StepStatus.DEGRADED if self.so_far.rungs else StepStatus.OK
        return self._record(self._envelope(status, encoded, None))

    def _known(self) -> Envelope | None:
        call = self.call
        key = step_key(self.context.run_id, call.path, call.iteration, self.so_far.digest)
        envelope = self.context.store.find_step(key)
        if envelope is None or envelope.status is StepStatus.CALLED or envelope.usable:
            return envelope
        return None  # what failed before is tried again

    def _take_over(self, known: Envelope) -> None:
        self.so_far.attempts, self.so_far.usage = known.attempts, known.usage
        self.so_far.verdicts, self.so_far.rungs = list(known.verdicts), list(known.rungs)
        self.so_far.artifacts = list(known.artifacts)

    async def _check(self, hook: Hook | None, value: Any) -> Checked:
        call = self.call
        if hook is None or call.guards is None:
            return Checked(value, "")
        live = values.decode(value, self.context.artifacts) if call.guards.at(hook) else value
        checked = await call.guards.check(
            hook, live, step=call.path, labels=call.labels, run=self.context.view
        )
        self.so_far.verdicts += checked.records
        self.so_far.rungs += checked.rungs
        for record in checked.records:
            self.context.emit("guardrail", call.path, record.guardrail, record=record.model_dump(mode="json"))
        checked.raise_if_blocked()
        return checked

    async def _attempts(self, inputs: dict[str, Any]) -> Any:
        call = self.call
        while True:
            self.so_far.attempts += 1
            try:
                return await self._attempt(inputs)
            except AgentflowError as error:
                if not error.retryable or self.so_far.attempts >= call.attempts:
                    raise
            await asyncio.sleep(call.backoff_s * 2 ** (self.so_far.attempts - 1))

    async def _attempt(self, inputs: dict[str, Any]) -> Any:
        context, call = self.context, self.call
        hold, inputs = self._reserve(inputs)
        meter = Meter(call.scope, hold.amounts)
        begin = time.monotonic()
        try:
            output = await self._body(inputs, meter, hold, begin)
        except BaseException as error:
            if isinstance(error, (asyncio.CancelledError, StepTimeoutError)):
                # cut off in the middle of a paid call: what it will be billed is not known, so all of it
                meter.charge(_bill(hold.amounts).minus(_bill(meter.spent)))
            self._settle(hold, meter, begin, None)
            raise
        made: list[Artifact] = []
        encoded = values.encode(output, context.artifacts, made)
        self._settle(hold, meter, begin, (encoded, made))
        return output

    async def _body(self, inputs: dict[str, Any], meter: Meter, hold: Hold, begin: float) -> Any:
        context, call = self.context, self.call
        limits = [limit for limit in (call.timeout_s, self._wall_limit_s(hold)) if limit is not None]
        scratch = context.folder / "scratch"
        ticket = Call(
            run_id=context.run_id,
            step=call.path,
            seed=context.seed,
            meter=meter,
            artifacts=context.artifacts,
            progress=lambda text, done=0, total=0: context.emit(
                "progress", call.path, text, done=done, total=total
            ),
            scratch=scratch,
            run=context.view,
        )
        try:
            async with asyncio.timeout(min(limits) if limits else None):
                if not call.resource:
                    return await call.body(ticket, inputs)
                async with context.resource(call.resource):
                    return await call.body(ticket, inputs)
        except TimeoutError as error:
            wall = self._wall_limit_s(hold)
            if wall is not None and time.monotonic() - begin >= wall:
                asked = hold.amounts.wall_ms
                raise BudgetExceededError(call.scope, "wall_ms", asked + 1, 0, asked) from error
            raise StepTimeoutError(call.path, min(limits, default=0.0)) from error
        except (AgentflowError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise StepFailedError(call.path, error, retryable=isinstance(error, OSError)) from error

    def _wall_limit_s(self, hold: Hold) -> float | None:
        return hold.amounts.wall_ms / 1e3 if self.call.books_wall and hold.amounts.wall_ms else None

    def _reserve(self, inputs: dict[str, Any]) -> tuple[Hold, dict[str, Any]]:
        """Take a hold on the estimate; where there is no room, give up rungs of the ladder until there is."""
        context, call = self.context, self.call
        rungs = list(call.ladder) if context.degrade else []
        while True:
            amounts = call.estimate(inputs)
            if call.books_wall:
                left = context.ledger.left(call.scope).wall_ms
                if left <= 0:
                    cap = context.ledger.usage(context.scope).cap.wall_ms
                    raise BudgetExceededError(call.scope, "wall_ms", 1, 0, cap)
                if left < UNLIMITED // 2:
                    amounts = amounts.model_copy(update={"wall_ms": left})
            key = f"{context.run_id}/{call.path}/{call.iteration}/{self.so_far.digest[:16]}/{self.so_far.attempts}"
            try:
                with context.tracer.reserve(call.scope) as span:
                    hold = context.ledger.reserve(call.scope, amounts, key)
                    span.reserved(amounts)
                return hold, inputs
            except BudgetExceededError:
                if not rungs:
                    raise
                name, give_up = rungs.pop(0)
                changed = give_up(inputs)
                if changed != inputs:
                    inputs = changed
                    self.so_far.rungs.append(name)

    def _settle(
        self, hold: Hold, meter: Meter, begin: float, result: tuple[Any, list[Artifact]] | None
    ) -> None:
        """Book what was used; a result is kept in the same transaction, so that it is never paid for twice."""
        context, call = self.context, self.call
        spent = meter.spent
        if call.books_wall:
            spent = spent.plus(Amounts(wall_ms=round((time.monotonic() - begin) * 1e3)))
        self.so_far.usage = self.so_far.usage.plus(spent)
        with context.tracer.settle(call.scope) as span, context.store.transaction() as transaction:
            settlement = context.ledger.settle(hold, spent, transaction)
            span.settled(settlement.booked, settlement.overrun)
            if result is not None:
                self.so_far.artifacts += result[1]
                self._put(self._envelope(StepStatus.CALLED, result[0], None), transaction)

    def _envelope(self, status: StepStatus, output: Any, error: BaseException | None) -> Envelope:
        done = self.so_far
        unique = {artifact.digest: artifact for artifact in done.artifacts}
        return Envelope(
            status=status,
            output=output,
            error=None if error is None else str(error),
            error_kind=None if error is None else getattr(error, "kind", type(error).__name__),
            usage=done.usage,
            attempts=done.attempts,
            verdicts=done.verdicts,
            scores=done.scores,
            artifacts=list(unique.values()),
            rungs=done.rungs,
        )

    def _failed(self, error: Exception) -> Envelope:
        match error:
            case BudgetExceededError():
                status = StepStatus.EXHAUSTED
            case GuardrailBlockedError():
                status = StepStatus.REFUSED
            case _:
                status = StepStatus.FAILED
        wrapped = error if isinstance(error, AgentflowError) else StepFailedError(self.call.path, error)
        return self._record(self._envelope(status, None, wrapped))

    def _record(self, envelope: Envelope) -> Envelope:
        with self.context.store.transaction() as transaction:
            self._put(envelope, transaction)
        return envelope

    def _put(self, envelope: Envelope, transaction: Any) -> None:
        call = self.call
        self.context.store.record_step(
            self.context.run_id,
            call.path,
            call.iteration,
            self.so_far.digest,
            envelope,
            started_ms=self.started_ms,
            transaction=transaction,
        )
