"""`Project`: a folder with a workflow file, and the components of its tools, guardrails and evals folders."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from agentflow.core.errors import Problem, WorkflowFileError
from agentflow.core.registry import Registry
from agentflow.workflow.loader import WorkflowFile, load_workflow_file

FOLDERS = ("tools", "guardrails", "evals")
PACKAGE = "agentflow_project"
"""The private name under which a project's modules are imported, and import each other."""
BUILTINS = ("agentflow.builtins.tools", "agentflow.builtins.guardrails", "agentflow.builtins.scorers")
DEFAULT_FILE = "workflows.yaml"

_Stamp = tuple[tuple[str, int, int], ...]
_importing = threading.Lock()


@dataclass(frozen=True)
class Project:
    """A workflow file with everything that it may name."""

    root: Path
    file: WorkflowFile
    registry: Registry

    @classmethod
    def open(
        cls,
        path: str | Path = DEFAULT_FILE,
        *,
        worlds: Collection[str] | None = None,
        secrets: Mapping[str, str] | None = None,
        check_secrets: bool = True,
    ) -> Project:
        """Import a project's modules and check its workflow file; options as in `load_workflow_file`.

        Args:
            path: the workflow file, or the folder that holds ``workflows.yaml``.
            worlds: the installed worlds.
            secrets: where secrets are looked up; None: the environment.
            check_secrets: whether an unset secret is a mistake.

        Raises:
            WorkflowFileError: every mistake of the file, and every module that cannot be imported.
        """
        file = Path(path)
        file = file / DEFAULT_FILE if file.is_dir() else file
        registry, problems = load_components(file.parent)
        try:
            loaded = load_workflow_file(
                file,
                None if problems else registry,
                worlds=worlds,
                secrets=secrets,
                check_secrets=check_secrets,
            )
        except WorkflowFileError as error:
            raise WorkflowFileError([*problems, *error.problems]) from None
        if problems:
            raise WorkflowFileError(problems)
        return cls(file.parent.resolve(), loaded, registry)


def load_components(root: Path) -> tuple[Registry, list[Problem]]:
    """Return what the box, installed plug-ins and a project's folders offer, and what could not be imported.

    A component of the project replaces one of a plug-in of the same name, and that one of the box. A plug-in is
    imported only when the file names it.
    """
    registry = Registry()
    problems: list[Problem] = []
    for name in BUILTINS:
        if importlib.util.find_spec(name) is not None:
            registry.add_module(importlib.import_module(name))
    registry.add_plugins()
    with _importing:
        for path, name in _modules(root):
            try:
                registry.add_module(importlib.import_module(name), prefix=path.stem)
            except (Exception, SystemExit) as error:
                problems.append(_import_problem(path, error))
    return registry, problems


def _modules(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the project's modules with their private names, after making these names importable."""
    found = [
        (path, f"{PACKAGE}.{folder}.{path.stem}")
        for folder in FOLDERS
        for path in sorted((root / folder).glob("*.py"))
        if path.stem.isidentifier() and path.stem != "__init__"
    ]
    _make_packages(root.resolve(), tuple(_stamp(path) for path, _ in found))
    yield from found


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return (path.name, status.st_mtime_ns, status.st_size)


def _make_packages(root: Path, stamp: _Stamp) -> None:
    """Let ``agentflow_project`` and its folders mean this project; keep them when nothing changed.

    The packages exist in memory only: no ``__init__.py``, and no folder on ``sys.path`` that could hide an
    installed package called ``guardrails`` or ``evals``.
    """
    present = sys.modules.get(PACKAGE)
    if present is not None and getattr(present, "__agentflow_stamp__", None) == (root, stamp):
        return
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    package = _package(PACKAGE, root / "(none)")
    package.__dict__["__agentflow_stamp__"] = (root, stamp)
    for folder in FOLDERS:
        setattr(package, folder, _package(f"{PACKAGE}.{folder}", root / folder))


def _package(name: str, folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, loader=None, is_package=True)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(name)  # a package spec always has locations; this is for the type checker
    spec.submodule_search_locations.append(str(folder))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    return module


def _import_problem(path: Path, error: BaseException) -> Problem:
    """Point to the last line of the project's own module that was at work."""
    line, column = 1, 1
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == path.name:
        line, column = error.lineno or 1, error.offset or 1
    else:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if _is_same(frame.filename, path)
        ]
        if frames:
            line, column = frames[-1].lineno or 1, (frames[-1].colno or 0) + 1
    return Problem(str(path), line, column, f"this module cannot be imported: {_reason(error)}.")


def _is_same(name: str, path: Path) -> bool:
    return Path(name).name == path.name and Path(name).resolve() == path.resolve()


def _reason(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}".replace("\n", " ").rstrip(". ")
