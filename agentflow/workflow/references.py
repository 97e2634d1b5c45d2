"""Expressions in their places: what each may read, and whether what it reads is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentflow.core.errors import nearest
from agentflow.workflow.cel_syntax import MAX_LENGTH, Reference
from agentflow.workflow.expressions import Expr, Flaw, Roots, parse_expr, parse_template, type_name
from agentflow.workflow.inputs import value_mismatch
from agentflow.workflow.positions import Document, KeyPath, Node, Problems, texts_in
from agentflow.workflow.schema import FileSpec, InputSpec, Workflow
from agentflow.workflow.steps import Evaluate, GuardrailUse, Step
from agentflow.workflow.traps import cut_by_comment

STEP_FIELDS = ("output", "status", "ok", "skipped", "error", "usage")
"""What expressions may read of an earlier step; of a ``foreach`` also ``results``."""
MAX_EXPRESSION_TEXT = 50_000
"""Characters of all expressions of a file together."""

_ALWAYS: Roots = frozenset({"inputs", "run", "budget"})
_STEPS: Roots = _ALWAYS | {"steps"}
_SAMPLES: dict[str, Any] = {"string": "text", "integer": 1, "number": 0.5, "boolean": True}


@dataclass
class Report:
    """Where checks note what they find. ``broken`` are paths that the schema has already refused."""

    document: Document
    problems: Problems
    broken: frozenset[KeyPath] = frozenset()
    secrets: Mapping[str, str] | None = None
    """What is set; None when secrets are not to be checked."""
    expression_text: int = 0

    def add(self, path: KeyPath, message: str, *, key: bool = False) -> None:
        """Note a mistake at a value, or at its key."""
        self.problems.add(self.document.position(path, key=key), message)

    def add_inside(self, path: KeyPath, flaw: Flaw) -> None:
        """Note a mistake at a character of a text value."""
        self.problems.add(self.document.inside(path, flaw.offset), flaw.message)


@dataclass
class Place:
    """What expressions see at one place: names they may start from, and the steps before."""

    roots: Roots
    inputs: Mapping[str, InputSpec]
    earlier: Mapping[str, Step] = field(default_factory=dict)
    all_steps: frozenset[str] = frozenset()
    sample: Mapping[str, Any] = field(default_factory=dict)
    """Values of the right types for roots whose types are known."""

    def plus(self, *roots: str) -> Place:
        """Return the place with more names."""
        return Place(self.roots | set(roots), self.inputs, self.earlier, self.all_steps, self.sample)


def check_file_expressions(spec: FileSpec, report: Report) -> None:
    """Check every expression of a file."""
    outside = Place(frozenset({"secrets"}), {})
    for section in ("models", "worlds"):
        for name, entry in getattr(spec, section).items():
            check_templates(entry.model_dump(by_alias=True), (section, name), outside, report)
            key = getattr(entry, "api_key", None)
            if key is not None and "${{" not in key:
                message = 'a key never stands in a file. Write api_key: "${{ secrets.NAME }}".'
                report.add((section, name, "api_key"), message)
    for name, workflow in spec.workflows.items():
        if ("workflows", name) not in report.broken:
            _check_workflow(workflow, ("workflows", name), report)


def _check_workflow(workflow: Workflow, path: KeyPath, report: Report) -> None:
    for name, declared in workflow.inputs.items():
        _check_default(declared, (*path, "inputs", name), report)
    place = Place(_ALWAYS, workflow.inputs)
    _check_guardrails(workflow.guardrails, path, place, report)
    ids = [step.id for step in workflow.steps]
    all_ids = frozenset(ids)
    earlier: dict[str, Step] = {}
    for index, step in enumerate(workflow.steps):
        here = (*path, "steps", index)
        if step.id in earlier:
            first = report.document.position((*path, "steps", ids.index(step.id), "id"))[0]
            report.add(
                (*here, "id"), f"the step id '{step.id}' stands here a second time; first on line {first}."
            )
        if here not in report.broken:
            _check_step(step, here, Place(_STEPS, workflow.inputs, earlier, all_ids), report)
        earlier[step.id] = step
    check_templates(workflow.outputs, (*path, "outputs"), Place(_STEPS, workflow.inputs, earlier), report)


def _check_default(declared: InputSpec, path: KeyPath, report: Report) -> None:
    if path in report.broken or declared.required:
        return
    if any("${{" in text for _, text in texts_in(declared.default)):
        report.add((*path, "default"), "a default is a plain value; it cannot hold an expression.")
    elif mismatch := value_mismatch(declared, declared.default):
        report.add(
            (*path, "default"), f"the default does not fit: found {mismatch[0]}; allowed: {mismatch[1]}."
        )


def _check_guardrails(uses: Sequence[GuardrailUse], path: KeyPath, place: Place, report: Report) -> None:
    for index, use in enumerate(uses):
        check_templates(use.with_, (*path, "guardrails", index, "with"), place.plus("secrets"), report)


def _check_step(step: Step, path: KeyPath, place: Place, report: Report) -> None:
    if step.if_ is not None:
        check_bare(step.if_, (*path, "if"), place, report, "a condition")
    if step.foreach is not None:
        check_bare(step.foreach.in_, (*path, "foreach", "in"), place, report, "a list")
        place = place.plus(step.foreach.as_)
    check_templates(step.with_, (*path, "with"), place.plus("secrets"), report)
    _check_guardrails(step.guardrails, path, place, report)
    if step.agent is not None:
        names = {"prompt", "rounds", "candidates", "horizon", "keep"}
        check_templates(step.agent.model_dump(include=names), (*path, "agent"), place, report)
    if step.approval is not None:
        check_templates(step.approval.message, (*path, "approval", "message"), place, report)
        for index, text in enumerate(step.approval.show):
            check_bare(text, (*path, "approval", "show", index), place, report)
    if step.evaluate is not None:
        _check_evaluate(step.evaluate, (*path, "evaluate"), place, report)


def _check_evaluate(evaluate: Evaluate, path: KeyPath, place: Place, report: Report) -> None:
    check_bare(evaluate.over, (*path, "over"), place, report, "a list")
    scores = dict.fromkeys(evaluate.scorers, 0.5)
    for name, use in evaluate.scorers.items():
        check_templates(use.with_, (*path, "scorers", name, "with"), place.plus("secrets"), report)
    if evaluate.select is not None:
        scored = place.plus(*scores)
        scored.sample = scores
        check_bare(evaluate.select.by, (*path, "select", "by"), scored, report, "a number")
        check_templates(evaluate.select.top, (*path, "select", "top"), place, report)
    if evaluate.gate is not None:
        gated = place.plus("best", "selected")
        gated.sample = {"best": scores}
        check_bare(evaluate.gate, (*path, "gate"), gated, report, "a condition")
    if evaluate.on_gate_fail is not None:
        _check_goto(evaluate.on_gate_fail.goto, (*path, "on_gate_fail", "goto"), place, report)


def _check_goto(goto: str, path: KeyPath, place: Place, report: Report) -> None:
    if goto in place.earlier:
        return
    if goto in place.all_steps:
        report.add(path, f"goto leads back only; '{goto}' does not come before this step.")
    else:
        known = ", ".join(place.earlier) or "none"
        report.add(
            path, f"unknown step '{goto}'.{nearest(goto, place.earlier)} Steps before this one: {known}."
        )


def check_templates(value: Any, path: KeyPath, place: Place, report: Report) -> None:
    """Check every ``${{ … }}`` inside a value."""
    for inner, text in texts_in(value):
        if "${{" not in text or not _within_bounds(_hole_size(text), (*path, *inner), report):
            continue
        template, flaws = parse_template(text, place.roots)
        for flaw in flaws:
            _add_flaw((*path, *inner), flaw, report)
        if template is not None:
            for offset, expr in zip(_offsets(text, template.expressions), template.expressions, strict=True):
                _check_references(expr, offset, (*path, *inner), place, report)


def check_bare(text: str, path: KeyPath, place: Place, report: Report, wanted: str = "") -> None:
    """Check an expression that stands without ``${{ }}``; ``wanted`` says what it must give."""
    if text.lstrip().startswith("${{"):
        report.add(path, f"'{path[-1]}' holds an expression already: leave out the ${{{{ and }}}}.")
        return
    if not _within_bounds(len(text), path, report):
        return
    expr, flaws = parse_expr(text, place.roots)
    for flaw in flaws:
        _add_flaw(path, flaw, report)
    if expr is not None and _check_references(expr, 0, path, place, report) and wanted:
        mismatch = _type_mismatch(expr, place, wanted)
        if mismatch:
            report.add(path, mismatch)


def _hole_size(text: str) -> int:
    """Return about how many characters of a text stand in ``${{ }}``."""
    size = end = 0
    while (start := text.find("${{", end)) >= 0:
        end = text.find("}}", start)
        if end < 0:
            return size + min(len(text) - start, MAX_LENGTH)
        size += end - start
    return size


def _within_bounds(size: int, path: KeyPath, report: Report) -> bool:
    before, report.expression_text = report.expression_text, report.expression_text + size
    if report.expression_text <= MAX_EXPRESSION_TEXT:
        return True
    if before <= MAX_EXPRESSION_TEXT:
        report.add(
            path,
            f"the file has more than {MAX_EXPRESSION_TEXT} characters of expressions; the rest is not read.",
        )
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
        message = _reference_flaw(reference, place, report)
        if message:
            sound = False
            report.add_inside(path, Flaw(offset + reference.offset, message))
    return sound


def _reference_flaw(reference: Reference, place: Place, report: Report) -> str:
    match reference.root:
        case "steps":
            return _step_flaw(reference.path, place)
        case "inputs" if len(reference.path) > 1 and reference.path[1] not in place.inputs:
            name = reference.path[1]
            known = ", ".join(place.inputs) or "none"
            return f"unknown input '{name}'.{nearest(name, place.inputs)} Declared: {known}."
        case "inputs" if len(reference.path) > 2 and _is_plain(place.inputs[reference.path[1]]):
            name = reference.path[1]
            return f"the input '{name}' is a {place.inputs[name].type}; it has no '{reference.path[2]}'."
        case "secrets":
            return _secret_flaw(reference.path, report.secrets)
    return ""


def _is_plain(declared: InputSpec) -> bool:
    return declared.type in _SAMPLES


def _step_flaw(path: tuple[str, ...], place: Place) -> str:
    if len(path) < 2:
        return "name a step, as in steps.<id>.output."
    name = path[1]
    if name not in place.earlier and name in place.all_steps:
        return f"step '{name}' does not come before this one; a step reads earlier steps only."
    if name not in place.earlier:
        known = ", ".join(place.earlier) or "none"
        return f"unknown step '{name}'.{nearest(name, place.earlier)} Steps before this one: {known}."
    fields = (*STEP_FIELDS, "results") if place.earlier[name].foreach else STEP_FIELDS
    if len(path) > 2 and path[2] not in fields:
        hint = nearest(path[2], fields)
        return f"a step has no '{path[2]}'.{hint} Of step '{name}' can be read: {', '.join(fields)}."
    return ""


def _secret_flaw(path: tuple[str, ...], secrets: Mapping[str, str] | None) -> str:
    if len(path) != 2:
        return "name a secret, as in secrets.NAME."
    if secrets is None or secrets.get(path[1]):
        return ""
    name = path[1]
    return f"the secret '{name}' is not set. Set the environment variable {name}; it is never taken as empty."


def _type_mismatch(expr: Expr, place: Place, wanted: str) -> str:
    """Try the expression on values of the declared types; say when it cannot give what is wanted."""
    inputs = {name: _SAMPLES[spec.type] for name, spec in place.inputs.items() if _is_plain(spec)}
    scope = {"inputs": inputs, **place.sample}
    if expr.nesting or not all(_known(reference.path, scope) for reference in expr.references):
        return ""
    try:
        result = expr.try_types(scope)
    except TypeError as clash:
        return (
            f"the types do not fit: {clash}; convert with double(x), int(x) or string(x), or write 2.0 for 2."
        )
    fits = {
        "a condition": isinstance(result, bool),
        "a number": isinstance(result, int | float) and not isinstance(result, bool),
        "a list": isinstance(result, list),
    }
    return "" if result is expr or fits[wanted] else f"this gives {type_name(result)}; allowed: {wanted}."


def _known(path: tuple[str, ...], scope: Mapping[str, Any]) -> bool:
    value: Any = scope
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return not isinstance(value, Mapping)
