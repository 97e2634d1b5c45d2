"""What must hold of a run, however often its process was killed; each function returns what does not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from records import Files, Records

from agentflow.core.amounts import DIMENSIONS

_PAID = tuple(name for name in DIMENSIONS if name != "wall_ms")


@dataclass(frozen=True)
class Reference:
    """How the run goes when nobody kills it."""

    outputs: str
    calls: Counter[str]
    steps: Counter[tuple[str, str, str]]
    found: Counter[tuple[Any, ...]]
    questions: Counter[tuple[str, str, str]]
    spent: dict[str, int]
    booked: dict[str, int]
    manifest: Any

    @classmethod
    def of(cls, records: Records) -> Reference:
        """Return what an undisturbed run left."""
        return cls(
            records.run["outputs"], Counter(line["step"] for line in records.begun), records.steps(),
            records.found(), _questions(records), _spent(records),
            {step: _tokens(holds, "booked") for step, holds in records.holds.items()},
            records.run["manifest"],
        )  # fmt: skip


def at_every_death(before: dict[str, Any], records: Records) -> Iterator[str]:
    """What must hold at each moment: nothing that stood is changed or gone, no cap is passed."""
    now = records.settled()
    for key, value in before.items():
        if now.get(key) != value:
            yield f"{' '.join(key)} was {value} and is {now.get(key)}"
    for scope in records.tables["ledger_scopes"]:
        for name in DIMENSIONS:
            if scope[f"held_{name}"] + scope[f"spent_{name}"] > scope[f"cap_{name}"]:
                yield f"{scope['id']}: {name} is above its cap"


def at_the_end(
    records: Records, reference: Reference, kills: int, files: Files, *, same_questions: bool
) -> Iterator[str]:
    """What must hold of a run that has ended."""
    if (records.run["status"], records.run["error"]) != ("succeeded", None):
        yield f"the run ended as {records.run['status']}: {records.run['error']}"
        return
    if records.run["outputs"] != reference.outputs:
        yield f"outputs are {records.run['outputs']}, not {reference.outputs}"
    yield from _calls(records, reference, kills)
    yield from _book(records)
    yield from _differ("steps", records.steps(), reference.steps)
    yield from _differ("verdicts and scores", records.found(), reference.found)
    yield from _once_each(records)
    if same_questions:
        yield from _differ("questions", _questions(records), reference.questions)
    yield from _decisions(records)
    if json.loads(records.run["manifest"]) != json.loads(reference.manifest):
        yield f"the manifest is {records.run['manifest']}, not {reference.manifest}"
    if not files.spans or files.torn_lines > kills:
        yield f"the trace has {files.spans} spans and {files.torn_lines} torn lines after {kills} kills"
    for broken in files.broken:
        yield f"not whole: {broken}"


def _calls(records: Records, reference: Reference, kills: int) -> Iterator[str]:
    """A call is repeated only where its process died in it; then its first hold is lost, once settled it stands."""
    begun = Counter(line["step"] for line in records.begun)
    if begun.keys() != reference.calls.keys():
        yield f"calls of {sorted(begun)}, not of {sorted(reference.calls)}"
    for step, expected in reference.calls.items():
        holds = records.holds.get(step, [])
        states = Counter(hold["state"] for hold in holds)
        if states["settled"] != expected:
            yield f"{step}: {states['settled']} settled calls, not {expected}"
        if begun[step] > expected + states["lost"]:
            yield f"{step}: called {begun[step]} times, {states['lost']} of them cut off, in place of {expected} times"
        if states["lost"] and not kills:
            yield f"{step}: {states['lost']} lost holds without a kill"
        settled = [hold for hold in holds if hold["state"] == "settled"]
        if _tokens(settled, "booked") != reference.booked.get(step, 0):
            yield f"{step}: settled calls are booked with {_tokens(settled, 'booked')} in all"


def _book(records: Records) -> Iterator[str]:
    """Nothing is held, a lost hold is booked whole, a scope has spent what its holds say, and no less than is real."""
    for hold in records.tables["ledger_holds"]:
        if hold["state"] == "held":
            yield f"hold {hold['key']} is open"
        elif hold["state"] == "lost" and hold["booked"] != hold["reserved"]:
            yield f"hold {hold['key']} was lost, and {hold['booked']} of {hold['reserved']} are booked"
    sums = _booked_in(records)
    for scope in records.tables["ledger_scopes"]:
        for name in _PAID:
            if (scope[f"held_{name}"], scope[f"spent_{name}"]) != (0, sums[scope["id"], name]):
                yield f"{scope['id']}: {scope[f'spent_{name}']} {name} spent, {sums[scope['id'], name]} booked"
    real: Counter[str] = Counter()
    for line in records.begun:
        real.update(line["amounts"])
    spent = _spent(records)
    for name, amount in real.items():
        if amount > spent[name]:
            yield f"{amount} {name} were really spent, and {spent[name]} are on the books"


def _booked_in(records: Records) -> Counter[tuple[str, str]]:
    """Return what the holds of each scope, and of all below it, are booked with, by scope and dimension."""
    parents = {scope["id"]: scope["parent"] for scope in records.tables["ledger_scopes"]}
    sums: Counter[tuple[str, str]] = Counter()
    for hold in records.tables["ledger_holds"]:
        scope: str | None = hold["scope"]
        while scope is not None:
            for name in _PAID:
                sums[scope, name] += json.loads(hold["booked"] or "{}").get(name, 0)
            scope = parents[scope]
    return sums


def _once_each(records: Records) -> Iterator[str]:
    """Each verdict and score of a step is kept once, and each place of a step has one row."""
    for table in ("verdicts", "scores"):
        kept = Counter(row["step_key"] for row in records.tables[table])
        for step in records.tables["steps"]:
            if kept[step["key"]] != (own := len(json.loads(step["envelope"])[table])):
                yield f"{step['path']}: {kept[step['key']]} {table} are kept of {own}"
    for place, rows in Counter((row["path"], row["iteration"]) for row in records.tables["steps"]).items():
        if rows > 1:
            yield f"step {' '.join(place)} has {rows} rows"


def _decisions(records: Records) -> Iterator[str]:
    for asked in records.tables["approvals"]:
        if asked["decision"] != "approve" or not asked["decided_by"].startswith("person "):
            yield f"question {asked['path']}: {asked['decision']} by {asked['decided_by']}"


def _questions(records: Records) -> Counter[tuple[str, str, str]]:
    return Counter((row["path"], row["iteration"], row["kind"]) for row in records.tables["approvals"])


def _spent(records: Records) -> dict[str, int]:
    """Return what the run has spent."""
    for scope in records.tables["ledger_scopes"]:
        if scope["id"] == f"run:{records.run['id']}":
            return {name: scope[f"spent_{name}"] for name in _PAID}
    return dict.fromkeys(_PAID, 0)


def _tokens(holds: list[dict[str, Any]], column: str) -> int:
    return sum(json.loads(hold[column])["tokens"] for hold in holds if hold[column])


def _differ(what: str, found: Counter[Any], expected: Counter[Any]) -> Iterator[str]:
    for key in (found - expected).keys() | (expected - found).keys():
        yield f"{what}: {key} {found[key]} times, not {expected[key]}"
