"""A run belongs to one process at a time, whatever processes do, and nobody else writes for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from agentflow.budget.ledger import Ledger
from agentflow.core.amounts import Amounts
from agentflow.core.errors import LeaseLostError, RunHeldError, UnknownNameError
from agentflow.core.records import Envelope, RunStatus, StepStatus
from agentflow.store.heartbeat import Heartbeat
from agentflow.store.leases import Lease
from agentflow.store.owner import Owner
from agentflow.store.store import Store

PATIENCE_S = 30


def create(store: Store, run_id: str = "r1", **options: object) -> Lease:
    lease = store.create_run(run_id, "w", "d", {}, **options)
    assert lease is not None
    return lease


def elsewhere(store: Store, owner: Owner, run_id: str = "r1", *, until_ms: int = 2**42) -> None:
    """Let another process hold a run."""
    with store.transaction() as transaction:
        transaction.exec_driver_sql(
            f"UPDATE runs SET owner = '{owner.text}', lease_until_ms = {until_ms} WHERE id = '{run_id}'"  # noqa: S608
        )


def test_a_run_is_created_and_claimed_at_once(store: Store) -> None:
    lease = create(store)
    run = store.get_run("r1")
    assert lease == Lease("r1", Owner.current().text, 1)
    assert (run.owner, run.fence, run.status) == (lease.owner, 1, RunStatus.RUNNING)
    assert run.lease_until is not None
    assert run.lease_until > run.started


def test_a_run_that_is_held_is_not_claimed_again_even_by_its_own_process(
    store: Store, tmp_path: Path, store_url: str | None
) -> None:
    create(store)
    other = Store.open(tmp_path / ".agentflow", store_url)
    for claiming in (store, other):
        with pytest.raises(RunHeldError) as held:
            claiming.claim_run("r1")
        assert (held.value.run_id, held.value.holder) == ("r1", Owner.current().text)
    other.close()


def test_a_run_that_was_another_processs_since_it_was_looked_at_is_not_claimed(store: Store) -> None:
    store.create_run("r1", "w", "d", {}, status=RunStatus.QUEUED, claim=False)
    looked_at = store.get_run("r1")
    faster = store.claim_run("r1", fence=looked_at.fence)
    store.finish_run("r1", RunStatus.FAILED, lease=faster)
    store.release_run(faster)
    with pytest.raises(RunHeldError, match="at the same time, which has given it back by now"):
        store.claim_run("r1", fence=looked_at.fence)
    assert (store.get_run("r1").owner, store.get_run("r1").fence) == (None, faster.fence)
    assert store.claim_run("r1", fence=faster.fence).fence == faster.fence + 1


def test_who_holds_a_run_is_said_with_machine_process_and_what_to_do() -> None:
    error = RunHeldError("r1", "lab-3@0a1b:4711:99:ffff", 1_800_000_015_000, 1_800_000_000_000)
    assert str(error) == (
        "run r1 is held by process 4711 on lab-3, which last said so at 08:00:00 UTC. Follow it (agentflow show r1) "
        "or end it (agentflow cancel r1); once that process is dead, agentflow resume r1 takes over, from another "
        "machine after 08:00:15 UTC."
    )
    assert str(LeaseLostError("r1", "lab-3@0a1b:4711:99:ffff")) == (
        "run r1 is no longer this process's: process 4711 on lab-3 has it now. Nothing more is written here; "
        "what was finished is kept (agentflow show r1)."
    )


def test_a_run_that_was_given_back_is_claimed_with_a_higher_fence(store: Store) -> None:
    first = create(store)
    store.release_run(first)
    second = store.claim_run("r1")
    store.release_run(first)
    assert (second.fence, store.get_run("r1").owner) == (2, second.owner)


def test_a_lease_that_ran_out_can_be_taken_and_the_old_one_writes_nothing_more(store: Store) -> None:
    ledger = Ledger(store)
    ledger.open_scope("run", Amounts(tokens=10))
    old = create(store, ttl_ms=0)
    new = store.claim_run("r1")
    done = Envelope(status=StepStatus.OK)
    writes = [
        lambda lease: ledger.reserve("run", Amounts(tokens=1), "k", lease=lease),
        lambda lease: store.record_step("r1", "plan", "", "d", done, started_ms=0, lease=lease),
        lambda lease: store.mark_run("r1", RunStatus.WAITING, lease=lease),
        lambda lease: store.finish_run("r1", RunStatus.FAILED, lease=lease),
        lambda lease: store.transaction(lease=lease).__enter__(),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError) as lost:
            write(old)
        assert (lost.value.run_id, lost.value.holder) == ("r1", new.owner)
    assert (ledger.usage("run").held, store.steps("r1")) == (Amounts(), [])
    assert store.get_run("r1").status is RunStatus.RUNNING
    for write in writes[:-1]:
        write(new)
    assert (ledger.usage("run").held, len(store.steps("r1"))) == (Amounts(tokens=1), 1)


def test_a_lease_holds_to_the_end_of_its_transaction(tmp_path: Path, store_url: str | None) -> None:
    store = Store.open(tmp_path, store_url)
    lease = create(store, ttl_ms=0)
    claimed: list[Lease] = []
    with store.transaction(lease=lease) as transaction:
        taker = threading.Thread(target=lambda: claimed.append(store.claim_run("r1")))
        taker.start()
        taker.join(0.2)
        waited = taker.is_alive()
        store.record_step(
            "r1", "plan", "", "d", Envelope(status=StepStatus.OK), started_ms=0, transaction=transaction
        )
    taker.join(PATIENCE_S)
    assert waited
    assert [taken.fence for taken in claimed] == [2]
    assert len(store.steps("r1")) == 1
    store.close()


def test_renewing_says_which_leases_are_lost(store: Store) -> None:
    kept, out, taken = (create(store, name, ttl_ms=0) for name in ("a", "b", "c"))
    store.release_run(out)
    store.claim_run("c")
    assert store.renew_leases([kept, out, taken]) == [out, taken]
    with pytest.raises(RunHeldError):
        store.claim_run("a")


def test_an_unknown_run_can_be_neither_claimed_nor_cancelled(store: Store) -> None:
    with pytest.raises(UnknownNameError):
        store.claim_run("none")
    with pytest.raises(UnknownNameError):
        store.request_cancel("none")


def test_the_run_of_a_process_that_was_killed_here_can_be_taken_at_once(
    store: Store, tmp_path: Path, store_url: str | None
) -> None:
    program = """
