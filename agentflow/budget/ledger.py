"""`Ledger`: reserve before a call, settle after it, never above a cap.

What is promised, for every scope and dimension, with many processes on one file:

- **booked ≤ cap, always.** ``held + spent`` passes a cap at no moment, whatever crashes: every booking is
  one transaction over the scope and all scopes above it, and the database refuses a row that breaks it.
- **real ≤ booked, as long as a callee stops itself at its hold.** A hold is booked in full before the call
  begins, and a crash books all of it as spent. Where a call still passes its hold, what it used beyond is
  booked as far as the caps have room; what no cap has room for is kept on the hold as its ``overrun`` and
  returned by `Ledger.settle`, so that the caller can end the run. It is never dropped silently.
- **A power cut** takes no hold on tokens or money with it: those are on the disk before the call begins,
  because somebody else's bill outlives this machine. Holds on local compute (GPU, frames, wall-clock)
  outlive the process but may be lost with the machine's last moments, like the work itself. A lost
  settlement only over-counts.
- **A call that is to use nothing**, where no cap limits wall-clock, takes no hold (`Ledger.nothing`). A crash in
  it books none of its wall-clock, which no cap counts.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection

from agentflow.core.amounts import DIMENSIONS, NOTHING, UNLIMITED, Amounts
from agentflow.core.errors import BudgetExceededError, InvalidInputError, UnknownNameError
from agentflow.store import ledger_rows as rows
from agentflow.store.leases import Lease
from agentflow.store.store import Store, now_ms

_CEILING = Amounts.unlimited()
# The largest number that the database holds: it fits under no cap, so it is refused as too much.
_TOO_MUCH = Amounts(**dict.fromkeys(DIMENSIONS, 2 * UNLIMITED - 1))


@dataclass(frozen=True)
class Hold:
    """A reservation. ``scopes`` are its scope and all above it, nearest first."""

    id: str
    key: str
    scopes: tuple[str, ...]
    amounts: Amounts

    @property
    def scope(self) -> str:
        """The scope that it was taken from."""
        return self.scopes[0]


@dataclass(frozen=True)
class Settlement:
    """What was booked for a hold; ``overrun`` is what was used and fitted under no cap.

    ``late`` says that the hold had been booked as lost before: another process took its run over.
    """

    booked: Amounts
    overrun: Amounts
    late: bool = False


@dataclass(frozen=True)
class Usage:
    """How a scope stands."""

    spent: Amounts
    held: Amounts
    cap: Amounts


class Ledger:
    """The book of one project. Each instance owns the holds that it takes.

    Raises:
        StorageError: any method, where the file is locked, corrupt, full or cannot be written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.owner = uuid.uuid4().hex
        # A scope's parents never change, so a chain that was read once holds.
        self._chains: dict[str, tuple[str, ...]] = {}

    def open_scope(self, scope_id: str, caps: Amounts, parent: str | None = None) -> None:
        """Open a scope, or open it again with other caps (a person raised them, or the file changed).

        A cap below what is booked already becomes what is booked: nothing more can be taken then.

        Raises:
            UnknownNameError: there is no such parent.
            InvalidInputError: the scope is there under another parent.
        """
        caps = caps.at_most(_CEILING)

        def open_it(transaction: Connection) -> None:
            if parent is not None:
                self._lock(transaction, self._chain(transaction, parent))
            if rows.insert_scope(transaction, scope_id, parent, caps):
                return
            self._lock(transaction, self._chain(transaction, scope_id))
            scope = self._read(transaction, scope_id)
            if scope.parent != parent:
                raise InvalidInputError(f"parent of budget scope {scope_id}", f"{parent}", f"{scope.parent}")
            booked = scope.held.plus(scope.spent)
            rows.set_cap(transaction, scope_id, caps.plus(booked.minus(caps)))

        self._store.attempt(open_it)

    def reserve(self, scope: str, amounts: Amounts, key: str, *, lease: Lease | None = None) -> Hold:
        """Hold amounts in a scope and all scopes above it, in all dimensions or not at all.

        Asking again with the key of a hold that is still open returns that hold and takes nothing. A key
        whose hold was closed takes a new one: another attempt.

        Args:
            scope: an open scope.
            amounts: an upper bound of what the call may use. The callee must stop itself there.
            key: what the hold is for, such as a step's key and the attempt.
            lease: the right to spend for a run.

        Raises:
            LeaseLostError: the lease's run is another process's by now.
            BudgetExceededError: names the nearest scope and the dimension without room; nothing was taken.
            UnknownNameError: there is no such scope.
            InvalidInputError: the key's open hold is another process's, or for other amounts.
        """
        paid = bool(amounts.tokens or amounts.micro_usd)

        def take(transaction: Connection) -> Hold:
            chain = self._chain(transaction, scope)
            self._lock(transaction, chain)
            standing = rows.read_open_hold(transaction, key)
            if standing is not None:
                return self._same(standing, chain, amounts)
            with_room = rows.hold_in_scopes(transaction, chain, _within_64_bits(amounts))
            for name in chain:
                if name not in with_room:
                    raise _refusal(self._read(transaction, name), amounts)
            hold = Hold(id=uuid.uuid4().hex, key=key, scopes=chain, amounts=amounts)
            rows.insert_hold(transaction, hold.id, key, scope, self.owner, amounts, now_ms())
            return hold

        return self._store.attempt(take, durable=paid, lease=lease)

    def nothing(self, scope: str, key: str) -> Hold:
        """Return the hold of a call that is to use nothing that any cap limits: it takes no room and no row.

        What the call uses nevertheless is booked by `settle` as far as the caps have room, as for every hold;
        settle it once.

        Raises:
            UnknownNameError: there is no such scope.
        """
        chain = self._chains.get(scope)
        if chain is None:
            with self._store.database.read() as connection:
                chain = self._chain(connection, scope)
        return Hold(id="", key=key, scopes=chain, amounts=NOTHING)

    def settle(self, hold: Hold, actual: Amounts, transaction: Connection | None = None) -> Settlement:
        """Book what was really used, and give back the rest of the hold. A second time changes nothing.

        Args:
            hold: what `reserve` returned.
            actual: what was really used.
            transaction: the store's transaction to take part in; without it, this is one of its own.

        Returns:
            What was booked. ``overrun`` is above zero only where the call passed its hold and the caps had
            no room for it: the caller should end the run.
        """
        return self._closed(hold, "settled", actual, transaction)

    def release(self, hold: Hold, transaction: Connection | None = None) -> None:
        """Give a hold back whole: the call was never begun."""
        self._closed(hold, "released", Amounts(), transaction)

    def left(self, scope: str) -> Amounts:
        """Return what may still be reserved in a scope, given it and all scopes above it."""
        with self._store.database.read(snapshot=True) as connection:
            return self._left(connection, self._chain(connection, scope))

    def usage(self, scope: str) -> Usage:
        """Return what of a scope is spent, what is held, and its cap."""
        with self._store.database.read() as connection:
            found = self._read(connection, scope)
        return Usage(spent=found.spent, held=found.held, cap=found.cap)

    def recover(self, scope: str, *, lease: Lease | None = None) -> list[Hold]:
        """Book as spent, in full, the open holds that others left in a scope and below; return them.

        For the process that takes a run over. Holds of this ledger are left alone. An owner that was not
        dead after all keeps its promises too: its hold is booked, and its settlement comes `late`.
        """

        def book_lost(transaction: Connection) -> list[Hold]:
            self._lock(transaction, self._chain(transaction, scope))
            orphans = rows.open_holds_below(transaction, scope, not_of=self.owner)
            holds = [self._hold(orphan, self._chain(transaction, orphan.scope)) for orphan in orphans]
            for hold in holds:
                self._close(transaction, hold, "lost", hold.amounts)
            return holds

        return self._store.attempt(book_lost, durable=True, lease=lease)

    def _close(self, connection: Connection, hold: Hold, state: str, actual: Amounts) -> Settlement:
        if not hold.id:
            return self._book(connection, hold, actual)
        self._lock(connection, hold.scopes)
        overrun = Amounts()
        if actual.first_above(hold.amounts):
            beyond = actual.minus(hold.amounts)
            overrun = beyond.minus(self._left(connection, hold.scopes))
        booked = actual.minus(overrun)
        if not rows.close_hold(connection, hold.id, state, booked, overrun, now_ms()):
            return self._closed_before(connection, hold, actual)
        rows.book_in_scopes(connection, hold.scopes, hold.amounts, booked)
        return Settlement(booked=booked, overrun=overrun)

    def _book(self, connection: Connection, hold: Hold, actual: Amounts) -> Settlement:
        if actual.first_above(NOTHING) is None:
            return Settlement(booked=actual, overrun=actual)
        self._lock(connection, hold.scopes)
        if rows.spend_in_scopes(connection, hold.scopes, _within_64_bits(actual)):
            return Settlement(booked=actual, overrun=NOTHING)
        overrun = actual.minus(self._left(connection, hold.scopes))
        booked = actual.minus(overrun)
        rows.book_in_scopes(connection, hold.scopes, NOTHING, booked)
        return Settlement(booked=booked, overrun=overrun)

    def _closed_before(self, connection: Connection, hold: Hold, actual: Amounts) -> Settlement:
        stored = rows.read_hold(connection, hold.id)
        if stored is None or stored.booked is None or stored.overrun is None:
            raise UnknownNameError("budget hold", hold.id, [])
        if stored.state == "lost":
            return Settlement(stored.booked, actual.minus(stored.booked), late=True)
        return Settlement(stored.booked, stored.overrun)

    def _closed(self, hold: Hold, state: str, actual: Amounts, transaction: Connection | None) -> Settlement:
        if transaction is not None:
            return self._close(transaction, hold, state, actual)
        return self._store.attempt(lambda own: self._close(own, hold, state, actual))

    @staticmethod
    def _lock(connection: Connection, chain: tuple[str, ...]) -> None:
        rows.lock_tree(connection, chain[-1])

    def _chain(self, connection: Connection, scope: str) -> tuple[str, ...]:
        known = self._chains.get(scope)
        if known is None:
            parent = self._read(connection, scope).parent
            known = (scope, *(() if parent is None else self._chain(connection, parent)))
            self._chains[scope] = known
        return known

    @staticmethod
    def _read(connection: Connection, scope: str) -> rows.Scope:
        found = rows.read_scope(connection, scope)
        if found is None:
            raise UnknownNameError("budget scope", scope, rows.scope_names(connection))
        return found

    def _left(self, connection: Connection, chain: tuple[str, ...]) -> Amounts:
        left = _CEILING
        for scope in chain:
            left = left.at_most(self._read(connection, scope).left)
        return left

    def _same(self, standing: rows.StoredHold, chain: tuple[str, ...], amounts: Amounts) -> Hold:
        where = f"budget hold {standing.key}"
        if standing.owner != self.owner:
            raise InvalidInputError(
                where,
                "an open hold of another process",
                "a key of one's own, or `recover` once that process is dead",
            )
        if (standing.scope, standing.reserved) != (chain[0], amounts):
            raise InvalidInputError(
                where, f"{amounts} in {chain[0]}", f"{standing.reserved} in {standing.scope}"
            )
        return self._hold(standing, chain)

    @staticmethod
    def _hold(stored: rows.StoredHold, chain: tuple[str, ...]) -> Hold:
        return Hold(id=stored.id, key=stored.key, scopes=chain, amounts=stored.reserved)


def _within_64_bits(amounts: Amounts) -> Amounts:
    return amounts if amounts.first_above(_TOO_MUCH) is None else amounts.at_most(_TOO_MUCH)


def _refusal(scope: rows.Scope, amounts: Amounts) -> BudgetExceededError:
    dimension = next(name for name in DIMENSIONS if getattr(amounts, name) > getattr(scope.left, name))
    requested, left, cap = (getattr(part, dimension) for part in (amounts, scope.left, scope.cap))
    return BudgetExceededError(scope.id, dimension, requested, left, cap)
