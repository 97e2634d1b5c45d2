"""A workflow becomes a LangGraph graph: one async node a step, each of which performs one `StepCall`.

State is JSON: ``steps`` holds what expressions may read of each finished step, ``loops`` how often a gate sent the run
back. A node says itself where the run goes on; a failed one ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from agentflow.core.errors import AgentflowError
from agentflow.core.protocols import Call
from agentflow.core.records import Envelope, StepStatus, digest_of
from agentflow.execution.call import Notes, StepCall
from agentflow.execution.context import RunContext
from agentflow.execution.step import perform
from agentflow.store.store import now_ms
from agentflow.workflow import bodies
from agentflow.workflow.bodies import Scope
from agentflow.workflow.expressions import compile_expr, resolve
from agentflow.workflow.schema import Workflow
from agentflow.workflow.steps import Step


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {**old, **new}


class State(TypedDict, total=False):
    """What a checkpoint holds."""

    steps: Annotated[dict[str, Any], _merge]
    loops: Annotated[dict[str, int], _merge]
    failed: str


Node = Callable[[State], Awaitable[Command[Any]]]


@dataclass(frozen=True)
class Compiler:
    """Compiles one workflow for one run."""

    context: RunContext
    workflow: Workflow
    equipment: bodies.Equipment

    def graph(self, checkpointer: Any = None) -> Any:
        """Return the compiled graph."""
        builder: StateGraph[State, Any, Any, Any] = StateGraph(State)
        ids = [step.id for step in self.workflow.steps]
        for index, step in enumerate(self.workflow.steps):
            following = ids[index + 1] if index + 1 < len(ids) else END
            ends = (following, END, *self._back(step))
            node: Any = self._node(step, following)
            builder.add_node(step.id, node, destinations=tuple(dict.fromkeys(ends)))
        builder.add_edge(START, ids[0])
        return builder.compile(checkpointer=checkpointer)

    @property
    def most_steps(self) -> int:
        """How many nodes a run can pass, loops included: LangGraph's recursion limit."""
        loops = sum(
            s.evaluate.on_gate_fail.max_loops
            for s in self.workflow.steps
            if s.evaluate and s.evaluate.on_gate_fail
        )
        return (len(self.workflow.steps) + 2) * (loops + 1) + 5

    @staticmethod
    def _back(step: Step) -> tuple[str, ...]:
        fail = step.evaluate.on_gate_fail if step.evaluate else None
        return (fail.goto,) if fail else ()

    def _node(self, step: Step, following: str) -> Node:
        async def node(state: State) -> Command[Any]:
            steps, loops = state.get("steps", {}), state.get("loops", {})
            self.context.view["steps"] = steps
            iteration = str(sum(loops.values()))
            try:
                envelope, extra = await self._perform(step, steps, iteration)
            except AgentflowError as error:  # before there was anything to call
                envelope, extra = await self._refused(step, iteration, error), {}
            seen = {step.id: {**bodies.visible(envelope), **extra}}
            if not envelope.usable and envelope.status is not StepStatus.SKIPPED:
                back = self._loop(step, envelope, loops)
                if back is None:
                    return Command(update={"steps": seen, "failed": step.id}, goto=END)
                return Command(update={"steps": seen, "loops": back}, goto=self._back(step)[0])
            return Command(update={"steps": seen}, goto=following)

        return node

    def _loop(self, step: Step, envelope: Envelope, loops: dict[str, int]) -> dict[str, int] | None:
        """Return the loop counts after a failed gate, or None where the run may not go back."""
        fail = step.evaluate.on_gate_fail if step.evaluate else None
        done = loops.get(step.id, 0)
        if fail is None or envelope.error_kind != bodies.GateFailedError.kind_name or done >= fail.max_loops:
            return None
        return {step.id: done + 1}

    async def _perform(
        self, step: Step, steps: dict[str, Any], iteration: str
    ) -> tuple[Envelope, dict[str, Any]]:
        scope = self.equipment.names(steps)
        self.equipment.open_scope(step)
        if step.foreach:
            return await self._foreach(step, scope, iteration)
        if step.approval:
            return await self._approval(step, scope, iteration), {}
        call = self.equipment.call(step, scope, path=step.id, iteration=iteration, outer=True)
        return await perform(self.context, call), {}

    async def _refused(self, step: Step, iteration: str, error: AgentflowError) -> Envelope:
        """Put an error from before a step's call on the record, in the step's own envelope."""

        def inputs() -> dict[str, Any]:
            raise error

        return await perform(
            self.context,
            StepCall(
                id=step.id, path=step.id, iteration=iteration, kind=step.kind, name=step.use or step.body,
                inputs=inputs, body=bodies.unset, scope=self.context.scope,
            ),
        )  # fmt: skip

    async def _foreach(self, step: Step, scope: Scope, iteration: str) -> tuple[Envelope, dict[str, Any]]:
        """Perform the step once an item, some at a time; one that fails never ends its siblings."""
        each = step.foreach
        if each is None:
            raise bodies.defect("foreach")
        results: list[dict[str, Any]] = []
        notes = Notes()

        async def body(_: Call, given: dict[str, Any]) -> dict[str, Any]:
            slots = asyncio.Semaphore(each.max_parallel)

            async def one(index: int, item: Any) -> dict[str, Any]:
                async with slots:
                    inner = scope.with_item(each.as_, item)
                    call = self.equipment.call(
                        step, inner, path=f"{step.id}[{index}]", iteration=iteration, outer=False
                    )
                    envelope = await perform(self.context, call)
                notes.rungs.extend(f"item {index}: {rung}" for rung in envelope.rungs)
                return {"index": index, "item_digest": digest_of(item), **bodies.visible(envelope)}

            done = await asyncio.gather(*(one(index, item) for index, item in enumerate(given["items"])))
            results.extend(done)
            bodies.enough(step, results)
            ok = sum(bool(result["ok"]) for result in done)
            return {"count": len(done), "ok": ok, "results": done}

        def inputs() -> dict[str, Any]:
            items = compile_expr(each.in_).evaluate(scope.names())
            return {"items": bodies.as_list(step.id, items)}

        call = StepCall(
            id=step.id, path=step.id, iteration=iteration, kind="foreach", name=step.use or step.body, inputs=inputs,
            body=body, scope=self.equipment.scope_of(step), condition=self.equipment.condition(step, scope),
            books_wall=True, notes=notes,
        )  # fmt: skip
        envelope = await perform(self.context, call)
        if not envelope.usable:
            return envelope, {"results": results}
        output = dict(envelope.output)
        return envelope.model_copy(update={"output": output}), {"results": output.pop("results")}

    async def _approval(self, step: Step, scope: Scope, iteration: str) -> Envelope:
        """Ask a person. Nothing with an effect happens before the interrupt, since the node runs again after it."""
        approval = step.approval
        if approval is None:
            raise bodies.defect("approval")
        condition = self.equipment.condition(step, scope)
        asked = condition is None or condition()
        decision: dict[str, Any] = {}
        if asked:
            shown = {text: compile_expr(text).evaluate(scope.names()) for text in approval.show}
            question = {
                "step": step.id,
                "message": resolve(approval.message, scope.names()),
                "show": shown,
                "digest": digest_of(shown),
                "expires_ms": None if approval.timeout is None else now_ms() + round(approval.timeout * 1e3),
                "on_timeout": approval.on_timeout,
            }
            decision = interrupt(question)

        async def body(_: Call, given: dict[str, Any]) -> dict[str, Any]:
            with self.context.tracer.approval_resolve(
                step.id, decision=given["decision"], actor=given.get("by", "")
            ):
                pass
            if given["decision"] != "approve":
                raise bodies.rejected(step.id, given)
            return given

        return await perform(
            self.context,
            StepCall(
                id=step.id, path=step.id, iteration=iteration, kind="approval", name="approval",
                inputs=lambda: decision, body=body, scope=self.equipment.scope_of(step), condition=lambda: asked,
            ),
        )  # fmt: skip
