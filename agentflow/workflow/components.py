"""The names that a file uses, against what there is: components and their parameters, models, worlds."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from agentflow.core.errors import InvalidInputError, PluginError, listed, nearest
from agentflow.core.protocols import Call
from agentflow.core.registry import GuardrailSpec, Names, Registry, ScorerSpec, ToolSpec
from agentflow.workflow.agent_checks import agent_flaws, needs_world
from agentflow.workflow.calls import check_calls
from agentflow.workflow.checked_values import check_value
from agentflow.workflow.fields import shown
from agentflow.workflow.fitting import misfit
from agentflow.workflow.messages import BROKEN
from agentflow.workflow.positions import KeyPath, texts_in
from agentflow.workflow.report import Report
from agentflow.workflow.schema import FileSpec, Workflow
from agentflow.workflow.step_types import Scope, StepTypes, misfit_of_value
from agentflow.workflow.steps import Agent, Evaluate, Foreach, GuardrailUse, Step
from agentflow.workflow.type_hints import type_of_hint
from agentflow.workflow.types import INT, STRING, Type, map_of

_PLANNER_TAKES = {"goal": STRING, "scene": map_of()}


@dataclass(frozen=True)
class Checker:
    """Checks names and parameters. Without a registry, only what the file itself declares."""

    spec: FileSpec
    report: Report
    types: StepTypes
    registry: Registry | None = None
    worlds: Collection[str] | None = None

    def check(self) -> None:
        """Check the whole file."""
        self._guardrails(self.spec.defaults.guardrails, ("defaults",), {})
        for name, world in self.spec.worlds.items():
            if world.use is not None and self.worlds is not None:
                self._known(("worlds", name, "use"), "world", world.use, self.worlds)
        for name, workflow in self.spec.workflows.items():
            path: KeyPath = ("workflows", name)
            if path in self.report.broken:
                continue
            scope = self.types.scope(name)
            self._guardrails(workflow.guardrails, path, scope)
            for index, step in enumerate(workflow.steps):
                if (*path, "steps", index) not in self.report.broken:
                    self._step(step, (*path, "steps", index), self.types.item(step, scope))
            self._outputs(workflow, path, scope)
        check_calls(self.spec, self.report)

    def _known(self, path: KeyPath, what: str, name: str, allowed: Collection[str]) -> bool:
        if name in allowed or name == BROKEN:
            return name != BROKEN
        known = sorted(allowed)
        hint = nearest(name, known)
        self.report.add(path, f"unknown {what} '{name[:60]}'.{hint} Known: {listed(known)}.")
        return False

    def _component(self, path: KeyPath, what: str, name: str, names: Names[Any] | None) -> Any:
        if names is None:
            return None
        try:
            if name in names:
                return names.get(name)
            self._known(path, what, name, names.names())
        except PluginError as error:
            self.report.add(path, f"{error}")
        return None

    def _step(self, step: Step, path: KeyPath, scope: Scope) -> None:
        self._guardrails(step.guardrails, path, scope)
        if step.use is not None:
            self._tool(step, path, scope)
        else:
            self._only_of_tools(step, path)
        if step.agent is not None:
            self._agent(step.agent, path, scope)
            self._agent_inputs(step, path, scope)
        if step.evaluate is not None:
            self._scorers(step.evaluate, step, path, scope)
        if step.workflow is not None:
            self._subworkflow(step, path, scope)
        if step.foreach is not None and step.foreach.min_success is not None:
            self._min_success(step.foreach, path)

    def _only_of_tools(self, step: Step, path: KeyPath) -> None:
        if step.world is not None:
            self.report.add((*path, "world"), "`world` goes with a tool; remove it here.", key=True)
        if step.output is not None and step.approval is None:
            hint = " Write it inside `agent`." if step.agent else " Remove it here."
            self.report.add((*path, "output"), f"`output` goes with a tool.{hint}", key=True)

    def _min_success(self, foreach: Foreach, path: KeyPath) -> None:
        said = "on_error" in foreach.model_fields_set
        effective = foreach.on_error if said else self.spec.defaults.on_error or foreach.on_error
        if effective == "fail":
            message = (
                "`min_success` means nothing with `on_error: fail`, where every item must succeed. "
                "Add on_error: collect."
            )
            self.report.add((*path, "foreach", "min_success"), message, key=True)

    def _tool(self, step: Step, path: KeyPath, scope: Scope) -> None:
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
        self._arguments(f"tool '{tool.name}'", step.with_, tool, path, scope, ignored=filled)
        if step.output is not None:
            wrong = misfit(self.types.returned(tool.name), step.output.to_type())
            if wrong is not None:
                message = (
                    f"the tool '{tool.name}'{wrong.at} gives {wrong.given}; declared here: {wrong.wanted}."
                )
                self.report.add((*path, "output"), message)
        wants_world = any(hint is not Call for hint in tool.injected.values())
        if wants_world and step.world is None:
            self._only_world((*path, "use"), f"the tool '{tool.name}'", "world")

    def _only_world(self, path: KeyPath, who: str, key: str) -> None:
        if not self.spec.worlds:
            self.report.add(path, f"{who} needs a world, and the file has none. Add one under `worlds`.")
        elif len(self.spec.worlds) > 1:
            names = ", ".join(self.spec.worlds)
            self.report.add(path, f"{who} needs one of several worlds. Write `{key}:` with one of: {names}.")

    def _agent_inputs(self, step: Step, path: KeyPath, scope: Scope) -> None:
        """Check what an agent that plans is given beside its prompt."""
        if step.agent is None or not step.agent.plans:
            return
        self._unknown_names("an agent that plans", step.with_, _PLANNER_TAKES, path)
        for name, wanted in _PLANNER_TAKES.items():
            if name in step.with_:
                self._typed(
                    f"an agent that plans: '{name}'", step.with_[name], wanted, (*path, "with", name), scope
                )

    def _agent(self, agent: Agent, path: KeyPath, scope: Scope) -> None:
        here = (*path, "agent")
        self._known((*here, "model"), "model", agent.model, self.spec.models)
        for name in ("rounds", "candidates", "horizon", "keep"):
            self._typed(f"`{name}`", getattr(agent, name), INT, (*here, name), scope)
        names = self.registry.tools if self.registry else None
        found = [
            self._component((*here, "tools", index), "tool", name, names)
            for index, name in enumerate(agent.tools)
        ]
        tools = [tool for tool in found if tool is not None]
        if agent.world is not None:
            self._known((*here, "world"), "world", agent.world, self.spec.worlds)
        elif needs_world(agent, tools):
            self._only_world(here, "an agent that plans" if agent.plans else "a tool of this agent", "world")
        for at, message in agent_flaws(agent, self.spec.models, tools):
            self.report.add((*here, *at), message)

    def _guardrails(self, uses: Iterable[GuardrailUse], path: KeyPath, scope: Scope) -> None:
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
            self._arguments(f"guardrail '{spec.name}'", use.with_, spec, here, scope)

    def _scorers(self, evaluate: Evaluate, step: Step, path: KeyPath, scope: Scope) -> None:
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
            self._arguments(f"scorer '{spec.name}'", use.with_, spec, here, scope, partial=True)
        if evaluate.select is not None:
            top = (*path, "evaluate", "select", "top")
            self._typed("`top`", evaluate.select.top, INT, top, scope)
        for name in step.with_ if complete else ():
            if name not in taken:
                takes = f"They take: {listed(sorted(taken))}." if taken else "They take nothing."
                message = f"no scorer of this step takes '{name[:60]}'.{nearest(name, taken)} {takes}"
                self.report.add((*path, "with", name), message, key=True)

    def _subworkflow(self, step: Step, path: KeyPath, scope: Scope) -> None:
        name = step.workflow or ""
        if not self._known((*path, "workflow"), "workflow", name, self.spec.workflows):
            return
        if ("workflows", name) in self.report.broken:
            return
        who, inputs = f"workflow '{name}'", self.spec.workflows[name].inputs
        self._unknown_names(who, step.with_, inputs, path)
        for missing in (key for key, spec in inputs.items() if spec.required and key not in step.with_):
            self._missing(who, missing, path)
        for key, spec in inputs.items():
            broken = ("workflows", name, "inputs", key) in self.report.broken
            if key in step.with_ and not broken:
                self._typed(f"{who}: '{key}'", step.with_[key], spec.to_type(), (*path, "with", key), scope)

    def _outputs(self, workflow: Workflow, path: KeyPath, scope: Scope) -> None:
        for name, output in workflow.outputs.items():
            if output.type is not None:
                here = (*path, "outputs", name, "value")
                self._typed(
                    f"the output '{name}'", output.value, output.type.to_type(), here, scope, "is declared as"
                )

    def _typed(
        self, who: str, value: Any, wanted: Type, path: KeyPath, scope: Scope, takes: str = "takes"
    ) -> None:
        """Check a value, with or without expressions in it, against the type that its place declares."""
        if any("${{" in text for _, text in texts_in(value)):
            wrong = misfit_of_value(value, wanted, scope)
            if wrong is not None:
                self.report.add(path, f"{who}{wrong.at} {takes} {wrong.wanted}; this gives {wrong.given}.")
            return
        try:
            check_value(value, wanted, who)
        except InvalidInputError as error:
            self.report.add(path, f"{error.where}: found {error.found}; allowed: {error.allowed}.")

    def _arguments(
        self, who: str, given: Mapping[str, Any], spec: ToolSpec | GuardrailSpec | ScorerSpec, path: KeyPath,
        scope: Scope, *, partial: bool = False, ignored: Collection[str] = (),
    ) -> None:  # fmt: skip
        """Check ``given`` against a component's parameters; ``partial``: missing ones come from elsewhere."""
        kinds = {parameter.kind for parameter in spec.inputs.values()}
        open_ended = inspect.Parameter.VAR_KEYWORD in kinds
        if not open_ended:
            self._unknown_names(who, {k: v for k, v in given.items() if k not in ignored}, spec.inputs, path)
        for name, parameter in spec.inputs.items():
            variadic = parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
            if name in given:
                self._argument(who, name, given[name], spec.hints.get(name), path, scope)
            elif parameter.default is inspect.Parameter.empty and not variadic and not partial:
                self._missing(who, name, path)

    def _unknown_names(self, who: str, given: Iterable[str], allowed: Iterable[str], path: KeyPath) -> None:
        known = dict.fromkeys(allowed)
        for name in given:
            if name not in known:
                takes = listed(known) if known else "nothing"
                message = f"{who} does not take '{name[:60]}'.{nearest(name, known)} It takes: {takes}."
                self.report.add((*path, "with", name), message, key=True)

    def _missing(self, who: str, name: str, path: KeyPath) -> None:
        at = (*path, "with") if self.report.document.node((*path, "with")).value else (*path, "use")
        self.report.add(at, f"{who} needs '{name}'. Add it under `with`.")

    def _argument(self, who: str, name: str, value: Any, hint: Any, path: KeyPath, scope: Scope) -> None:
        here = (*path, "with", name)
        if any("${{" in text for _, text in texts_in(value)):
            self._typed(f"{who}: '{name}'", value, type_of_hint(hint), here, scope)
            return
        problem = _misfit(value, hint)
        if problem:
            self.report.add(here, f"{who}: '{name}' does not take {shown(value)}: {problem}.")


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