import sys
from pathlib import Path
from agentflow.store.store import Store
store = Store.open(Path(sys.argv[1]), sys.argv[2] or None)
store.create_run("r1", "w", "d", {})
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / ".agentflow"), store_url or ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunHeldError) as held:
            store.claim_run("r1")
        assert f":{holder.pid}:" in held.value.holder
        assert store.claimable_runs() == []
        holder.send_signal(signal.SIGKILL)
        # Dead, and not yet waited for by its parent: that counts as dead.
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert store.claimable_runs() == ["r1"]
        assert store.claim_run("r1").fence == 2


def test_a_process_with_the_number_of_a_dead_one_is_not_taken_for_it() -> None:
    this = Owner.current()
    assert not this.surely_dead
    assert replace(this, start="1").surely_dead


def test_of_a_process_on_another_machine_only_the_lease_counts(store: Store) -> None:
    there = Owner("lab-3@0a1b", 2**22 + 1, "1", "ffff")
    create(store)
    elsewhere(store, there)
    with pytest.raises(RunHeldError, match="process 4194305 on lab-3"):
        store.claim_run("r1")
    assert store.claimable_runs() == []
    elsewhere(store, there, until_ms=1)
    assert store.claimable_runs() == ["r1"]
    assert store.claim_run("r1").fence == 2


def test_an_owner_reads_back_from_its_text() -> None:
    assert Owner.parse(Owner.current().text) == Owner.current()
    assert Owner.parse("somebody") is None


def test_a_fork_is_another_owner() -> None:
    program = (
        "import os; from agentflow.store.owner import Owner; Owner.current()\n"
        "child = os.fork()\n"
        "own = Owner.current().pid == os.getpid()\n"
        "print(own and os.waitpid(child, 0)[1]) if child else os._exit(not own)"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ended.stdout == "0\n"


def test_of_many_that_claim_at_once_one_wins_and_the_others_hear_who(
    store: Store, tmp_path: Path, store_url: str | None
) -> None:
    program = """
import sys
from pathlib import Path
from agentflow.core.errors import RunHeldError
from agentflow.store.store import Store
store = Store.open(Path(sys.argv[1]), sys.argv[2] or None)
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(store.claim_run(line.strip()).owner, flush=True)
    except RunHeldError as error:
        print(error.holder, flush=True)
"""
    runs = [f"r{number}" for number in range(10)]
    for run in runs:
        store.create_run(run, "w", "d", {}, status=RunStatus.QUEUED, claim=False)
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / ".agentflow"), store_url or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    assert [claimer.stdout.readline() for claimer in claimers] == ["ready\n"] * 4
    for run in runs:
        for claimer in claimers:
            claimer.stdin.write(f"{run}\n")
            claimer.stdin.flush()
        said = {claimer.stdout.readline().strip() for claimer in claimers}
        assert said == {store.get_run(run).owner}
        assert store.get_run(run).fence == 1
    for claimer in claimers:
        claimer.communicate(timeout=PATIENCE_S)


