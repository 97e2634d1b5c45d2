"""`@tool`, `@guardrail`, `@scorer`: a decorated function becomes a component with a frozen spec.

A decorator changes nothing about the function; it attaches a spec. A `Registry` collects the specs
of the box and of a project's folders under their names, and nothing is registered globally.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter

from agentflow.core import plugins
from agentflow.core.amounts import Amounts
from agentflow.core.errors import InvalidInputError, PluginError, UnknownNameError
from agentflow.core.plugins import Plugin
from agentflow.core.records import Hook

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", "ToolSpec", "GuardrailSpec", "ScorerSpec")

_SPEC = "__agentflow_spec__"
Spec: TypeAlias = "ToolSpec | GuardrailSpec | ScorerSpec"

Isolation = Literal["thread", "process"]
"""Where a function that is not ``async`` runs: on a thread of this process, or in a process of its own."""


@dataclass(frozen=True)
class ToolSpec:
    """A typed function that a step or an agent may call.

    ``injected`` names the keyword-only parameters that the envelope fills (a world, the call itself);
    ``estimate`` gets the other inputs and returns an upper bound of the cost.
    """

    name: str
    call: Callable[..., Any]
    estimate: Callable[..., Amounts]
    side_effects: bool = False
    resource: str = ""
    hooks: tuple[str, str] = (Hook.TOOL_ARGS, Hook.TOOL_RESULT)
    """The hooks before and after it: a world's tool declares ``action`` and ``predicted_state``."""
    ladder: tuple[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]], ...] = ()
    """What it can give up when a budget has no room: a name, and a function of its inputs to smaller ones."""
    isolation: Isolation = "thread"
    description: str = ""
    inputs: Mapping[str, inspect.Parameter] = field(default_factory=dict)
    injected: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def is_async(self) -> bool:
        """Whether the function runs on the event loop."""
        return inspect.iscoroutinefunction(self.call)

    @cached_property
    def validators(self) -> Mapping[str, TypeAdapter[Any] | None]:
        """What checks each input: made once, when the first call needs it."""
        return _validators(self.inputs, self.hints)

    @cached_property
    def estimated_from(self) -> tuple[str, ...]:
        """The inputs that ``estimate`` asks for."""
        return _taken_by(self.estimate, tuple(self.inputs))


@dataclass(frozen=True)
class GuardrailSpec:
    """A check: ``(subject, **params) -> Verdict``, for the hooks it serves."""

    name: str
    call: Callable[..., Any]
    hooks: tuple[str, ...]
    description: str = ""
    inputs: Mapping[str, inspect.Parameter] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScorerSpec:
    """A measure: ``(subject, **params) -> Score``, with its direction and unit."""

    name: str
    call: Callable[..., Any]
    lower_is_better: bool
    unit: str = ""
    description: str = ""
    inputs: Mapping[str, inspect.Parameter] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def validators(self) -> Mapping[str, TypeAdapter[Any] | None]:
        """What checks each input: made once, when the first call needs it."""
        return _validators(self.inputs, self.hints)


def _summary(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")


def _parameters(function: Callable[..., Any], *, skip: int) -> dict[str, inspect.Parameter]:
    return dict(list(inspect.signature(function).parameters.items())[skip:])


def _validators(
    inputs: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]
) -> dict[str, TypeAdapter[Any] | None]:
    """Return what checks each input; None for a type that pydantic knows nothing about, which passes as it is."""
    made: dict[str, TypeAdapter[Any] | None] = {}
    for name in inputs:
        hint = hints.get(name, Any)
        try:
            made[name] = None if hint is Any else TypeAdapter(hint)
        except PydanticSchemaGenerationError:
            made[name] = None
    return made


def _taken_by(function: Callable[..., Any], names: tuple[str, ...]) -> tuple[str, ...]:
    taken = inspect.signature(function).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values()):
        return names
    return tuple(name for name in names if name in taken)


