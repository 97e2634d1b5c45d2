"""CEL itself, and what its errors say without a value that does not stand in the expression."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from importlib.machinery import PathFinder
from typing import Any

from agentflow.workflow.cel_values import NO_ITEM, NO_KEY, NO_OPERATION


@cache
def cel() -> Any:
    """Return CEL's extension module, without its package, which imports a command line (0.25 s)."""
    package = PathFinder.find_spec("cel")
    spec = PathFinder.find_spec("cel.cel", package.submodule_search_locations) if package else None
    if "cel" in sys.modules or spec is None or spec.loader is None:
        return importlib.import_module("cel")
    module = importlib.util.module_from_spec(spec)
    sys.modules["cel.cel"] = module
    spec.loader.exec_module(module)
    return module


def undefined(error: BaseException) -> str:
    """Return the name that CEL was asked for and not given, or an empty text."""
    match = re.match(r"Undefined variable or function: '(\w+)'", str(error))
    return match[1] if match else ""


def failure(error: BaseException, source: str) -> tuple[str, str]:
    """Return what was found and what is allowed, for an error of CEL in the expression ``source``."""
    text = str(error)
    match error:
        case KeyError():
            return f"no key {error}" if text.strip("'") in source else "a key that is not there", NO_KEY
        case IndexError():
            said = text.rpartition(" ")[2] in source
            return text if said else "an index out of bounds", NO_ITEM
        case ZeroDivisionError():
            return "a division by zero", "a divisor that is not 0"
        case OverflowError():
            return "a whole number beyond 64 bits", "results within 64 bits; convert with double(x)"
        case TypeError():
            return _type_clash(text), NO_OPERATION[1]
    if name := undefined(error):
        return f"a value that '{name}' does not take", "what CEL can evaluate"
    if match := re.match(r"Function '(\w+)' error", text):
        return f"a value that '{match[1]}' does not take", "what CEL can evaluate"
    return f"what CEL cannot evaluate ({type(error).__name__})", "what CEL can evaluate"


def _type_clash(message: str) -> str:
    match = re.match(r"Unsupported operation: (.*?)\. CEL", message)
    return match[1] if match else "operands that the operation does not take"
