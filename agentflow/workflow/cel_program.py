"""A compiled expression: what gives its value, bounded, and its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentflow.core.errors import InvalidInputError
from agentflow.workflow.cel_cost import MAX_WORK_NS
from agentflow.workflow.cel_loops import Place, Program, Run
from agentflow.workflow.cel_plan import plan
from agentflow.workflow.cel_reading import Flaw, Reading
from agentflow.workflow.cel_syntax import Reference
from agentflow.workflow.cel_types import Typing
from agentflow.workflow.cel_values import Copier, UnfitError, type_name
from agentflow.workflow.types import Type

COPY_NS, WRITE_NS = 150, 700
"""To copy one value that needs no CEL, and to copy it and write it into a text."""


class Expr:
    """A compiled expression. Made by `compile_expr`."""

    def __init__(self, text: str, reading: Reading) -> None:
        self.text = text
        self.references: tuple[Reference, ...] = tuple(reading.references)
        self.nesting = reading.nesting
        self._read_tree = reading.tree
        self._source = plan(text, reading.tree)
        self._place = self._source if isinstance(self._source, Place) else None

    def __repr__(self) -> str:
        return f"Expr({self.text!r})"

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """Return the JSON value of the expression; ``scope`` holds a value for each root that it names.

        Raises:
            InvalidInputError: it cannot be evaluated on these values, or might take too long; the message
                carries no value of them.
            MissingSecretError: it names a secret that is not set.
        """
        return self.work_out(scope, MAX_WORK_NS)[0]

    def condition(self, scope: Mapping[str, Any]) -> bool:
        """Return the truth of a condition. Only true and false count: there is no truthiness.

        Raises:
            InvalidInputError: it is not a boolean, or cannot be evaluated.
        """
        result = self.evaluate(scope)
        if not isinstance(result, bool):
            allowed = "a condition that is true or false, such as a comparison"
            raise InvalidInputError(f"expression `{self.text}`", type_name(result), allowed)
        return result

    def work_out(self, scope: Mapping[str, Any], left_ns: int, value_ns: int = COPY_NS) -> tuple[Any, int]:
        """Return the value, and a bound of the time that it took; at most ``left_ns`` may be taken.

        ``value_ns`` is what copying a value costs, and whatever is done with it next.

        Raises:
            InvalidInputError: see `evaluate`.
        """
        try:
            if self._place is not None:
                value, spent_ns = self._place.found(scope), 0
                if type(value) is str or value is None or type(value) is bool:
                    return value, value_ns
            else:
                run = Run(self.text, scope, left_ns)
                value, spent_ns = self._source.value(run), left_ns - run.left_ns
                if isinstance(self._source, Program):  # its work is bounded with that of copying its result
                    return Copier(MAX_WORK_NS // COPY_NS).copy(value), spent_ns
            copier = Copier((left_ns - spent_ns) // value_ns)
            return copier.copy(value), spent_ns + value_ns * (1 + copier.values)
        except UnfitError as error:
            raise InvalidInputError(f"expression `{self.text}`", error.found, error.allowed) from None

    def static_type(self, types: Mapping[str, Type]) -> tuple[Type, tuple[Flaw, ...]]:
        """Return the type of the value, where roots have these types, and the operands that cannot fit.

        A root without a type is anything; offsets count from the start of the expression.
        """
        return Typing.of(self.text, self._read_tree, types)
