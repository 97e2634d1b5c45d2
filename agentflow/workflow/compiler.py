"""A workflow becomes a LangGraph graph: one async node a step, each of which performs one `StepCall`.

State says where a run stands and nothing else: ``loops`` how often a gate sent it back, ``failed`` the step that ended
it. What steps gave stands in the store, and in the `Frame` that expressions read. A node says itself where the run goes
on; a failed one ends it. A workflow within a workflow is flattened into the same graph; one that a step repeats,
retries, times or caches is a graph of its own within that step's call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Interrupt

from agentflow.core.errors import AgentflowError
from agentflow.core.records import Envelope, StepStatus
from agentflow.execution.call import InnerCallError, StepCall, WaitingError
from agentflow.execution.step import perform
from agentflow.workflow import bodies
from agentflow.workflow.approvals import approval_call, pause
from agentflow.workflow.expressions import resolve
from agentflow.workflow.failures import GateFailedError
from agentflow.workflow.foreach import foreach_call
from agentflow.workflow.frames import Frame
from agentflow.workflow.steps import Step


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {**old, **new}


class State(TypedDict, total=False):
    """What a checkpoint holds."""

    loops: Annotated[dict[str, int], _merge]
    failed: str


Work = Callable[[State], Awaitable[Command[Any]]]
Builder = StateGraph[State, Any, Any, Any]


class Node(Runnable[State, Command[Any]]):
    """A node that LangGraph takes as it is: of a plain function it would read the byte code, a millisecond each."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def invoke(self, input: State, config: RunnableConfig | None = None, **_: Any) -> Command[Any]:  # noqa: A002
        """Refuse: steps are asynchronous."""
        raise NotImplementedError

    async def ainvoke(self, input: State, config: RunnableConfig | None = None, **_: Any) -> Command[Any]:  # noqa: A002
        """Do the node's work."""
        return await self.work(input)


@dataclass
class Compiler:
    """Compiles one workflow for one run; ``failure`` is how the step ended that ended the run."""

    frame: Frame
    nested: bool = False
    """Whether the graph runs within a step: then what it waits for is told to that step."""
    failure: Envelope | None = None
    frames: list[Frame] = field(default_factory=list)
    """All frames of the graph: the workflow's, and those of the workflows flattened into it."""
    most_steps: int = 5
    """How many nodes a run can pass, loops included: LangGraph's recursion limit."""

    def graph(self, checkpointer: Any = None, *, start: str = "") -> Any:
        """Return the compiled graph, which begins with its first step or with ``start``."""
        builder: Builder = StateGraph(State)
        first = self._sequence(builder, self.frame, END, 1)
        builder.add_edge(START, start or first)
        return builder.compile(checkpointer=checkpointer)

    def _sequence(self, builder: Builder, frame: Frame, after: str, passes: int) -> str:
        """Add the steps of a frame, the last of which leads to ``after``; return the first one's node."""
        self.frames.append(frame)
        steps = frame.workflow.steps
        gates = [s.evaluate.on_gate_fail for s in steps if s.evaluate and s.evaluate.on_gate_fail]
        passes *= 1 + sum(gate.max_loops for gate in gates)
        self.most_steps += (len(steps) + 2) * passes
        names = [frame.path(step) for step in steps]
        for index, step in enumerate(steps):
            following = names[index + 1] if index + 1 < len(names) else after
            if is_flattened(step):
                self._flatten(builder, frame, step, following, passes)
            else:
                self._add(
                    builder,
                    names[index],
                    self._step(frame, step, following),
                    (following, *_back(frame, step)),
                )
        return names[0]

    @staticmethod
    def _add(builder: Builder, name: str, work: Work, leads_to: Sequence[str]) -> None:
        ends = tuple(dict.fromkeys((*leads_to, END)))
        builder.add_node(name, Node(work), destinations=ends)

    def _flatten(self, builder: Builder, frame: Frame, step: Step, following: str, passes: int) -> None:
        """Add a workflow's steps in the place of the step that runs it, between its inputs and its outputs."""
        path = frame.path(step)
        inner = frame.inner(step, path)
        end = f"{path} outputs"
        first = self._sequence(builder, inner, end, passes)

        async def begin(state: State) -> Command[Any]:
            iteration = _iteration(state)
            call = bodies.begin_call(
                inner, lambda: resolve(step.with_, frame.names()), iteration=iteration,
                condition=frame.condition(step),
            )  # fmt: skip
            envelope = await perform(frame.context, call)
            if envelope.usable:
                inner.view["inputs"] = envelope.output
                return Command(goto=first)
            frame.finish(step, envelope, iteration)
            if envelope.status is StepStatus.SKIPPED:
                return Command(goto=following)
            return self._failed(path, envelope)

        async def finish(state: State) -> Command[Any]:
            iteration = _iteration(state)
            envelope = await perform(frame.context, bodies.end_call(inner, iteration=iteration, path=path))
            frame.finish(step, envelope, iteration)
            return Command(goto=following) if envelope.usable else self._failed(path, envelope)

        self._add(builder, path, begin, (first, following))
        self._add(builder, end, finish, (following,))

    def _failed(self, path: str, envelope: Envelope) -> Command[Any]:
        self.failure = envelope
        return Command(update={"failed": path}, goto=END)

    def _step(self, frame: Frame, step: Step, following: str) -> Work:
        path = frame.path(step)

        async def node(state: State) -> Command[Any]:
            iteration = _iteration(state)
            try:
                envelope = await self._perform(frame, step, iteration)
            except WaitingError as waits:
                if self.nested:
                    raise
                raise GraphInterrupt([Interrupt({"approvals": waits.approvals})]) from None
            frame.finish(step, envelope, iteration)
            if envelope.usable or envelope.status is StepStatus.SKIPPED:
                return Command(goto=following)
            loops = state.get("loops", {})
            if _may_go_back(step, envelope, loops.get(path, 0)):
                return Command(update={"loops": {path: loops.get(path, 0) + 1}}, goto=_back(frame, step)[0])
            return self._failed(path, envelope)

        return node

    async def _perform(self, frame: Frame, step: Step, iteration: str) -> Envelope:
        while True:
            try:
                call = self._call(frame, step, iteration)
            except AgentflowError as error:  # before there was anything to call
                call = _refused(frame, step, iteration, error)
            envelope = await perform(frame.context, call)
            if envelope.status is not StepStatus.EXHAUSTED or not frame.pauses_at(step):
                return envelope
            if not pause(frame, step, iteration, envelope):
                return envelope

    def _call(self, frame: Frame, step: Step, iteration: str) -> StepCall:
        if step.foreach:
            return foreach_call(frame, step, iteration, _nested)
        if step.approval:
            return approval_call(frame, step, iteration)
        return bodies.step_call(frame, step, iteration=iteration, nested=_nested)


