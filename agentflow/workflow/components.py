"""The names that a file uses, against what there is: components and their parameters, models, worlds."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from agentflow.core.errors import nearest
from agentflow.core.protocols import Call
from agentflow.core.registry import GuardrailSpec, Names, Registry, ScorerSpec, ToolSpec
from agentflow.workflow.fields import shown
from agentflow.workflow.messages import BROKEN
from agentflow.workflow.positions import KeyPath, texts_in
from agentflow.workflow.references import Report
from agentflow.workflow.schema import FileSpec, InputSpec, Workflow
from agentflow.workflow.steps import Agent, Evaluate, GuardrailUse, Step

AGENT_OUTPUTS = ("Plan",)
"""Types that an agent can give back."""

_JSON_TYPES: dict[type, tuple[str, ...]] = {
    str: ("string",),
    int: ("integer",),
    float: ("number", "integer"),
    bool: ("boolean",),
    list: ("array",),
    tuple: ("array",),
    dict: ("object",),
}


@dataclass(frozen=True)
class Checker:
    """Checks names and parameters. Without a registry, only what the file itself declares."""

    spec: FileSpec
    report: Report
    registry: Registry | None = None
    worlds: Collection[str] | None = None

    def check(self) -> None:
        """Check the whole file."""
        for name, world in self.spec.worlds.items():
            if world.use is not None and self.worlds is not None:
                self._known(("worlds", name, "use"), "world", world.use, self.worlds)
        for name, workflow in self.spec.workflows.items():
            path: KeyPath = ("workflows", name)
            if path in self.report.broken:
                continue
            self._guardrails(workflow.guardrails, path, workflow)
            for index, step in enumerate(workflow.steps):
                if (*path, "steps", index) not in self.report.broken:
                    self._step(step, (*path, "steps", index), workflow)
        self._cycles()

    def _known(self, path: KeyPath, what: str, name: str, allowed: Iterable[str]) -> bool:
        known = sorted(allowed)
        if name in known or name == BROKEN:
            return name != BROKEN
        hint = nearest(name[:60], known)
        self.report.add(path, f"unknown {what} '{name[:60]}'.{hint} Known: {', '.join(known) or 'none'}.")
        return False

    def _component(self, path: KeyPath, what: str, name: str, names: Names[Any] | None) -> Any:
        if names is None or not self._known(path, what, name, names.names()):
            return None
        return names.get(name)

    def _step(self, step: Step, path: KeyPath, workflow: Workflow) -> None:
        self._guardrails(step.guardrails, path, workflow)
        if step.use is not None:
            self._tool(step, path, workflow)
        elif step.world is not None:
            self.report.add((*path, "world"), "`world` goes with a tool; remove it here.", key=True)
        if step.agent is not None:
            self._agent(step.agent, path)
        if step.evaluate is not None:
            self._scorers(step.evaluate, step, path, workflow)
        if step.workflow is not None:
            self._subworkflow(step, path, workflow)

    def _tool(self, step: Step, path: KeyPath, workflow: Workflow) -> None:
        tools = self.registry.tools if self.registry else None
        tool: ToolSpec | None = self._component((*path, "use"), "tool", step.use or "", tools)
        if step.world is not None:
            self._known((*path, "world"), "world", step.world, self.spec.worlds)
        if tool is None:
            return
        filled = set(tool.injected) & set(step.with_)
        for name in sorted(filled):
            self.report.add(
                (*path, "with", name), f"'{name}' is filled in by agentflow; remove it.", key=True
            )
        self._arguments(f"tool '{tool.name}'", step.with_, tool, path, workflow, ignored=filled)
        wants_world = any(hint is not Call for hint in tool.injected.values())
        if wants_world and step.world is None:
            self._only_world((*path, "use"), f"the tool '{tool.name}'", "world")

    def _only_world(self, path: KeyPath, who: str, key: str) -> None:
        if not self.spec.worlds:
            self.report.add(path, f"{who} needs a world, and the file has none. Add one under `worlds`.")
        elif len(self.spec.worlds) > 1:
            names = ", ".join(self.spec.worlds)
            self.report.add(path, f"{who} needs one of several worlds. Write `{key}:` with one of: {names}.")

    def _agent(self, agent: Agent, path: KeyPath) -> None:
        here = (*path, "agent")
        self._known((*here, "model"), "model", agent.model, self.spec.models)
        self._known((*here, "output"), "output type", agent.output, AGENT_OUTPUTS)
        if agent.world is not None:
            self._known((*here, "world"), "world", agent.world, self.spec.worlds)
        else:
            self._only_world(here, "an agent", "world")
        for index, name in enumerate(agent.tools):
            tools = self.registry.tools if self.registry else None
            self._component((*here, "tools", index), "tool", name, tools)

    def _guardrails(self, uses: Iterable[GuardrailUse], path: KeyPath, workflow: Workflow) -> None:
        guardrails = self.registry.guardrails if self.registry else None
        for index, use in enumerate(uses):
            here = (*path, "guardrails", index)
            spec: GuardrailSpec | None = self._component((*here, "use"), "guardrail", use.use, guardrails)
            if spec is None:
                continue
            for number, hook in enumerate(use.at):
                if hook not in spec.hooks:
                    served = ", ".join(spec.hooks)
                    message = f"guardrail '{spec.name}' does not look at '{hook}'. It serves: {served}."
                    self.report.add((*here, "at", number), message)
            self._arguments(f"guardrail '{spec.name}'", use.with_, spec, here, workflow)

    def _scorers(self, evaluate: Evaluate, step: Step, path: KeyPath, workflow: Workflow) -> None:
        scorers = self.registry.scorers if self.registry else None
        taken: set[str] = set()
        complete = scorers is not None
        for name, use in evaluate.scorers.items():
            here = (*path, "evaluate", "scorers", name)
            spec: ScorerSpec | None = self._component((*here, "use"), "scorer", use.use, scorers)
            if spec is None:
                complete = False
                continue
            taken |= set(spec.inputs)
            self._arguments(f"scorer '{spec.name}'", use.with_, spec, here, workflow, partial=True)
        for name in step.with_ if complete else ():
            if name not in taken:
                message = f"no scorer of this step takes '{name}'.{nearest(name, taken)}"
                self.report.add((*path, "with", name), message, key=True)

    def _subworkflow(self, step: Step, path: KeyPath, workflow: Workflow) -> None:
        name = step.workflow or ""
        if not self._known((*path, "workflow"), "workflow", name, self.spec.workflows):
            return
        if ("workflows", name) in self.report.broken:
            return
        inputs = self.spec.workflows[name].inputs
        self._unknown_names(f"workflow '{name}'", step.with_, inputs, path)
        for missing in (key for key, spec in inputs.items() if spec.required and key not in step.with_):
            self._missing(f"workflow '{name}'", missing, path)

    def _arguments(
        self, who: str, given: Mapping[str, Any], spec: ToolSpec | GuardrailSpec | ScorerSpec, path: KeyPath,
        workflow: Workflow, *, partial: bool = False, ignored: Collection[str] = (),
    ) -> None:  # fmt: skip
        """Check ``given`` against a component's parameters; ``partial``: missing ones come from elsewhere."""
        kinds = {parameter.kind for parameter in spec.inputs.values()}
        open_ended = inspect.Parameter.VAR_KEYWORD in kinds
        if not open_ended:
            self._unknown_names(who, {k: v for k, v in given.items() if k not in ignored}, spec.inputs, path)
        for name, parameter in spec.inputs.items():
            variadic = parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
            if name in given:
                self._argument(who, name, given[name], spec.hints.get(name), path, workflow)
            elif parameter.default is inspect.Parameter.empty and not variadic and not partial:
                self._missing(who, name, path)

    def _unknown_names(self, who: str, given: Iterable[str], allowed: Iterable[str], path: KeyPath) -> None:
        known = list(allowed)
        for name in given:
            if name not in known:
                takes = ", ".join(known) or "nothing"
                message = f"{who} does not take '{name[:60]}'.{nearest(name[:60], known)} It takes: {takes}."
                self.report.add((*path, "with", name), message, key=True)

    def _missing(self, who: str, name: str, path: KeyPath) -> None:
        at = (*path, "with") if self.report.document.node((*path, "with")).value else (*path, "use")
        self.report.add(at, f"{who} needs '{name}'. Add it under `with`.")

    def _argument(
        self, who: str, name: str, value: Any, hint: Any, path: KeyPath, workflow: Workflow
    ) -> None:  # fmt: skip
        here = (*path, "with", name)
        if any("${{" in text for _, text in texts_in(value)):
            declared = _input_of(value, workflow)
            allowed = _JSON_TYPES.get(hint, ()) if isinstance(hint, type) else ()
            if declared is not None and allowed and declared.type not in allowed:
                message = f"{who}: '{name}' takes {' or '.join(allowed)}; this input is a {declared.type}."
                self.report.add(here, message)
            return
        problem = _misfit(value, hint)
        if problem:
            self.report.add(here, f"{who}: '{name}' does not take {shown(value)}: {problem}.")

    def _cycles(self) -> None:
        """Note, for each circle of workflows that run one another, the step that closes it."""
        calls = {
            name: {step.workflow: index for index, step in enumerate(workflow.steps) if step.workflow}
            for name, workflow in self.spec.workflows.items()
        }
        while circle := _circle(calls):
            caller, called = circle[-2:]
            shown = circle if len(circle) < 10 else [*circle[:8], "…", called]
            path = ("workflows", caller, "steps", calls[caller].pop(called), "workflow")
            self.report.add(path, f"these workflows run one another without end: {' → '.join(shown)}.")


def _circle(calls: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return workflows of which each runs the next, the last one being the first again; or nothing."""
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        return [str(name) for name in reversed(error.args[1])]
    return []


def _input_of(value: Any, workflow: Workflow) -> InputSpec | None:
    """Return the declaration behind a value that is exactly ``${{ inputs.<name> }}``."""
    if not isinstance(value, str):
        return None
    inner = value.strip().removeprefix("${{").removesuffix("}}").strip()
    return workflow.inputs.get(inner.removeprefix("inputs.")) if inner.startswith("inputs.") else None


def _misfit(value: Any, hint: Any) -> str:
    """Return why a plain value does not fit a type, or an empty text, also where the type cannot tell."""
    if hint is None or hint is Any:
        return ""
    try:
        adapter = TypeAdapter[Any](hint)
    except (PydanticUserError, TypeError):
        return ""
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"][:1].lower() + first["msg"][1:]
        return f"{where}: {text}" if where else text
    return ""
