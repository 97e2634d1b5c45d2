"""The body of an ``evaluate`` step: score each item, select the best, hold the gate against it."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agentflow.core.errors import InvalidInputError, StepFailedError
from agentflow.core.records import Score, ScoreRecord, Subject
from agentflow.core.registry import ScorerSpec
from agentflow.execution import values
from agentflow.execution.inputs import typed_inputs
from agentflow.workflow.expressions import compile_expr
from agentflow.workflow.failures import GateFailedError
from agentflow.workflow.steps import Step

if TYPE_CHECKING:
    from agentflow.workflow.frames import Frame


async def evaluate_body(
    frame: Frame,
    step: Step,
    given: dict[str, Any],
    records: list[ScoreRecord],
    turn: int,
) -> dict[str, Any]:
    """Return ``{best, selected, scored, unscored}``; ``records`` receives every score.

    ``turn`` counts the passes of the loop that the gate closes.

    An item is what a ``foreach`` left (its output is what is scored) or any value; failed items and items that a
    scorer cannot score are left out and counted.

    Raises:
        GateFailedError: the gate does not hold for the best.
        StepFailedError: nothing could be scored.
    """
    settings = step.evaluate
    if settings is None:
        raise InvalidInputError("evaluate", "nothing", "settings")
    rows: list[dict[str, Any]] = []
    unscored: list[str] = []
    for index, item in enumerate(given["items"]):
        output, why_not = _output(item)
        if why_not:
            unscored.append(f"item {index}: {why_not}")
            continue
        scores: dict[str, float] = {}
        live = values.decode(output, frame.context.artifacts)
        for name, use in settings.scorers.items():
            spec = frame.context.registry.scorers.get(use.use)
            record = await _score(frame, spec, step, index, live, given["params"][name])
            records.append(record)
            if record.score.value is None:
                unscored.append(f"item {index}: {name}: {record.score.reason}")
                break
            scores[name] = record.score.value
        else:
            fields = output if isinstance(output, Mapping) else {"output": output}
            rows.append({**fields, "index": index, **scores})
    if not rows:
        raise StepFailedError(
            step.id, "nothing could be scored: " + ("; ".join(unscored[:3]) or "the list is empty")
        )
    return _choose(step, frame, rows, unscored, _top(step, given["top"]), turn)


def _top(step: Step, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(
            f"step '{step.id}': evaluate.select.top", repr(value), "a whole number of 1 or more"
        )
    return value


def _output(item: Any) -> tuple[Any, str]:
    """Return what is to be scored of an item, or why it cannot be."""
    if isinstance(item, Mapping) and {"status", "output", "index"} <= set(item):
        return item["output"], "" if item.get("ok") else str(item.get("error"))
    return item, ""


async def _score(
    frame: Frame, spec: ScorerSpec, step: Step, index: int, live: Any, params: dict[str, Any]
) -> ScoreRecord:
    subject = Subject(hook="score", value=live, step=step.id, run=frame.view)
    with frame.context.tracer.evaluate(spec.name) as span:
        typed = typed_inputs(spec, params)
        if inspect.iscoroutinefunction(spec.call):
            score = await spec.call(subject, **typed)
        else:
            score = await asyncio.to_thread(spec.call, subject, **typed)
        if not isinstance(score, Score):
            raise StepFailedError(
                step.id, f"the scorer '{spec.name}' returned {type(score).__name__}, not a Score"
            )
        if score.value is not None and not math.isfinite(score.value):
            score = Score.unscored(f"the scorer gave {score.value}, which is no measure")
        record = ScoreRecord(scorer=spec.name, step=f"{step.id}[{index}]", score=score, unit=spec.unit)
        span.score(record)
    return record


def _choose(
    step: Step, frame: Frame, rows: list[dict[str, Any]], unscored: list[str], top: int, turn: int
) -> dict[str, Any]:
    settings = step.evaluate
    if settings is None:
        raise InvalidInputError("evaluate", "nothing", "settings")
    if settings.select:
        by = compile_expr(settings.select.by)
        names = dict(frame.names())
        ranked = sorted(rows, key=lambda row: -_rank(step, by.evaluate({**names, **row})))
    else:
        ranked = rows
    selected = ranked[:top]
    best = selected[0]
    if settings.gate:
        names = {**frame.names(), "best": best, "selected": selected}
        if not compile_expr(settings.gate).condition(names):
            shown = {name: best[name] for name in settings.scorers}
            raise GateFailedError(step.id, settings.gate, shown, turn)
    return {"best": best, "selected": selected, "scored": len(rows), "unscored": unscored}


def _rank(step: Step, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInputError(f"step '{step.id}': evaluate.select.by", repr(value), "a finite number")
    return float(value)
