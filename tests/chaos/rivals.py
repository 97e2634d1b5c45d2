"""Processes that want the same run: two at once, and one that was frozen while another took its run over."""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from campaign import Campaign
from checks import at_the_end
from lives import LIMIT_S, Life, Stage, begin, end, live
from moments import Death, Moments
from records import Files, Records
from works import WORKS

ROUNDS = 3
"""Of a scene with each workflow."""
FREEZING = ("paying", "paid", "committed", "trace", "traced")
"""Where a process is frozen: not within a transaction, which on a file keeps everybody else out."""


def play(campaign: Campaign, name: str) -> dict[str, Any]:
    """Play a scene with each workflow; return how often, and what did not hold."""
    played, violations = 0, []
    for work in campaign.works:
        for number in range(ROUNDS):
            rng = random.Random(f"{campaign.seed}/{name}/{work}/{number}")
            with campaign.stage(WORKS[work]) as stage:
                found = list(SCENES[name](campaign, stage, rng))
            played += 1
            violations += [f"{work}, round {number}: {text}" for text in found]
    return {"seed": campaign.seed, "scenes": played, "violations_shown": violations}


def _two_at_once(campaign: Campaign, stage: Stage, rng: random.Random) -> Iterator[str]:
    """Two go on with one run at the same moment: one does, the other hears that it is held."""
    reference, lives = campaign.references[stage.work.name]
    # The call that is cut off is the one at which the winner waits; a lost hold must leave room for it.
    last = lives[0].counts["paying"] if stage.work.same_questions else 1
    first = live(stage, "run", Death("paying", rng.randint(1, last)))
    if not first.killed:
        yield f"the first process was not killed: {first.said}"
        return
    doors = [os.pipe() for _ in range(3)]  # two to begin by, one to go on by after the first paid work
    going_on = Moments(Death("paying", 1), then=lambda: os.read(doors[2][0], 1))
    rivals = [begin(stage, "resume", going_on, lambda at=at: os.read(doors[at][0], 1)) for at in range(2)]
    for _, door in doors[:2]:
        os.write(door, b"!")
    ready, _, _ = select.select([pipe for _, pipe in rivals], [], [], LIMIT_S)
    if len(ready) != 1:  # the winner waits at its first paid work, so only the other one can have spoken
        yield f"{len(ready)} of 2 have ended while the run is at work"
    os.write(doors[2][1], b"!!")
    ended = [end("resume", *rival) for rival in rivals]
    for handle in (handle for door in doors for handle in door):
        os.close(handle)
    said = sorted(str(life.said.get("error") or life.said.get("status")) for life in ended)
    goes_on = "waiting" if len(lives) > 1 else "succeeded"
    if said != sorted(["RunHeld", goes_on]):
        yield f"the two say {[life.said for life in ended]}"
    yield from _rest(stage, reference, kills=1)


def _frozen(campaign: Campaign, stage: Stage, rng: random.Random) -> Iterator[str]:
    """A process stops for longer than its lease; what it does once it wakes up is written nowhere."""
    reference, lives = campaign.references[stage.work.name]
    kind = rng.choice(FREEZING)
    first, last = _at_work(kind, lives[0].counts[kind])
    death = Death(kind, rng.randint(first, last))
    pid, pipe = begin(stage, "run", Moments(death, then=lambda: os.kill(os.getpid(), signal.SIGSTOP)))
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        yield f"it was not frozen at {death}"
        return
    if Records.of(stage).run.get("status") != "running":
        os.kill(pid, signal.SIGCONT)
        end("run", pid, pipe)
        yield f"at {death} it was not at work"
        return
    _let_lease_run_out(stage)
    other = live(stage, rng.choice(("resume", "worker")), None)
    before = Records.of(stage)
    os.kill(pid, signal.SIGCONT)
    woken = end("run", pid, pipe)
    after = Records.of(stage)
    if "error" in other.said or "broken" in other.said:
        yield f"{death}: the one that took over says {other.said}"
    if woken.said.get("error") != "LeaseLost":
        yield f"{death}: the one that woke up says {woken.said}"
    for table, rows in after.tables.items():
        if rows != before.tables[table]:
            yield f"{death}: the one that woke up has written into {table}"
    yield from _rest(stage, reference, kills=1)


def _at_work(kind: str, count: int) -> tuple[int, int]:
    """Return the first and the last moment of a kind between a run's beginning and its end."""
    if (
        kind == "committed"
    ):  # the tables, the project's budget, the run; its end, or that it waits, and its lease
        return 3, count - 2
    return 1, count - 1 if kind in ("trace", "traced") else count


def _rest(stage: Stage, reference: Any, kills: int) -> Iterator[str]:
    """Go on to the run's end; return what does not hold of it."""
    records = Records.of(stage)
    while records.run["status"] == "waiting":
        life: Life = live(stage, "decide", None)
        if "error" in life.said or "broken" in life.said:
            yield f"deciding: {life.said}"
            return
        records = Records.of(stage)
    files = Files.of(stage, records.run["id"])
    yield from at_the_end(records, reference, kills, files, same_questions=stage.work.same_questions)


def _let_lease_run_out(stage: Stage) -> None:
    """Do what time does."""
    statement = "UPDATE runs SET lease_until_ms = 1"
    if stage.url is not None:
        import psycopg

        with psycopg.connect(stage.url, autocommit=True) as server:
            server.execute(statement)
        return
    with closing(sqlite3.connect(stage.root / ".agentflow" / "agentflow.db")) as file:
        file.execute(statement)
        file.commit()


SCENES = {"two": _two_at_once, "frozen": _frozen}