def is_flattened(step: Step) -> bool:
    """Whether a step runs another workflow as part of the same graph."""
    return bool(step.workflow) and not (step.foreach or step.retry or step.timeout or step.cache)


def _iteration(state: State) -> str:
    return str(sum(state.get("loops", {}).values()))


def _back(frame: Frame, step: Step) -> tuple[str, ...]:
    fail = step.evaluate.on_gate_fail if step.evaluate else None
    return (f"{frame.prefix}{fail.goto}",) if fail else ()


def _may_go_back(step: Step, envelope: Envelope, done: int) -> bool:
    fail = step.evaluate.on_gate_fail if step.evaluate else None
    return fail is not None and envelope.error_kind == GateFailedError.kind_name and done < fail.max_loops


def _refused(frame: Frame, step: Step, iteration: str, error: AgentflowError) -> StepCall:
    """Return a call that puts an error from before a step's call on the record, in the step's own envelope."""

    def inputs() -> dict[str, Any]:
        raise error

    return StepCall(
        id=step.id, path=frame.path(step), iteration=iteration, kind=step.kind, name=step.use or step.body,
        inputs=inputs, body=bodies.unset, scope=frame.scope, view=frame.view,
    )  # fmt: skip


async def _nested(step: Step, inner: Frame, iteration: str, given: dict[str, Any]) -> Any:
    """Run a workflow as a graph of its own within a step; return its outputs.

    Raises:
        InnerCallError: it did not end well; the step ends as it did.
        WaitingError: it waits for a person.
    """
    begun = await perform(inner.context, bodies.begin_call(inner, lambda: given, iteration=iteration))
    _require(begun)
    inner.view["inputs"] = begun.output
    compiler = Compiler(inner, nested=True)
    graph = compiler.graph()
    state: State = {"loops": {"": int(iteration or 0)}}
    around = var_child_runnable_config.set(None)  # of the graph around it, it would take over the checkpoints
    try:
        await graph.ainvoke(state, {"recursion_limit": compiler.most_steps})
    finally:
        var_child_runnable_config.reset(around)
    if compiler.failure is not None:
        _require(compiler.failure)
    ended = await perform(inner.context, bodies.end_call(inner, iteration=iteration))
    _require(ended)
    return ended.output


def _require(envelope: Envelope) -> None:
    if not envelope.usable:
        raise InnerCallError.of(envelope)
