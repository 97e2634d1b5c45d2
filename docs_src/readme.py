"""Fill the README's code blocks from the real files: ``python docs_src/readme.py [--check]``.

A block that follows ``<!-- include PATH -->`` holds the whole file; ``<!-- include PATH name -->`` a function with its
decorator; ``<!-- include PATH "first" .. "last" -->`` the lines from one that begins with *first* up to, not
including, one that begins with *last*.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(
    r"(?P<head><!-- include (?P<path>\S+?)(?: (?P<rest>[^>]*?))? -->\n```\w*\n)(?P<body>.*?)(?P<tail>^```$)",
    re.DOTALL | re.MULTILINE,
)
_SPAN = re.compile(r'"(?P<first>[^"]+)" \.\. "(?P<last>[^"]+)"')


def filled(text: str) -> str:
    """Return the README with every included block as its file has it now."""
    return _BLOCK.sub(lambda m: f"{m['head']}{included(m['path'], m['rest'] or '')}{m['tail']}", text)


def included(path: str, rest: str) -> str:
    """Return the part of a file that an include names."""
    source = (ROOT / path).read_text()
    lines = source.splitlines()
    span = _SPAN.fullmatch(rest)
    if span:
        first = next(i for i, line in enumerate(lines) if line.startswith(span["first"]))
        last = next(i for i, line in enumerate(lines) if i > first and line.startswith(span["last"]))
        chosen = lines[first:last]
    elif rest:
        node = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == rest)
        begin = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        chosen = lines[begin - 1 : node.end_lineno]
    else:
        chosen = lines
    return "\n".join(chosen) + "\n"


def main() -> int:
    """Write the README, or with ``--check`` say whether it is fresh."""
    path = ROOT / "README.md"
    old = path.read_text()
    new = filled(old)
    if "--check" in sys.argv:
        if old != new:
            print("README.md is stale: run python docs_src/readme.py")
            return 1
        return 0
    path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
