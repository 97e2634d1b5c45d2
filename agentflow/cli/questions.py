"""A question to a person, in words: what may be answered, and the commands that do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentflow.cli.figures import compact, plain

if TYPE_CHECKING:
    from agentflow.store.records import ApprovalRecord


def commands_of(asked: ApprovalRecord, *, several: bool) -> list[str]:
    """Return the commands that approve and reject; ``several`` names the step, where its run waits for others too."""
    which = f" --approval {plain(asked.path, 200)}" if several else ""
    answers = "".join(f" --answer {plain(name, 60)}=…" for name in _required(asked))
    return [f"agentflow approve {asked.run_id}{which}{answers}", f"agentflow reject {asked.run_id}{which}"]


def answers_of(asked: ApprovalRecord) -> list[str]:
    """Return what may be answered, a line each: the name, its type, whether it may be left out."""
    if asked.kind == "budget":
        return ["a new cap, such as usd=2 or tokens=50000; without one, twice as much"]
    schema = asked.answers_schema or {}
    return [
        f"{plain(name, 60)}: {_type(form)}{'' if name in _required(asked) else ', may be left out'}"
        for name, form in schema.get("properties", {}).items()
    ]


def _type(form: dict[str, Any]) -> str:
    plainly = next((each for each in form.get("anyOf", ()) if each != {"type": "null"}), form)
    said = [plain(plainly.get("title") or plainly.get("type") or "anything", 60)]
    if "enum" in plainly:
        said.append(f"one of {compact(plainly['enum'])}")
    said += [f"{key} {plainly[key]:g}" for key in ("minimum", "maximum") if key in plainly]
    return ", ".join(said)


def _required(asked: ApprovalRecord) -> list[str]:
    return list((asked.answers_schema or {}).get("required", []))