def tool(
    *,
    estimate: Callable[..., Amounts],
    side_effects: bool = False,
    resource: str = "",
    hooks: tuple[str, str] = (Hook.TOOL_ARGS, Hook.TOOL_RESULT),
    ladder: Iterable[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = (),
    isolation: Isolation = "thread",
) -> Callable[[F], F]:
    """Make a function a tool.

    An ``async`` function runs on the event loop and must not hold it up; any other runs beside it. When its
    time is over it is stopped: on a thread by `Call.stopped`, by the next charge to its hold, and then by an
    exception that is raised within it, which ends Python code and not a call of native code that does not return;
    in a process by killing that process, which ends anything.

    Keyword-only parameters are filled for it: ``world`` (the step's world model), ``simulator`` (its true
    simulator), ``call`` (a `Call`: hold, seed, artifacts, progress).

    Args:
        estimate: called with the same inputs (without injected ones); returns an upper bound of the cost.
            A call without an estimate could not be held to a budget, so there is no default.
        side_effects: whether it changes anything outside the run.
        resource: what it occupies, such as ``gpu:0``; calls on one resource run one at a time.
        hooks: the guardrail hooks before and after the call.
        ladder: what it can give up when the budget has no room, in order: ``(name, inputs -> smaller inputs)``.
        isolation: ``thread``, or ``process`` for native code that may hang or crash: inputs and result are then
            JSON, pydantic models, arrays, rollouts and artifacts, and of what is filled in only ``call`` is there
            (its charges reach the budget when the call ends).

    Raises:
        InvalidInputError: an isolation that there is not, or that this function cannot have.
    """

    def attach(function: F) -> F:
        parameters = _parameters(function, skip=0)
        keyword_only = {n: p for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
        _check_isolation(function, isolation, keyword_only)
        hints = get_type_hints(function, include_extras=True)
        spec = ToolSpec(
            name=function.__name__,
            call=function,
            estimate=estimate,
            side_effects=side_effects,
            resource=resource,
            hooks=hooks,
            ladder=tuple(ladder),
            isolation=isolation,
            description=_summary(function),
            inputs={n: p for n, p in parameters.items() if n not in keyword_only},
            injected={n: hints.get(n) for n in keyword_only},
            hints=hints,
        )
        setattr(function, _SPEC, spec)
        return function

    return attach


def _check_isolation(function: Callable[..., Any], isolation: str, injected: Iterable[str]) -> None:
    where = f"@tool {function.__name__}: isolation"
    if isolation not in get_args(Isolation):
        raise InvalidInputError(where, repr(isolation), ", ".join(get_args(Isolation)))
    if isolation == "thread":
        return
    beyond = [name for name in injected if name != "call"]
    if beyond:
        raise InvalidInputError(
            where, f"'process' with the parameter '{beyond[0]}'", "'call' alone: a world stays in its process"
        )
    if inspect.iscoroutinefunction(function):
        raise InvalidInputError(where, "'process' for an async function", "'process' for a plain function")
    if "<locals>" in function.__qualname__:
        raise InvalidInputError(
            where, f"'process' for a function within {function.__qualname__.split('.')[0]}",
            "'process' for a function of a module, which another process can import",
        )  # fmt: skip


def guardrail(*, hooks: Iterable[str]) -> Callable[[F], F]:
    """Make a function ``(subject, **params) -> Verdict`` a guardrail for ``hooks``. It has no side effects."""
    served = tuple(Hook(hook) for hook in hooks)

    def attach(function: F) -> F:
        spec = GuardrailSpec(
            name=function.__name__,
            call=function,
            hooks=served,
            description=_summary(function),
            inputs=_parameters(function, skip=1),
            hints=get_type_hints(function, include_extras=True),
        )
        setattr(function, _SPEC, spec)
        return function

    return attach


def scorer(*, lower_is_better: bool, unit: str = "") -> Callable[[F], F]:
    """Make a function ``(subject, **params) -> Score`` a scorer that declares its direction and unit."""

    def attach(function: F) -> F:
        spec = ScorerSpec(
            name=function.__name__,
            call=function,
            lower_is_better=lower_is_better,
            unit=unit,
            description=_summary(function),
            inputs=_parameters(function, skip=1),
            hints=get_type_hints(function, include_extras=True),
        )
        setattr(function, _SPEC, spec)
        return function

    return attach


def spec_of(function: object) -> Spec | None:
    """Return the spec that a decorator attached, or None."""
    spec: Spec | None = getattr(function, _SPEC, None)
    return spec


def specs_of(module: ModuleType, prefix: str = "") -> list[Spec]:
    """Return the spec of every decorated function that ``module`` itself defines, as ``<prefix>.<function>``."""
    specs = [
        spec
        for value in vars(module).values()
        if (spec := spec_of(value)) is not None and getattr(value, "__module__", None) == module.__name__
    ]
    return [replace(spec, name=f"{prefix}.{spec.name}") for spec in specs] if prefix else specs


class Names(Generic[S]):
    """The components of one kind by name; an unknown name is an error that lists the known ones.

    A plug-in is imported when it is named for the first time, never because others are.
    """

    def __init__(self, what: str, kind: type[S]) -> None:
        self._what = what
        self._kind: type[S] = kind
        self._specs: dict[str, S] = {}
        self._plugins: dict[str, Plugin] = {}

    def add(self, spec: S) -> None:
        """Take a component in; a later one of the same name replaces an earlier one."""
        self._specs[spec.name] = spec
        self._plugins.pop(spec.name, None)

    def offer(self, plugin: Plugin) -> None:
        """Take in what a plug-in offers under its name; it replaces what has that name already."""
        self._specs.pop(plugin.name, None)
        self._plugins[plugin.name] = plugin

    def get(self, name: str) -> S:
        """Return the component.

        Raises:
            UnknownNameError: nothing has this name.
            PluginError: the plug-in that offers this name cannot be used.
        """
        self._fetch(name)
        if name not in self._specs:
            raise UnknownNameError(self._what, name, self.names())
        return self._specs[name]

    def __contains__(self, name: str) -> bool:
        if name in self._specs or name in self._plugins:
            return True
        try:
            self._fetch(name)
        except PluginError:
            return True  # it may well be there: `get` says what is wrong
        return name in self._specs

    def names(self) -> list[str]:
        """Return all names, sorted; of a plug-in that was not imported yet, the name that it goes by."""
        return sorted({*self._specs, *self._plugins})

    def _fetch(self, name: str) -> None:
        """Import the plug-in that offers a name: under it, or as a module under the first part of it."""
        offer = next((each for each in (name, name.partition(".")[0]) if each in self._plugins), None)
        if name in self._specs or offer is None:
            return
        plugin = self._plugins[offer]
        loaded = plugin.load()
        specs = specs_of(loaded, offer) if isinstance(loaded, ModuleType) else [spec_of(loaded)]
        kept = [spec for spec in specs if isinstance(spec, self._kind)]
        if not kept:
            raise plugin.error(f"there is nothing in it that is decorated with @{self._what}")
        self._plugins.pop(offer, None)
        for spec in kept:
            own = spec if isinstance(loaded, ModuleType) else replace(spec, name=name)
            self._specs.setdefault(own.name, own)


class Registry:
    """All tools, guardrails and scorers that a project may name."""

    def __init__(self) -> None:
        self.tools = Names("tool", ToolSpec)
        self.guardrails = Names("guardrail", GuardrailSpec)
        self.scorers = Names("scorer", ScorerSpec)

    def add(self, spec: Spec) -> None:
        """Take a component in under its kind."""
        match spec:
            case ToolSpec():
                self.tools.add(spec)
            case GuardrailSpec():
                self.guardrails.add(spec)
            case ScorerSpec():
                self.scorers.add(spec)

    def add_module(self, module: ModuleType, prefix: str = "") -> None:
        """Take in every decorated function that ``module`` itself defines, as ``<prefix>.<function>``."""
        for spec in specs_of(module, prefix):
            self.add(spec)

    def add_plugins(self) -> None:
        """Take in what other distributions offer, without importing it."""
        for names, group in (
            (self.tools, plugins.TOOLS),
            (self.guardrails, plugins.GUARDRAILS),
            (self.scorers, plugins.SCORERS),
        ):
            for plugin in plugins.offered(group).values():
                names.offer(plugin)
