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
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from agentflow.budget.ledger import Hold, Settlement
from agentflow.core.amounts import DIMENSIONS, NOTHING, Amounts
from agentflow.core.errors import (
    AgentflowError,
    BudgetExceededError,
    GuardrailBlockedError,
    InvalidInputError,
    LeaseLostError,
    StepFailedError,
    StepTimeoutError,
)
from agentflow.core.protocols import Call
from agentflow.core.records import (
    Artifact,
    Envelope,
    GuardRecord,
    Hook,
    ScoreRecord,
    StepStatus,
    canonical_json,
    digest_of,
)
from agentflow.execution import values
from agentflow.execution.call import InnerCallError, StepCall, WaitingError
from agentflow.execution.context import RunContext
from agentflow.execution.events import GuardrailRan, Progress, StepFinished, StepStarted
from agentflow.execution.metering import CallMeter
from agentflow.guard.engine import Checked
from agentflow.store.store import now_ms

NO_COST = Settlement(NOTHING, NOTHING)

LARGEST_OUTPUT_CHARACTERS = 1_000_000
"""Of a step's output as JSON: state is copied into every checkpoint, so what is larger belongs into a file."""

WALL_HOLD_MS = 1_000
"""How much wall-clock a step holds. It is limited by all that is left, and books what it took when it ends; a
larger hold would be booked by a crash, and leave the resumed run no time."""


_STANDING = (StepStatus.CALLED, StepStatus.REFUSED)
"""How a call that did not end well may have ended, for its record to stand whoever asks."""


@dataclass
class _Progress:
    """What has happened in one step so far."""

    digest: str = ""
    attempts: int = 0
    usage: Amounts = NOTHING
    verdicts: list[GuardRecord] = field(default_factory=list)
    scores: list[ScoreRecord] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    rungs: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    cache_key: str | None = None
    reused: bool = False
    paid: bool = False
    recorded: Envelope | None = None


async def perform(context: RunContext, call: StepCall) -> Envelope:
    """Put one call through the envelope and return its outcome; it raises for nothing but cancellation."""
    if context.replay is not None:
        call = context.replay(call)
    return await _Envelope(context, call).run()


