"""One expression in its place: whether it is sound, whether what it reads is there, and what it gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentflow.core.errors import listed, nearest
from agentflow.workflow.cel_syntax import MAX_LENGTH, Reference
from agentflow.workflow.expressions import Expr, Flaw, Roots, parse_expr, parse_template
from agentflow.workflow.positions import Document, KeyPath, Node, texts_in
from agentflow.workflow.report import Report
from agentflow.workflow.step_types import STEP_FIELDS, Scope
from agentflow.workflow.steps import Step
from agentflow.workflow.traps import cut_by_comment
from agentflow.workflow.types import Type, described

MAX_PARTS = 20_000
"""Names, numbers and signs of all expressions of a file together."""

_PART = re.compile(r"\w+|[^\w\s]")
_WANTED = {"a condition": ("bool",), "a number": ("int", "double", "number"), "a list": ("list",)}


@dataclass(frozen=True)
class Place:
    """What expressions see at one place: names they may start from, their types, and the steps before."""

    roots: Roots
    scope: Scope
    earlier: Mapping[str, Step] = field(default_factory=dict)
    all_steps: frozenset[str] = frozenset()
    items: Mapping[str, str] = field(default_factory=dict)
    """Names of ``foreach`` items of the workflow, with the step that each belongs to."""

    def plus(self, more: Scope) -> Place:
        """Return the place with more names."""
        return replace(self, roots=self.roots | set(more), scope={**self.scope, **more})

    def with_secrets(self) -> Place:
        """Return the place where secrets may be read too."""
        return replace(self, roots=self.roots | {"secrets"})


def check_templates(value: Any, path: KeyPath, place: Place, report: Report) -> None:
    """Check every ``${{ … }}`` inside a value."""
    for inner, text in texts_in(value):
        if "${{" not in text or not _within_bounds(_holes(text), (*path, *inner), report):
            continue
        template, flaws = parse_template(text)
        for flaw in flaws:
            _add_flaw((*path, *inner), flaw, report)
        if template is not None:
            for offset, expr in zip(_offsets(text, template.expressions), template.expressions, strict=True):
                if _check_references(expr, offset, (*path, *inner), place, report):
                    _typed(expr, offset, (*path, *inner), place.scope, report)


def check_bare(text: str, path: KeyPath, place: Place, report: Report, wanted: str = "") -> None:
    """Check an expression that stands without ``${{ }}``; ``wanted`` says what it must give."""
    if text.lstrip().startswith("${{"):
        report.add(path, f"'{path[-1]}' holds an expression already: leave out the ${{{{ and }}}}.")
        return
    if not _within_bounds(text, path, report):
        return
    expr, flaws = parse_expr(text)
    for flaw in flaws:
        _add_flaw(path, flaw, report)
    if expr is None or not _check_references(expr, 0, path, place, report):
        return
    found = _typed(expr, 0, path, place.scope, report)
    if wanted and found is not None and found.kind not in ("any", *_WANTED[wanted]):
        report.add(path, f"this gives {described(found)}; allowed: {wanted}.")


def _holes(text: str) -> str:
    """Return what stands in the ``${{ }}`` of a text, or about that."""
    holes: list[str] = []
    end = 0
    while (start := text.find("${{", end)) >= 0:
        end = text.find("}}", start)
        if end < 0:
            return "".join([*holes, text[start : start + MAX_LENGTH]])
        holes.append(text[start:end])
    return "".join(holes)


def _within_bounds(text: str, path: KeyPath, report: Report) -> bool:
    before = report.expression_parts
    report.expression_parts += sum(1 for _ in _PART.finditer(text))
    if report.expression_parts <= MAX_PARTS:
        return True
    if before <= MAX_PARTS:
        size = f"more than {MAX_PARTS} names, numbers and signs"
        report.add(path, f"the expressions of the file have {size}; the rest is not read.")
    return False


def _add_flaw(path: KeyPath, flaw: Flaw, report: Report) -> None:
    node = report.document.node(path)
    if not node.style and "is not closed" in flaw.message and cut_by_comment(report.document.text, node.end):
        flaw = Flaw(
            flaw.offset, "quote this expression: YAML cuts it at ' #' as a comment. Write \"${{ … }}\"."
        )
    elif not node.style and "not CEL" in flaw.message and _cut_by_comma(report.document, node):
        flaw = Flaw(flaw.offset, f"{flaw.message} YAML ends the value at the comma: quote the expression.")
    report.add_inside(path, flaw)


def _cut_by_comma(document: Document, node: Node) -> bool:
    value = str(node.value)
    unbalanced = any(value.count(start) > value.count(end) for start, end in ("()", "[]", "{}"))
    return unbalanced and document.text[node.end : node.end + 1] == ","


def _offsets(text: str, expressions: Sequence[Expr]) -> list[int]:
    """Return where the expressions of a template start in it."""
    offsets, done = [], 0
    for expr in expressions:
        done = text.index(expr.text, text.index("${{", done) + 3)
        offsets.append(done)
        done += len(expr.text)
    return offsets


def _check_references(expr: Expr, offset: int, path: KeyPath, place: Place, report: Report) -> bool:
    """Note references to what is not there; True when all are sound."""
    sound = True
    for reference in expr.references:
        message = _reference_flaw(reference, place, report.secrets)
        if message:
            sound = False
            report.add_inside(path, Flaw(offset + reference.offset, message))
    return sound


def _reference_flaw(reference: Reference, place: Place, secrets: Mapping[str, str] | None) -> str:
    root, path = reference.root, reference.path
    if root not in place.roots:
        return _unknown_root(root, place)
    if root == "secrets":
        return _secret_flaw(path, secrets)
    if root == "steps" and (message := _step_flaw(path, place)):
        return message
    if root == "inputs" and len(path) > 1 and path[1] not in place.scope["inputs"].fields:
        known = place.scope["inputs"].fields
        return f"unknown input '{path[1][:60]}'.{nearest(path[1], known)} Declared: {listed(known)}."
    return ""


def _unknown_root(name: str, place: Place) -> str:
    if name == "secrets":
        return "secrets are read under `with` and in `api_key` only: a prompt, condition or output never holds one."
    if name in place.items:
        step = place.items[name]
        return (
            f"'{name}' is an item of step '{step}' and known only inside it. What became of the items is in "
            f"steps.{step}.results."
        )
    if name in place.all_steps and "steps" in place.roots:
        return f"unknown name '{name}'. Did you mean steps.{name}.output?"
    known = sorted(place.roots)
    return f"unknown name '{name[:60]}'.{nearest(name, known)} Allowed here: {listed(known)}."


def _step_flaw(path: tuple[str, ...], place: Place) -> str:
    if len(path) < 2:
        return "name a step, as in steps.<id>.output."
    name = path[1]
    if name not in place.earlier and name in place.all_steps:
        return f"step '{name}' does not come before this one; a step reads earlier steps only."
    if name not in place.earlier:
        return unknown_step(name, place)
    fields = (*STEP_FIELDS, "results") if place.earlier[name].foreach else STEP_FIELDS
    if len(path) > 2 and path[2] not in (*fields, "error_kind"):
        return _no_such_field(place.scope, name, path[2], fields)
    return ""


def _no_such_field(scope: Scope, step: str, name: str, fields: Sequence[str]) -> str:
    """Say that a step has no such field; one of its output's is most often what was meant."""
    output = scope["steps"].fields[step].fields["output"]
    hint = f" Did you mean steps.{step}.output.{name}?" if name in output.fields else nearest(name, fields)
    return f"a step has no '{name[:60]}'.{hint} Of step '{step}' can be read: {', '.join(fields)}."


def unknown_step(name: str, place: Place) -> str:
    """Say that no step has this name, and which ones there are."""
    known = listed(place.earlier)
    return f"unknown step '{name[:60]}'.{nearest(name, place.earlier)} Steps before this one: {known}."


def _secret_flaw(path: tuple[str, ...], secrets: Mapping[str, str] | None) -> str:
    if len(path) != 2:
        return "name a secret, as in secrets.NAME."
    if secrets is None or secrets.get(path[1]):
        return ""
    name = path[1]
    return f"the secret '{name}' is not set. Set the environment variable {name}; it is never taken as empty."


def _typed(expr: Expr, offset: int, path: KeyPath, scope: Scope, report: Report) -> Type | None:
    """Return an expression's type, or note what is not there or does not fit in it, and return None."""
    found, flaws = expr.static_type(scope)
    for flaw in flaws:
        report.add_inside(path, Flaw(offset + flaw.offset, flaw.message))
    return None if flaws else found
