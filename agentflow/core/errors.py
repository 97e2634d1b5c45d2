"""The one error tree of agentflow.

::

    AgentflowError
    ├── UserError                    the caller or the file's author must change something
    │   ├── WorkflowFileError        every mistake of a file, each with file:line:column
    │   ├── UnknownNameError         a tool, guardrail, workflow … that does not exist
    │   ├── InvalidInputError        a value that a workflow, tool or world does not accept
    │   ├── GoalNotUnderstoodError   a goal sentence outside what the parser understands
    │   ├── MissingSecretError       ``${{ secrets.X }}`` without a value
    │   ├── MissingExtraError        a package of an extra is not installed
    │   ├── PluginError              what another distribution offers cannot be used
    │   ├── WeightsError             weights that are missing, corrupt or not the card's
    │   ├── UnsupportedCallError     a world or model that does not do what was asked of it
    │   ├── AlreadyDecidedError      an approval has its one decision
    │   ├── ApprovalExpiredError     the time to decide is over
    │   ├── PayloadChangedError      what is to be approved is not what was shown
    │   └── ReplayError              a replay came to a call that was not recorded
    └── RunError                     something ended while a run was at work
        ├── BudgetExceededError      a cap would be passed
        ├── GuardrailBlockedError    a guardrail said no (or could not say anything)
        ├── StepFailedError          a tool or step raised
        ├── StepTimeoutError         a step did not end in time
        ├── ModelError               a language model's endpoint failed; carries what was spent
        ├── StorageError             the disk or the database refused
        ├── RunHeldError             another process is at work on the run
        ├── LeaseLostError           this process was, until another one took the run over
        └── RunCancelledError        a person or a signal ended the run

Constructors take facts; the message is made here: what happened, the value, what is allowed, what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agentflow.core.amounts import Amounts
from agentflow.core.names import listed as listed
from agentflow.core.names import nearest as nearest


class AgentflowError(Exception):
    """Base of everything agentflow raises on purpose."""

    exit_code = 1
    retryable = False

    @property
    def kind(self) -> str:
        """The error's stable name, as it stands in records and spans."""
        return type(self).__name__.removesuffix("Error")


class UserError(AgentflowError):
    """The caller, or the author of a file, must change something."""

    exit_code = 2


class RunError(AgentflowError):
    """Something ended while a run was at work."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a file. ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class WorkflowFileError(UserError):
    """A workflow file does not hold: every mistake at once, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = len(self.problems)
        listing = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{listing}\n{count} mistake{'s' if count != 1 else ''}")


class UnknownNameError(UserError):
    """A name that nothing answers to."""

    def __init__(self, what: str, name: str, allowed: Iterable[str]) -> None:
        self.what, self.name, self.allowed = what, name, tuple(sorted(allowed))
        super().__init__(
            f"unknown {what} '{name}'.{nearest(name, self.allowed)} Known: {listed(self.allowed)}."
        )


class InvalidInputError(UserError):
    """A value that is not accepted. ``where`` names it; ``allowed`` says what would be."""

    def __init__(self, where: str, found: str, allowed: str) -> None:
        self.where, self.found, self.allowed = where, found, allowed
        super().__init__(f"{where}: found {found}; allowed: {allowed}.")


class GoalNotUnderstoodError(UserError):
    """A goal sentence that the embedded parser cannot turn into a goal without guessing."""

    def __init__(self, sentence: str, reason: str, understood: str) -> None:
        self.sentence, self.reason, self.understood = sentence, reason, understood
        super().__init__(
            f"the goal {sentence!r} was not understood: {reason} Understood are: {understood} "
            "For free wording, configure a language model under `models:` "
            "(provider: openai, base_url, model) and name it in the step's `agent: {model: …}`."
        )


class MissingSecretError(UserError):
    """A secret that the file asks for and the environment does not hold."""

    def __init__(self, name: str, where: str) -> None:
        self.name, self.where = name, where
        super().__init__(
            f"{where}: the secret '{name}' is not set. Set the environment variable {name}; "
            "an unset secret is never taken as empty."
        )


class MissingExtraError(UserError):
    """A feature whose packages are not installed."""

    def __init__(self, feature: str, extra: str, package: str) -> None:
        self.feature, self.extra, self.package = feature, extra, package
        super().__init__(
            f"{feature} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'agentflow-worlds[{extra}]'"
        )


