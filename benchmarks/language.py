"""CPU seconds to check the root workflow file, and to answer hostile files of up to 1 MB. Prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from agentflow.core.errors import AgentflowError
from agentflow.workflow.loader import load_workflow_text
from agentflow.workflow.project import load_components

ROOT = Path(__file__).parent.parent
SIZE = 999_000
HEAD = "version: 1\nworkflows:\n  w:\n    steps:\n"
WORKFLOWS = "version: 1\nworkflows:\n"
TYPES = "version: 1\ntypes:\n"
INPUTS = "version: 1\nworkflows: {w: {inputs: {"
RULES = "version: 1\nworkflows: {w: {guardrails: ["
END = "steps: [{id: a, use: x}]}}"
SMALL = "workflows: {w: {" + END
DEEP = "{type: object, fields: {a: "
REPEATS = " || ".join(["run.id.matches('(a{900}){99}')"] * 30)
STEP = "    - {id: s, use: loop.plan, with: {p: "


def filled(start: str, unit: str, end: str = "", size: int = SIZE) -> str:
    """Return a text of at most ``size`` bytes: ``unit`` as often as it fits between ``start`` and ``end``."""
    room = size - len((start + end).encode())
    return start + unit * (room // len(unit.encode())) + end


def counted(
    start: str, unit: Callable[[int], str], end: str = "", most: int = 10**9, size: int = SIZE
) -> str:
    """Return a text of at most ``size`` bytes of numbered units."""
    parts, taken, number = [start], len(start) + len(end), 0
    while number < most and taken + len(piece := unit(number)) <= size:
        parts.append(piece)
        taken += len(piece)
        number += 1
    return "".join(parts) + end


def step(number: int, rest: str = "use: x") -> str:
    return f"    - {{id: s{number}, {rest}}}\n"


SHAPES: dict[str, Callable[[], str]] = {
    "spaces": lambda: " " * SIZE,
    "newlines": lambda: "\n" * SIZE,
    "comments": lambda: filled("", "# nothing\n"),
    "one key": lambda: "k" * (SIZE - 2) + ": 1",
    "one plain text": lambda: "version: " + "a" * (SIZE - 10),
    "one plain text of words": lambda: filled("version: ", "a b "),
    "one quoted text": lambda: f'version: "{"a" * (SIZE - 12)}"',
    "one quoted text of escapes": lambda: filled('version: "', "\\x41", '"'),
    "one text over many lines": lambda: filled("version: |\n", "  line\n"),
    "opening brackets": lambda: "[" * SIZE,
    "opening braces": lambda: "{" * SIZE,
    "question marks": lambda: "? " * (SIZE // 2),
    "dashes": lambda: "- " * (SIZE // 2),
    "dashes, each on a line of its own, deeper and deeper": lambda: counted("", lambda n: " " * n + "-\n"),
    "colons": lambda: ": " * (SIZE // 2),
    "anchors": lambda: "&a " * (SIZE // 3),
    "aliases": lambda: filled("[", "*a, ", "]"),
    "tags": lambda: filled("[", "!a b, ", "]"),
    "merge keys": lambda: filled("", "<<: 1\n"),
    "documents": lambda: filled("", "---\n"),
    "directives": lambda: filled("", "%YAML 1.2\n"),
    "one key again and again": lambda: filled("", "k: 1\n"),
    "unknown keys": lambda: counted("version: 1\n", lambda n: f"k{n}: 1\n"),
    "4,900 unknown keys": lambda: counted("version: 1\n", lambda n: f"key_{n}: 1\n", most=4_900),
    "long unknown keys": lambda: counted("version: 1\n", lambda n: f"{'k' * 300}{n}: 1\n", most=4_900),
    "null keys": lambda: filled("", "~: 1\n"),
    "huge integers": lambda: filled("version: [", "9" * 4000 + ", ", "]"),
    "one huge integer": lambda: "version: " + "9" * (SIZE - 10),
    "one huge float": lambda: "version: 0." + "9" * (SIZE - 12),
    "one huge exponent": lambda: "version: 1e" + "9" * (SIZE - 12),
    "hexadecimal": lambda: "version: 0x" + "f" * (SIZE - 12),
    "open holes": lambda: filled(HEAD + STEP + "'", "${{ ", "'}}\n"),
    "holes": lambda: filled(HEAD + STEP + "'", "${{ 1 }}", "'}}\n"),
    "unquoted holes": lambda: filled("a: [", "${{ a }}, ", "]"),
    "lines of unquoted holes": lambda: filled("", "  x: ${{ a ? b : c }}\n"),
    "one line of unquoted holes": lambda: filled("a: ", "${{ a ? b : c }} "),
    "a hole with a long expression": lambda: filled(HEAD + STEP + "'${{ ", "inputs.a + ", "1 }}'}}\n"),
    "50,000 steps": lambda: counted(HEAD, step, most=50_000),
    "1,980 steps": lambda: counted(HEAD, step, most=1_980),
    "1,980 steps of one id": lambda: filled(HEAD, "    - {id: s, use: x}\n", size=43_500),
    "1,980 steps without a kind": lambda: counted(HEAD, lambda n: f"    - {{id: s{n}}}\n", most=1_980),
    "1,400 steps with an unknown key": lambda: counted(HEAD, lambda n: step(n, "use: loop.plan, wiht: 1"), most=1_400),
    "1,400 conditions": lambda: counted(HEAD, lambda n: step(n, f"if: 1 + {n} > 2, use: x"), most=1_400),
    "1,400 conditions on unknown inputs": lambda: counted(
        HEAD, lambda n: step(n, f"if: inputs.a{n} > 2, use: x"), most=1_400
    ),
    "1,400 conditions on unknown steps": lambda: counted(
        HEAD, lambda n: step(n, f"if: steps.t{n}.ok, use: x"), most=1_400
    ),
    "1,400 steps, each reading the one before": lambda: counted(
        HEAD, lambda n: step(n, f"if: steps.s{max(0, n - 1)}.ok, use: x"), most=1_400
    ),
    "1,980 unknown guardrails": lambda: counted(
        RULES, lambda n: f"{{use: g{n}, at: input}}, ", "], " + END, most=1_980
    ),
    "50 expressions of all lengths allowed": lambda: counted(
        HEAD,
        lambda n: step(n, f"if: '{'[' * 60}1{']' * 60} == {'inputs.a + ' * 70}1', use: x"),
        most=50,
    ),
    "deep indices": lambda: counted(HEAD, lambda n: step(n, f"if: '{'inputs[' * 150}1{']' * 150}', use: x"), most=45),
    "deep parentheses": lambda: counted(
        HEAD, lambda n: step(n, f"if: '{'(' * 900}1{')' * 900} == {n}', use: x"), most=25
    ),
    "regular expressions": lambda: counted(
        HEAD, lambda n: step(n, "if: inputs.a.matches('" + "(a+)+" * 300 + f"{n}'), use: x"), most=30
    ),
    "large repeats in regular expressions": lambda: counted(
        HEAD, lambda n: step(n, f'if: "{REPEATS} || {n} > 1", use: x'), most=25
    ),
    "long lists in expressions": lambda: counted(
        HEAD, lambda n: step(n, f"if: '[{'1,' * 900}1].size() > {n}', use: x"), most=20
    ),
    "near names: 100 misspelt inputs of 4,000": lambda: (
        counted(INPUTS, lambda n: f"{'input_' * 9}{n}: any, ", "},\n", most=4_000)
        + counted(
            "  steps: [", lambda n: f"{{id: s{n}, if: inputs.{'inptu_' * 9}{n} > 1, use: x}}, ", "]}}\n", most=120
        )
    ),
    "near names: 100 misspelt steps of 1,400": lambda: counted(
        HEAD, lambda n: step(n, f"use: x, if: steps.{'step_' * 8}{n}.ok") if n > 1_300 else
        f"    - {{id: {'stpe_' * 8}{n}, use: x}}\n", most=1_400
    ),
    "near names: 100 misspelt fields of 4,000": lambda: (
        counted(TYPES + "  T: {type: object, fields: {", lambda n: f"{'field_' * 8}{n}: any, ", "}}\n", most=4_000)
        + "workflows:\n  w:\n    inputs: {a: T}\n    steps:\n"
        + counted("", lambda n: step(n, f"use: x, if: inputs.a.{'feild_' * 8}{n} > 1"), most=120)
    ),
    "an expression in each of 1,500 values, deep inside": lambda: counted(
        HEAD + "    - {id: s, use: x, with: {a: " + "{a: " * 20 + "[",
        lambda n: f"'${{{{ inputs.a + {n} }}}}', ",
        "]" + "}" * 22 + "\n", most=1_500,
    ),
    "a deep declared type with an expression in each of 600 items": lambda: (
        TYPES + "  T: " + DEEP * 12 + "list of string" + "}}" * 12 + "\n"
        + "workflows:\n  v: {inputs: {x: T}, steps: [{id: a, use: x}]}\n  w:\n    inputs: {s: string}\n    steps:\n"
        + counted(
            "    - {id: s, workflow: v, with: {x: " + "{a: " * 12 + "[",
            lambda n: f"'${{{{ inputs.s + \"{n}\" }}}}', ",
            "]" + "}" * 14 + "\n", most=600,
        )
    ),
    "4,900 inputs": lambda: counted(
        INPUTS, lambda n: f"i{n}: string, ", "}, " + END, most=4_900
    ),
    "3,200 inputs of unknown types": lambda: counted(
        INPUTS, lambda n: f"i{n}: T{n}, ", "}, " + END, most=3_200
    ),
    "4,900 types": lambda: counted(
        "version: 1\ntypes: {", lambda n: f"T{n}: string, ", "}\nworkflows: {w: {steps: [{id: a, use: x}]}}", most=4_900
    ),
    "types that double, twenty deep": lambda: counted(
        "version: 1\ntypes:\n",
        lambda n: f"  T{n}: {{type: object, fields: {{a: T{n + 1}, b: T{n + 1}}}}}\n",
        "  T20: string\nworkflows: {w: {inputs: {a: T0}, steps: [{id: a, use: x}]}}", most=20,
    ),
    "a chain of 2,400 types": lambda: counted(
        TYPES, lambda n: f"  T{n}: list of T{n + 1}\n", SMALL, most=2_400
    ),
    "a circle of 2,000 types": lambda: counted(
        TYPES, lambda n: f"  T{n}: list of T{(n + 1) % 2000}\n", SMALL, most=2_000
    ),
    "a chain of 1,100 workflows": lambda: counted(
        WORKFLOWS, lambda n: f"  w{n}: {{steps: [{{id: a, workflow: w{n + 1}}}]}}\n",
        "  w1100: {steps: [{id: a, use: x}]}\n", most=1_100,
    ),
    "1,100 workflows in a circle": lambda: counted(
        WORKFLOWS,
        lambda n: f"  w{n}: {{steps: [{{id: a, workflow: w{(n + 1) % 1100}}}]}}\n", most=1_100,
    ),
    "36 workflows, each of which runs all others": lambda: counted(
        "version: 1\nworkflows:\n",
        lambda n: f"  w{n}: {{steps: [{', '.join(f'{{id: a{m}, workflow: w{m}}}' for m in range(36))}]}}\n", most=36,
    ),
    "workflows that double, thirty deep": lambda: counted(
        "version: 1\nworkflows:\n",
        lambda n: f"  w{n}: {{steps: [{{id: a, workflow: w{n + 1}}}, {{id: b, workflow: w{n + 1}}}]}}\n",
        "  w30: {steps: [{id: a, use: x}]}\n", most=30,
    ),
    "one list of 100,000 wrong values": lambda: filled("version: 1\nworkflows: {w: {guardrails: [", "1, ", "]}}"),
    "9,900 wrong values": lambda: filled("version: 1\nworkflows: {w: {steps: [", "1, ", "]}}", size=29_800),
    "4,900 fields of a wrong type": lambda: counted(
        "version: 1\ntypes: {T: {type: object, fields: {", lambda n: f"f{n}: 1, ", "}}}", most=4_900
    ),
    "a mapping with a million control characters": lambda: "a: " + "\x07" * (SIZE - 3),
    "emoji": lambda: "version: " + "😀" * (SIZE // 4 - 10),
    "a long template": lambda: HEAD + STEP + "'" + "x" * (SIZE - 200) + "${{ 1 }}'}}\n",
    "a template of 300 lines with a mistake in each": lambda: counted(
        HEAD + "    - id: s\n      use: x\n      with:\n        p: |\n",
        lambda n: f"          {'x' * 3000} ${{{{ steps.t{n}.ok }}}}\n", most=300,
    ),
}  # fmt: skip


def answer(text: str, registry: object) -> tuple[float, int]:
    """Return the CPU seconds until the file was answered, and the number of its mistakes."""
    begin = time.process_time()
    try:
        load_workflow_text(text, registry, worlds={"tabletop"}, secrets={})  # type: ignore[arg-type]
        mistakes = 0
    except AgentflowError as error:
        mistakes = len(getattr(error, "problems", [error]))
    return time.process_time() - begin, mistakes


def main(names: list[str]) -> None:
    registry, _ = load_components(ROOT)
    root = (ROOT / "workflows.yaml").read_text(encoding="utf-8")
    answer(root, registry)
    seconds = {"the root file": min(answer(root, registry)[0] for _ in range(5))}
    shapes = {name: make for name, make in SHAPES.items() if not names or name in names}
    for name, make in shapes.items():
        text = make()
        answer("version: 1\n", registry)
        seconds[name], mistakes = answer(text, registry)
        if names:
            print(name, len(text.encode()), mistakes, file=sys.stderr)
    slowest = max(seconds, key=lambda name: seconds[name])
    rounded = {name: round(taken, 4) for name, taken in sorted(seconds.items(), key=lambda item: -item[1])}
    print(
        json.dumps(
            {"shapes": len(shapes), "slowest": slowest, "slowest_cpu_s": rounded[slowest], "cpu_s": rounded},
            indent=1,
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
