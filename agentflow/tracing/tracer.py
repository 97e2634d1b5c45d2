"""`RunTracer`: the spans of one run, named and typed for both dialects.

::

    tracer = start_tracing(run_id, folder)
    with tracer.run("plan_push", inputs=inputs) as root:
        with tracer.step("simulate", kind="use") as step:
            with tracer.guardrail("keep_out", hook="action") as check:
                check.verdict(record)
            ...
            step.envelope(envelope)
        root.run_ended(status, spent)
    tracer.close()
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, get_current_span

from agentflow.core.protocols import Message
from agentflow.core.records import ScoreRecord
from agentflow.tracing import names
from agentflow.tracing.attributes import score_attributes
from agentflow.tracing.content import AttributeValue, Cleaner, capture_wanted
from agentflow.tracing.export import Exporters
from agentflow.tracing.jsonl import TraceFile
from agentflow.tracing.spans import Recording, TracedSpan

TRACE_NAME = "trace.jsonl"


class RunTracer:
    """Makes the spans of one run. It leaves OpenTelemetry's global provider alone.

    Every span carries the run's id, also as the session and the conversation; spans within a step carry
    the step's id. Inputs and outputs are captured only where ``capture`` says so.
    """

    def __init__(
        self, run_id: str, file: TraceFile, exporters: Exporters, *, cleaner: Cleaner, capture: bool
    ) -> None:
        self.run_id = run_id
        self.capture = capture
        shared = (names.RUN_ID, names.SESSION_ID, names.GEN_AI_CONVERSATION_ID)
        common: dict[str, AttributeValue] = dict.fromkeys(shared, cleaner.text(run_id))
        sending = exporters.spans is not None or exporters.metrics is not None
        self._recording = Recording(file, exporters, cleaner, common, capture, sending)

    @property
    def path(self) -> Path:
        """Where the trace file lies."""
        return self._recording.file.path

    @property
    def problems(self) -> tuple[str, ...]:
        """What kept the trace from being written or exported. It never stops a run."""
        recording = self._recording
        return tuple(text for text in (recording.file.problem, recording.exporters.problem) if text)

    def close(self) -> None:
        """Close the trace file. Exporters belong to whoever opened them."""
        self._recording.file.close()

    def run(
        self,
        workflow: str,
        *,
        digest: str = "",
        inputs: Any = None,
        resumed_from: tuple[str, str] | None = None,
    ) -> TracedSpan:
        """The run's span.

        Args:
            workflow: the workflow's name.
            digest: of the workflow's text.
            inputs: of the run.
            resumed_from: where it stopped before, as `last_span` of the trace file gives it.
        """
        return TracedSpan(
            self._recording,
            f"{names.INVOKE_WORKFLOW} {workflow}",
            names.CHAIN,
            {
                names.GEN_AI_OPERATION: names.INVOKE_WORKFLOW,
                names.GEN_AI_WORKFLOW_NAME: workflow,
                names.WORKFLOW_DIGEST: digest or None,
                names.RUN_RESUMED: True if resumed_from else None,
            },
            content=inputs,
            links=[_remote(*resumed_from)] if resumed_from else [],
        )

    def step(
        self, step_id: str, *, kind: str, attempt: int = 1, iteration: str = "", inputs: Any = None
    ) -> TracedSpan:
        """A step's span; ``kind`` is the step's kind in the workflow (``use``, ``agent``, ``foreach`` …)."""
        return TracedSpan(
            self._recording,
            f"step {step_id}",
            names.AGENT if kind == "agent" else names.CHAIN,
            {
                names.STEP_TYPE: kind,
                names.STEP_ITERATION: iteration or None,
                names.ATTEMPT: attempt,
                names.GRAPH_NODE_ID: step_id,
            },
            content=inputs,
            step=step_id,
        )

    def begun(self, step_id: str, *, items: int | None = None) -> None:
        """Say in the file, for whoever reads along, that a step is at work, or through how many ``items`` it goes."""
        said: dict[str, Any] = {names.STEP_ID: self._recording.cleaner.text(step_id)}
        if items is not None:
            said[names.STEP_ITEMS] = items
        span = get_current_span().get_span_context()
        self._recording.file.write_event(names.STEP_BEGUN, span, time.time_ns(), said)

    def plan(self, agent: str, *, inputs: Any = None) -> TracedSpan:
        """An agent's planning; the chats that make the plan belong inside."""
        return TracedSpan(
            self._recording,
            f"{names.PLAN} {agent}",
            names.AGENT,
            {
                names.GEN_AI_OPERATION: names.PLAN,
                names.GEN_AI_AGENT_NAME: agent,
                names.AGENT_NAME: agent,
            },
            content=inputs,
        )

    def chat(
        self, model: str, *, provider: str, messages: Sequence[Message] = (), max_tokens: int | None = None
    ) -> TracedSpan:
        """One call of a language model; say its `TracedSpan.completion`."""
        attributes: dict[str, Any] = {
            names.GEN_AI_OPERATION: names.CHAT,
            names.GEN_AI_PROVIDER: provider,
            names.GEN_AI_REQUEST_MODEL: model,
            names.GEN_AI_REQUEST_MAX_TOKENS: max_tokens,
            names.LLM_MODEL_NAME: model,
            names.LLM_PROVIDER: provider,
        }
        content: list[dict[str, Any]] | None = None
        if self.capture and messages:
            content = [message.model_dump(exclude_defaults=True) for message in messages]
            attributes[names.GEN_AI_INPUT_MESSAGES] = [
                {"role": message.role, "parts": [{"type": "text", "content": message.content}]}
                for message in messages
            ]
        return TracedSpan(
            self._recording,
            f"{names.CHAT} {model}",
            names.LLM,
            attributes,
            content=content,
            kind=SpanKind.CLIENT,
        )

    def tool(
        self, name: str, *, arguments: Any = None, call_id: str = "", side_effects: bool = False
    ) -> TracedSpan:
        """One call of a tool."""
        return TracedSpan(
            self._recording,
            f"{names.EXECUTE_TOOL} {name}",
            names.TOOL,
            {
                names.GEN_AI_OPERATION: names.EXECUTE_TOOL,
                names.GEN_AI_TOOL_NAME: name,
                names.GEN_AI_TOOL_TYPE: "function",
                names.GEN_AI_TOOL_CALL_ID: call_id or None,
                names.GEN_AI_TOOL_ARGUMENTS: arguments if self.capture else None,
                names.TOOL_NAME: name,
                names.TOOL_SIDE_EFFECTS: side_effects,
            },
            content=arguments,
            output_name=names.GEN_AI_TOOL_RESULT,
        )

    def guardrail(self, name: str, *, hook: str, subject: Any = None) -> TracedSpan:
        """One check; say its `TracedSpan.verdict`."""
        before = hook in ("input", "plan", "tool_args", "action", "resume")
        return TracedSpan(
            self._recording,
            f"{names.RUN_GUARDRAIL} {name}",
            names.GUARDRAIL,
            {
                names.GEN_AI_GUARDRAIL_NAME: name,
                names.GEN_AI_GUARDRAIL_TARGET_TYPE: "input" if before else "output",
                names.GEN_AI_GUARDRAIL_TARGET_SUBTYPE: hook,
                names.GUARDRAIL_NAME: name,
                names.GUARDRAIL_HOOK: hook,
            },
            content=subject,
        )

    def reserve(self, scope: str) -> TracedSpan:
        """A reservation; say `TracedSpan.reserved`. A budget's refusal that leaves it is noted as denied."""
        return TracedSpan(self._recording, names.BUDGET_RESERVE, names.CHAIN, {names.BUDGET_SCOPE: scope})

    def settle(self, scope: str) -> TracedSpan:
        """A settlement; say `TracedSpan.settled`."""
        return TracedSpan(self._recording, names.BUDGET_SETTLE, names.CHAIN, {names.BUDGET_SCOPE: scope})

    def evaluate(self, scorer: str, *, target: SpanContext | None = None) -> TracedSpan:
        """A measurement of what ``target`` (by default the span around it) did; say `TracedSpan.score`."""
        evaluated = target if target is not None else get_current_span().get_span_context()
        return TracedSpan(
            self._recording,
            f"{names.EVALUATE} {scorer}",
            names.EVALUATOR,
            {names.GEN_AI_EVALUATION_NAME: scorer},
            links=[evaluated] if evaluated.is_valid else [],
            on_score=lambda record, label: self._emit_score(record, label, evaluated),
        )

    def approval_request(self, approval_id: str, *, message: str = "") -> TracedSpan:
        """The moment at which a run begins to wait for a person."""
        return TracedSpan(
            self._recording,
            names.APPROVAL_REQUEST,
            names.CHAIN,
            {names.APPROVAL_ID: approval_id},
            content=message or None,
        )

    def approval_resolve(
        self, approval_id: str, *, decision: str, actor: str, request: tuple[str, str] | None = None
    ) -> TracedSpan:
        """The moment of the decision; ``request`` is trace id and span id (hex) of its request."""
        return TracedSpan(
            self._recording,
            names.APPROVAL_RESOLVE,
            names.CHAIN,
            {
                names.APPROVAL_ID: approval_id,
                names.APPROVAL_DECISION: decision,
                names.APPROVAL_ACTOR: actor,
            },
            links=[_remote(*request)] if request else [],
        )

    def _emit_score(self, record: ScoreRecord, label: str | None, target: SpanContext) -> None:
        recording, name, now_ns = self._recording, names.EVALUATION_EVENT, time.time_ns()
        clean = recording.cleaner.attribute
        said = {
            key: clean(value) for key, value in score_attributes(record, label).items() if value is not None
        }
        attributes = recording.common | said
        recording.file.write_event(name, target, now_ns, attributes)
        recording.exporters.send_event(name, target, now_ns, attributes)


def start_tracing(
    run_id: str,
    folder: Path,
    *,
    exporters: Exporters | None = None,
    secrets: Iterable[str] = (),
    capture: bool | None = None,
) -> RunTracer:
    """Begin (or, for a run that goes on, continue) the trace file ``<folder>/trace.jsonl``.

    Args:
        run_id: the run.
        folder: the run's folder.
        exporters: of the process (`Exporters.from_environment`), which whoever opened them closes; without
            them, the file is all there is.
        secrets: values that must enter no span.
        capture: whether inputs and outputs are written; by default what the environment says.
    """
    return RunTracer(
        run_id,
        TraceFile(folder / TRACE_NAME),
        exporters or Exporters(),
        cleaner=Cleaner(secrets),
        capture=capture_wanted() if capture is None else capture,
    )


def _remote(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