class PluginError(UserError):
    """What another distribution offers by an entry point cannot be used; others are not concerned."""

    def __init__(self, group: str, name: str, value: str, distributions: Sequence[str], reason: str) -> None:
        self.group, self.name, self.value = group, name, value
        self.distributions, self.reason = tuple(distributions), reason
        whose = " and ".join(self.distributions)
        text = reason.replace("\n", " ").rstrip(". ")[:300]
        super().__init__(
            f"the plug-in '{name}' ({group}: {value}) of {whose} cannot be used: {text}. "
            "Reinstall or remove that distribution."
        )


class WeightsError(UserError):
    """Weights that cannot be used: missing, corrupt, or not those that the card describes."""

    def __init__(self, path: str, found: str, expected: str) -> None:
        self.path, self.found, self.expected = path, found, expected
        super().__init__(
            f"weights {path}: {found}; expected {expected}. Reinstall the package, or train them "
            "again with `agentflow world train`."
        )


class UnsupportedCallError(UserError):
    """A world or model that does not do what was asked of it; its card says what it does."""

    def __init__(self, name: str, call: str, supported: Iterable[str]) -> None:
        self.name, self.call, self.supported = name, call, tuple(sorted(supported))
        super().__init__(f"'{name}' does not support {call}. It supports: {', '.join(self.supported)}.")


class AlreadyDecidedError(UserError):
    """An approval is decided once. ``decided_ms`` is UTC milliseconds."""

    def __init__(self, approval_id: str, decision: str, by: str, decided_ms: int) -> None:
        self.approval_id, self.decision, self.by, self.decided_ms = approval_id, decision, by, decided_ms
        super().__init__(
            f"approval {approval_id} was decided before: '{decision}' by {by} on {_day(decided_ms)}. A decision "
            "stands; nothing was changed."
        )


class ApprovalExpiredError(UserError):
    """The time to decide is over. ``expired_ms`` is UTC milliseconds."""

    def __init__(self, approval_id: str, expired_ms: int, on_timeout: str) -> None:
        self.approval_id, self.expired_ms, self.on_timeout = approval_id, expired_ms, on_timeout
        super().__init__(
            f"approval {approval_id}: its time was over on {_day(expired_ms)}, which decides '{on_timeout}' "
            "(`on_timeout` in the workflow). Run the workflow again for another decision."
        )


class PayloadChangedError(UserError):
    """What is to be approved is not what was shown; ``where`` names the question."""

    def __init__(self, where: str, shown_digest: str, found_digest: str) -> None:
        self.where, self.shown_digest, self.found_digest = where, shown_digest, found_digest
        super().__init__(
            f"{where}: the payload changed. Shown was {shown_digest[:16]}, this is {found_digest[:16]}. A decision "
            "holds only for what was shown: look again (agentflow approvals), or start a new run."
        )


class ReplayError(UserError):
    """A replay came to something that its recording does not hold; the message names the nearest that it does."""


_FILE_KEYS = {"micro_usd": "usd", "gpu_ms": "gpu_seconds", "wall_ms": "wall_clock"}