class _Envelope:
    def __init__(self, context: RunContext, call: StepCall) -> None:
        self.context, self.call = context, call
        self.so_far = _Progress()
        self.started_ms = now_ms()

    async def run(self) -> Envelope:
        context, call = self.context, self.call
        context.tell(StepStarted(context.run_id, call.path, call.name, call.kind, call.iteration))
        with context.tracer.step(call.path, kind=call.kind, iteration=call.iteration) as span:
            if call.path == call.id and call.kind != "foreach":  # its items say so
                context.tracer.begun(call.path)
            try:
                envelope = await self._guarded()
            except asyncio.CancelledError:
                cancelled = self._envelope(StepStatus.CANCELLED, None, None)
                span.envelope(cancelled)
                if not self.so_far.paid:  # else its result stands there, to be taken over
                    self._record(cancelled)
                raise
            except (WaitingError, LeaseLostError):  # nothing has ended, or it is no longer ours to say so
                raise
            except Exception as error:
                envelope = self._failed(error)
            span.envelope(envelope)
        if context.watched:
            found = not self.so_far.attempts and bool(envelope.attempts)
            ended = StepFinished(
                context.run_id, call.path, call.name, call.iteration, found, envelope=envelope
            )
            context.tell(ended)
        return envelope

    @property
    def _view(self) -> Any:
        return self.context.view if self.call.view is None else self.call.view

    async def _guarded(self) -> Envelope:
        call, done = self.call, self.so_far
        known = self._known()
        if known is not None and known.status is not StepStatus.CALLED:
            return known
        if known is not None:
            self._take_over(known)
            output, encoded = values.decode(known.output, self.context.artifacts), known.output
        elif call.condition is not None and not call.condition():
            return self._record(self._envelope(StepStatus.SKIPPED, None, None))
        else:
            inputs = call.inputs()
            done.digest = values.digest(inputs)
            checked = await self._check(call.before, inputs)
            output, encoded = self._cached(checked.value) or await self._attempts(checked.value)
        if done.recorded is not None:
            return done.recorded
        checked = await self._check(call.after, output)
        if call.score is not None:
            done.scores += call.score(checked.value)
        if checked.value is not output:
            encoded = self._encode(checked.value, done.artifacts)
        status = StepStatus.DEGRADED if self._rungs() else StepStatus.OK
        return self._record(self._envelope(status, encoded, None))

    def _known(self) -> Envelope | None:
        """Return how this very call ended before: finished, refused, or paid for and then cut off.

        A place in a run is passed once in each iteration, and everything that led there stands in the store: so
        the place tells which call it is, even where its inputs would be others now, such as the budget's rest.
        """
        context, call = self.context, self.call
        place = (call.path, call.iteration)
        if not context.resumed and place not in context.recorded:
            return None
        found = context.store.find_step_at(context.run_id, *place)
        if found is None:
            return None
        digest, envelope = found
        if not (envelope.final or envelope.status in _STANDING or self._failed_before(place, envelope)):
            return None
        self.so_far.digest = digest
        return envelope

    def _failed_before(self, place: tuple[str, str], envelope: Envelope) -> bool:
        """Whether a failure stands that an earlier process left in a run which had not ended: it was paid for, too.

        A step around it that is retried, or a person who has an ended run go on, tries it again.
        """
        context = self.context
        if envelope.status is not StepStatus.FAILED or context.retries or place in context.recorded:
            return False
        context.recorded.add(place)
        return True

    def _cached(self, inputs: dict[str, Any]) -> tuple[Any, Any] | None:
        """Return what an earlier call of the same thing with the same inputs gave, where the step takes that."""
        context, call, done = self.context, self.call, self.so_far
        if call.identity is None:
            return None
        done.cache_key = digest_of([call.identity(), values.digest(inputs), context.seed])
        found = context.store.find_cached(done.cache_key)
        if found is None:
            return None
        done.reused, done.artifacts = True, list(found.artifacts)
        return values.decode(found.output, context.artifacts), found.output

    def _take_over(self, known: Envelope) -> None:
        self.so_far.attempts, self.so_far.usage = known.attempts, known.usage
        self.so_far.verdicts, self.so_far.rungs = list(known.verdicts), list(known.rungs)
        self.so_far.scores, self.so_far.artifacts = list(known.scores), list(known.artifacts)
        self.so_far.paid = True

    async def _check(self, hook: Hook | None, value: Any) -> Checked:
        call = self.call
        if hook is None or call.guards is None:
            return Checked(value, "")
        live = values.decode(value, self.context.artifacts) if call.guards.at(hook) else value
        checked = await call.guards.check(hook, live, step=call.path, labels=call.labels, run=self._view)
        self.so_far.verdicts += checked.records
        self.so_far.rungs += checked.rungs
        for record in checked.records:
            self.context.tell(GuardrailRan(self.context.run_id, call.path, record=record))
        checked.raise_if_blocked()
        return checked

    async def _attempts(self, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """Return the output, and what state holds of it."""
        call = self.call
        while True:
            self.so_far.attempts += 1
            try:
                return await self._attempt(inputs)
            except AgentflowError as error:
                if not error.retryable or self.so_far.attempts >= call.attempts:
                    raise
            await asyncio.sleep(call.backoff_s * 2 ** (self.so_far.attempts - 1))

    async def _attempt(self, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """Wait for the resource that the call occupies, if any; its own time limit begins behind that."""
        begin, wall_s = time.monotonic(), self._wall_left_s()
        if not self.call.resource:
            return await self._paid(inputs, begin, wall_s)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(wall_s):
                    await stack.enter_async_context(self.context.resource(self.call.resource))
            except TimeoutError as error:
                raise self._out_of_time(wall_s or 0.0) from error
            if wall_s is not None:
                wall_s = max(0.001, wall_s - (time.monotonic() - begin))
            return await self._paid(inputs, begin, wall_s)

    async def _paid(self, inputs: dict[str, Any], begin: float, wall_s: float | None) -> tuple[Any, Any]:
        call = self.call
        hold, inputs = await self._reserve(inputs, wall_s)
        meter = CallMeter(call.scope, hold.amounts)
        try:
            made: list[Artifact] = []
            where = f"the output of {call.path}"
            output = values.plain(await self._body(inputs, meter, wall_s), made, where=where)
            encoded = self._encode(output, made)
        except BaseException as error:
            if meter.cut_off or isinstance(error, asyncio.CancelledError):
                # what it used, or will be billed, beyond what it said is not known: so all of its hold
                unknown = hold.amounts.model_copy(update={"wall_ms": 0}).minus(meter.spent)
                meter.charge(unknown)
            self._settle(hold, meter, begin, error)
            raise
        settlement = self._settle(hold, meter, begin, (encoded, made))
        self._refuse_overrun(hold, settlement)
        return output, encoded

    def _encode(self, output: Any, made: list[Artifact]) -> Any:
        encoded = values.encode(output, self.context.artifacts, made, where=f"the output of {self.call.path}")
        size = len(canonical_json(encoded))
        if size > LARGEST_OUTPUT_CHARACTERS and self.call.kind != "foreach":  # its items were held to it
            raise InvalidInputError(
                f"the output of {self.call.path}", f"{size} characters of JSON",
                f"up to {LARGEST_OUTPUT_CHARACTERS}; keep what is larger as a file with call.artifacts.put",
            )  # fmt: skip
        return encoded

    def _refuse_overrun(self, hold: Hold, settlement: Settlement) -> None:
        """End the step where it used more than it held and more than any cap had room for."""
        if not _beside_wall(settlement.overrun):
            return
        over = settlement.overrun.model_copy(update={"wall_ms": 0})
        if dimension := over.first_above(NOTHING):
            asked = getattr(hold.amounts, dimension)
            raise BudgetExceededError(
                self.call.scope, dimension, asked + getattr(over, dimension), asked, asked
            )

    async def _body(self, inputs: dict[str, Any], meter: CallMeter, wall_s: float | None) -> Any:
        context, call = self.context, self.call
        ticket = Call(
            run_id=context.run_id,
            step=call.path,
            seed=context.seed,
            meter=meter,
            artifacts=context.artifacts,
            progress=lambda text, done=0, total=0: context.tell(
                Progress(context.run_id, call.path, text, done, total)
            ),
            scratch=context.scratch,
            run=self._view,
        )
        limits = [limit for limit in (call.timeout_s, wall_s) if limit is not None]
        timer = asyncio.timeout(min(limits)) if limits else None
        try:
            if timer is None:
                return await call.body(ticket, inputs)
            async with timer:
                return await call.body(ticket, inputs)
        except TimeoutError as error:
            if timer is None or not timer.expired():  # its own
                raise StepFailedError(call.path, error, retryable=True) from error
            meter.cut_off = True
            if wall_s is not None and wall_s == min(limits):
                raise self._out_of_time(wall_s) from error
            raise StepTimeoutError(call.path, min(limits)) from error
        except asyncio.CancelledError:
            meter.cut_off = True
            raise
        except AgentflowError:
            raise
        except Exception as error:
            raise StepFailedError(call.path, error, retryable=isinstance(error, OSError)) from error

    def _wall_left_s(self) -> float | None:
        """Return how long the step may take, or None where nothing limits it.

        Raises:
            BudgetExceededError: no time is left.
        """
        if not self.call.books_wall or not self.context.wall_capped(self.call.scope):
            return None
        left = self.context.ledger.left(self.call.scope).wall_ms
        if left <= 0:
            raise BudgetExceededError(self.call.scope, "wall_ms", 1, 0, self._wall_cap_ms())
        return left / 1e3

    def _out_of_time(self, left_s: float) -> BudgetExceededError:
        left_ms = round(left_s * 1e3)
        return BudgetExceededError(self.call.scope, "wall_ms", left_ms + 1, left_ms, self._wall_cap_ms())

    def _wall_cap_ms(self) -> int:
        ledger = self.context.ledger
        return min(ledger.usage(scope).cap.wall_ms for scope in {self.call.scope, self.context.scope})

    async def _reserve(self, inputs: dict[str, Any], wall_s: float | None) -> tuple[Hold, dict[str, Any]]:
        """Take a hold on the estimate; where there is no room, give up rungs of the ladder until there is.

        What a rung makes of the inputs is guarded like the inputs themselves: what was checked is what runs.
        """
        context, call, done = self.context, self.call, self.so_far
        done.given_up.clear()
        rungs = list(call.ladder) if call.degrade else []
        wall_ms = WALL_HOLD_MS if wall_s is None else min(WALL_HOLD_MS, round(wall_s * 1e3))
        key = f"{context.run_id}/{call.path}/{call.iteration}/{done.digest[:16]}/{done.attempts}"
        while True:
            amounts = call.estimate(inputs)
            if not _beside_wall(amounts) and not (call.books_wall and context.wall_limited(call.scope)):
                return context.ledger.nothing(call.scope, key), inputs  # time is booked when it has passed
            if call.books_wall:
                amounts = amounts.plus(Amounts(wall_ms=wall_ms))
            settled = context.settled
            try:
                with context.tracer.reserve(call.scope) as span:
                    hold = context.ledger.reserve(call.scope, amounts, key, lease=context.lease)
                    span.reserved(amounts)
                if _beside_wall(amounts):
                    context.holds.add(hold.id)
                return hold, inputs
            except BudgetExceededError as error:
                if self._held_by_others(error):
                    await settled.wait()
                    continue
                if not rungs:
                    raise
                name, give_up = rungs.pop(0)
                changed = give_up(inputs)
                if values.digest(changed) != values.digest(inputs):
                    inputs = (await self._check(call.before, changed)).value
                    done.given_up.append(name)

    def _held_by_others(self, error: BudgetExceededError) -> bool:
        """Whether calls that run beside this one hold what it lacks, and may give some of it back."""
        if error.dimension not in DIMENSIONS or not self.context.holds:
            return False
        held = getattr(self.context.ledger.usage(error.scope).held, error.dimension)
        return bool(held) and error.requested <= error.left + held

    def _settle(
        self, hold: Hold, meter: CallMeter, begin: float, result: tuple[Any, list[Artifact]] | BaseException
    ) -> Settlement:
        """Book what was used; how it ended is kept in the same transaction, so that it is never paid for twice."""
        context, call, done = self.context, self.call, self.so_far
        spent = meter.spent
        if call.books_wall and (wall_ms := round((time.monotonic() - begin) * 1e3)):
            spent = spent.plus(Amounts(wall_ms=wall_ms))
        if spent is not NOTHING:
            done.usage = done.usage.plus(spent)
        try:
            if not hold.id:
                return self._book(hold, spent, result)
            with context.tracer.settle(call.scope) as span:
                settlement = self._book(hold, spent, result)
                span.settled(settlement.booked, settlement.overrun)
                return settlement
        finally:
            context.release(hold.id)

    def _book(
        self, hold: Hold, spent: Amounts, result: tuple[Any, list[Artifact]] | BaseException
    ) -> Settlement:
        context = self.context
        if not hold.id and spent is NOTHING:
            self._keep(result, NO_COST, None)
            return NO_COST
        with context.store.transaction(lease=context.lease) as transaction:
            settlement = context.ledger.settle(hold, spent, transaction)
            self._keep(result, settlement, transaction)
        return settlement

    def _keep(
        self, result: tuple[Any, list[Artifact]] | BaseException, settlement: Settlement, transaction: Any
    ) -> None:
        """Put on record how the call ended, together with what it cost."""
        done = self.so_far
        if not isinstance(result, BaseException):
            done.artifacts += result[1]
            self._put(self._called(result[0], settlement), transaction)
            done.paid = True
        elif self._is_the_end(result):
            done.recorded = self._failure(result)
            self._put(done.recorded, transaction)

    def _called(self, output: Any, settlement: Settlement) -> Envelope:
        """Return what is recorded with the settlement: the outcome itself where nothing is left to be found."""
        call = self.call
        to_guard = call.after is not None and call.guards is not None and call.guards.at(call.after)
        if (
            to_guard
            or call.score is not None
            or (settlement.overrun is not NOTHING and settlement.overrun != NOTHING)
        ):
            return self._envelope(StepStatus.CALLED, output, None)
        status = StepStatus.DEGRADED if self._rungs() else StepStatus.OK
        self.so_far.recorded = self._envelope(status, output, None)
        return self.so_far.recorded

    def _rungs(self) -> list[str]:
        return [*self.so_far.given_up, *self.so_far.rungs, *self.call.notes.rungs]

    def _envelope(self, status: StepStatus, output: Any, error: BaseException | None) -> Envelope:
        done, notes = self.so_far, self.call.notes
        unique = {artifact.digest: artifact for artifact in done.artifacts}
        return Envelope(
            status=status,
            output=output,
            error=None if error is None else str(error),
            error_kind=None if error is None else getattr(error, "kind", type(error).__name__),
            usage=done.usage,
            attempts=done.attempts,
            verdicts=[*done.verdicts, *notes.verdicts],
            scores=[*done.scores, *notes.scores],
            artifacts=list(unique.values()),
            rungs=self._rungs(),
            warnings=list(notes.warnings),
            retryable=bool(getattr(error, "retryable", False)),
            exhausted=_exhausted(error),
            reused=done.reused,
        )

    def _is_the_end(self, error: BaseException) -> bool:
        """Whether the step fails with an attempt's error: it waits for nobody, and there is no further attempt."""
        if isinstance(error, WaitingError | LeaseLostError) or not isinstance(error, Exception):
            return False
        retryable = isinstance(error, AgentflowError) and error.retryable
        return not retryable or self.so_far.attempts >= self.call.attempts

    def _failed(self, error: Exception) -> Envelope:
        return self.so_far.recorded or self._record(self._failure(error))

    def _failure(self, error: BaseException) -> Envelope:
        match error:
            case BudgetExceededError():
                status = StepStatus.EXHAUSTED
            case GuardrailBlockedError():
                status = StepStatus.REFUSED
            case InnerCallError():
                status = error.status
            case _:
                status = StepStatus.FAILED
        wrapped = error if isinstance(error, AgentflowError) else StepFailedError(self.call.path, error)
        return self._envelope(status, None, wrapped)

    def _record(self, envelope: Envelope) -> Envelope:
        self._put(envelope, None)
        return envelope

    def _put(self, envelope: Envelope, transaction: Any) -> None:
        call = self.call
        self.context.recorded.add((call.path, call.iteration))
        self.context.store.record_step(
            self.context.run_id,
            call.path,
            call.iteration,
            self.so_far.digest,
            envelope,
            started_ms=self.started_ms,
            cache_key=self.so_far.cache_key,
            lease=self.context.lease,
            transaction=transaction,
        )


def _exhausted(error: BaseException | None) -> dict[str, Any] | None:
    if isinstance(error, BudgetExceededError):
        return error.facts
    return getattr(error, "exhausted", None)


def _beside_wall(amounts: Amounts) -> bool:
    return bool(amounts.tokens or amounts.micro_usd or amounts.gpu_ms or amounts.frames)
