"""`load_workflow_file`: a file becomes a `WorkflowFile`, or one error with every mistake in it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentflow.core.errors import UnknownNameError, WorkflowFileError
from agentflow.core.records import digest_of
from agentflow.core.registry import Registry
from agentflow.workflow.components import Checker
from agentflow.workflow.defaults import with_defaults_put_in
from agentflow.workflow.expression_places import check_file_expressions
from agentflow.workflow.messages import validate
from agentflow.workflow.named_types import with_types_put_in
from agentflow.workflow.positions import Document, Problems, parse_document, read_document
from agentflow.workflow.report import Report
from agentflow.workflow.schema import FileSpec, Workflow, definition, workflow_digest
from agentflow.workflow.step_types import StepTypes


@dataclass(frozen=True)
class WorkflowFile:
    """A file that holds: everything in it was checked."""

    path: Path
    spec: FileSpec
    document: Document

    def workflow(self, name: str) -> Workflow:
        """Return a workflow.

        Raises:
            UnknownNameError: the file has none of this name.
        """
        if name not in self.spec.workflows:
            raise UnknownNameError("workflow", name, self.spec.workflows)
        return self.spec.workflows[name]

    def position(self, path: Sequence[str | int]) -> tuple[int, int]:
        """Return line and column, from 1, of a value such as ``("workflows", "plan_push", "steps", 0)``."""
        return self.document.position(path)

    def digest(self, name: str) -> str:
        """Return the digest of a workflow with those that it runs, and the models and worlds of the file."""
        names, waiting = set(), [name]
        while waiting:
            current = waiting.pop()
            if current not in names:
                names.add(current)
                waiting += [step.workflow for step in self.workflow(current).steps if step.workflow]
        shared = {
            section: {key: definition(spec) for key, spec in specs.items()}
            for section, specs in (("models", self.spec.models), ("worlds", self.spec.worlds))
        }
        return digest_of([shared, {each: workflow_digest(self.workflow(each)) for each in sorted(names)}])


def load_workflow_file(
    path: str | Path,
    registry: Registry | None = None,
    *,
    worlds: Collection[str] | None = None,
    secrets: Mapping[str, str] | None = None,
    check_secrets: bool = True,
) -> WorkflowFile:
    """Load and check a workflow file.

    Args:
        path: the file.
        registry: the components that it may name; without one, their names are not checked.
        worlds: the installed worlds that ``worlds.<name>.use`` may name; None: not checked.
        secrets: where ``secrets.<NAME>`` are looked up; None: the environment.
        check_secrets: whether an unset secret is a mistake.

    Raises:
        WorkflowFileError: every mistake of the file, with its line and column.
    """
    problems = Problems(str(path))
    document = read_document(path, problems)
    return _checked(Path(path), document, problems, registry, worlds, _secrets(secrets, check_secrets))


def load_workflow_text(
    text: str,
    registry: Registry | None = None,
    *,
    file: str = "workflows.yaml",
    worlds: Collection[str] | None = None,
    secrets: Mapping[str, str] | None = None,
    check_secrets: bool = True,
) -> WorkflowFile:
    """Load and check a workflow file's text, see `load_workflow_file`."""
    problems = Problems(file)
    document = parse_document(text, file, problems)
    return _checked(Path(file), document, problems, registry, worlds, _secrets(secrets, check_secrets))


def _secrets(secrets: Mapping[str, str] | None, check: bool) -> Mapping[str, str] | None:
    if not check:
        return None
    return os.environ if secrets is None else secrets


def _checked(
    path: Path,
    document: Document,
    problems: Problems,
    registry: Registry | None,
    worlds: Collection[str] | None,
    secrets: Mapping[str, str] | None,
) -> WorkflowFile:
    problems.settle_places()
    spec, broken = validate(document, problems)
    if spec is not None:
        report = Report(document, problems, broken, secrets)
        spec = with_types_put_in(spec, report)
        types = StepTypes(spec, registry)
        check_file_expressions(spec, report, types)
        Checker(spec, report, types, registry, worlds).check()
    if spec is None or problems.found:
        raise WorkflowFileError(problems.found)
    return WorkflowFile(path, with_defaults_put_in(spec), document)