class BudgetExceededError(RunError):
    """A cap would be passed. Nothing beyond it was spent."""

    exit_code = 4

    def __init__(self, scope: str, dimension: str, requested: int, left: int, cap: int) -> None:
        self.scope, self.dimension = scope, dimension
        self.requested, self.left, self.cap = requested, left, cap
        key = _FILE_KEYS.get(dimension, dimension)
        super().__init__(
            f"budget of {scope}: {dimension} would pass its cap: asked for {requested}, "
            f"left {left} of {cap}. Raise `budget.{key}` in the workflow, or ask for less."
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What was asked of which cap, as JSON."""
        return {
            "scope": self.scope, "dimension": self.dimension, "requested": self.requested, "left": self.left,
            "cap": self.cap,
        }  # fmt: skip


class GuardrailBlockedError(RunError):
    """A guardrail stopped the step: by its verdict, or because it failed and failing is closed."""

    exit_code = 5

    def __init__(self, guardrail: str, hook: str, reason: str) -> None:
        self.guardrail, self.hook, self.reason = guardrail, hook, reason
        super().__init__(f"guardrail '{guardrail}' at {hook} blocked: {reason}")


class StepFailedError(RunError):
    """A tool, agent or scorer raised something of its own."""

    def __init__(self, step: str, cause: BaseException | str, *, retryable: bool = False) -> None:
        self.step = step
        self.retryable = retryable
        text = cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}"
        super().__init__(f"step '{step}' failed: {text}")


class StepTimeoutError(RunError):
    """A step did not end within its time."""

    retryable = True

    def __init__(self, step: str, seconds: float) -> None:
        self.step, self.seconds = step, seconds
        super().__init__(
            f"step '{step}' did not end within {seconds:g} s. Raise its `timeout`, or ask for less."
        )


class ModelError(RunError):
    """A language model's endpoint failed. ``spent`` is what was used before it did."""

    def __init__(
        self, model: str, problem: str, todo: str, *, retryable: bool = False, spent: Amounts | None = None
    ) -> None:
        self.model, self.problem, self.retryable = model, problem, retryable
        self.spent = spent or Amounts()
        super().__init__(f"language model '{model}': {problem}. {todo}")

    @property
    def spent_tokens(self) -> int:
        """Tokens used before it failed."""
        return self.spent.tokens


class StorageError(RunError):
    """The disk or the database refused; what was finished before it is kept.

    ``path`` is a file, or a database server without its password. ``passing`` says that another transaction was in
    the way and nothing was written: the same may succeed the next time.
    """

    def __init__(
        self,
        what: str,
        path: str,
        cause: BaseException | str,
        todo: str = "Free some space if the disk is full; otherwise check that the file is whole and no other "
        "program holds it.",
        *,
        passing: bool = False,
    ) -> None:
        self.what, self.path, self.passing = what, path, passing
        super().__init__(f"{what}: {path}: {cause}. {todo} What was finished before is kept.")


class RunHeldError(RunError):
    """A run belongs to one process at a time, and another one has it.

    ``holder`` is that process as ``host:pid:start:id``, empty where it has given the run back; times are UTC
    milliseconds.
    """

    def __init__(self, run_id: str, holder: str, until_ms: int, renewed_ms: int) -> None:
        self.run_id, self.holder, self.until_ms, self.renewed_ms = run_id, holder, until_ms, renewed_ms
        if holder:
            super().__init__(
                f"run {run_id} is held by {_process(holder)}, which last said so at {_clock(renewed_ms)}. "
                f"Follow it (agentflow show {run_id}) or end it (agentflow cancel {run_id}); once that process is "
                f"dead, agentflow resume {run_id} takes over, from another machine after {_clock(until_ms)}."
            )
        else:
            super().__init__(
                f"run {run_id} was taken by another process at the same time, which has given it back by now. "
                f"See how it stands (agentflow show {run_id})."
            )


class LeaseLostError(RunError):
    """Another process took the run over; nothing was written. ``holder`` is empty where it was given back."""

    def __init__(self, run_id: str, holder: str) -> None:
        self.run_id, self.holder = run_id, holder
        now = f"{_process(holder)} has it now" if holder else "nobody has it now"
        super().__init__(
            f"run {run_id} is no longer this process's: {now}. Nothing more is written here; "
            f"what was finished is kept (agentflow show {run_id})."
        )


class RunCancelledError(RunError):
    """A person or a signal ended the run."""

    exit_code = 130

    def __init__(self, run_id: str, by: str) -> None:
        self.run_id, self.by = run_id, by
        super().__init__(
            f"run {run_id} was cancelled by {by}; finished steps are kept (agentflow show {run_id})."
        )


def exit_code_of(kind: str) -> int:
    """Return the exit code of an error by its `AgentflowError.kind`, as records hold it; 1 for one of no known kind."""
    waiting: list[type[AgentflowError]] = [AgentflowError]
    while waiting:
        error = waiting.pop()
        if error.__name__.removesuffix("Error") == kind:
            return error.exit_code
        waiting += error.__subclasses__()
    return 1


def _process(holder: str) -> str:
    host, _, rest = holder.partition(":")
    return f"process {rest.partition(':')[0]} on {host.partition('@')[0]}"


def _clock(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%H:%M:%S} UTC"


def _day(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