def test_queued_runs_and_runs_that_nobody_has_are_claimable_oldest_first(store: Store) -> None:
    store.create_run("a queued", "w", "d", {}, status=RunStatus.QUEUED, claim=False)
    store.create_run("b left", "w", "d", {}, claim=False)
    create(store, "held")
    create(store, "c queued and held", status=RunStatus.QUEUED)
    store.create_run("ended", "w", "d", {}, claim=False)
    store.finish_run("ended", RunStatus.SUCCEEDED)
    assert store.claimable_runs() == ["a queued", "b left"]
    assert store.claimable_runs(limit=1) == ["a queued"]


def test_a_request_to_cancel_stands_until_the_run_has_ended(store: Store) -> None:
    create(store)
    assert store.request_cancel("r1")
    assert store.cancels_requested(["r1", "r2"]) == {"r1"}
    assert store.get_run("r1").cancel_requested
    store.finish_run("r1", RunStatus.CANCELLED)
    assert not store.get_run("r1").cancel_requested
    assert not store.request_cancel("r1")
    assert store.cancels_requested(["r1"]) == set()


class Heard:
    """What a heartbeat called back, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.called = threading.Condition()

    def listener(self, what: str):
        def listen(run_id: str) -> None:
            with self.called:
                self.calls.append((what, run_id))
                self.called.notify_all()
            raise ValueError("a listener's own mistake")

        return listen

    def wait_for(self, calls: list[tuple[str, str]]) -> bool:
        with self.called:
            return self.called.wait_for(lambda: self.calls == calls, PATIENCE_S)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def heartbeat(store: Store, heard: Heard, ttl_ms: int) -> Heartbeat:
    return Heartbeat(store, ttl_ms=ttl_ms, on_lost=heard.listener("lost"), on_cancel=heard.listener("cancel"))


def test_a_heartbeat_keeps_a_lease_beyond_its_time(store: Store, heard: Heard) -> None:
    lease = create(store, ttl_ms=1)
    first = store.get_run("r1").lease_until
    beating = heartbeat(store, heard, ttl_ms=30)
    beating.add(lease)
    seen = {first}
    while len(seen) < 4:
        seen.add(store.get_run("r1").lease_until)
    beating.stop()
    assert max(seen) > first
    assert heard.calls == []
    store.mark_run("r1", RunStatus.WAITING, lease=lease)


def test_a_heartbeat_tells_of_a_lease_that_is_lost_once(store: Store, heard: Heard) -> None:
    lease, other = create(store, "r1"), create(store, "r2")
    beating = heartbeat(store, heard, ttl_ms=30)
    beating.add(lease)
    beating.add(other)
    elsewhere(store, Owner("lab-3@0a1b", 1, "1", "ffff"))
    assert heard.wait_for([("lost", "r1")])
    store.request_cancel("r2")
    assert heard.wait_for([("lost", "r1"), ("cancel", "r2")])
    beating.stop()


def test_a_heartbeat_tells_of_a_request_to_cancel_once(store: Store, heard: Heard) -> None:
    beating = heartbeat(store, heard, ttl_ms=600_000)
    lease = create(store)
    beating.add(lease)
    store.request_cancel("r1")
    beating.beat()
    beating.beat()
    assert heard.calls == [("cancel", "r1")]
    beating.remove(lease)
    beating.beat()
    beating.stop()
    beating.stop()
    assert heard.calls == [("cancel", "r1")]


def test_a_lease_that_cannot_be_renewed_for_its_whole_time_counts_as_lost(
    tmp_path: Path, heard: Heard
) -> None:
    store = Store.open(tmp_path, busy_ms=1)
    lease = create(store)
    blocking = threading.Event()
    blocked = threading.Event()

    def block() -> None:
        with store.transaction():
            blocked.set()
            blocking.wait(PATIENCE_S)

    other = threading.Thread(target=block)
    other.start()
    assert blocked.wait(PATIENCE_S)
    beating = heartbeat(store, heard, ttl_ms=30)
    beating.add(lease)
    assert heard.wait_for([("lost", "r1")])
    beating.stop()
    blocking.set()
    other.join(PATIENCE_S)
    store.close()
