"""How long a hostile expression can hold the process, how many are refused, and what ordinary ones cost.

    python benchmarks/expressions.py [--hostile 5000] [--seed 1] [--slow 5]

Hostile expressions come from a grammar that grows them towards what costs most: comprehensions inside one another,
texts and lists that double, deep operators, patterns, equality of large maps, all over values of random kinds and
sizes. Each is compiled and evaluated once (every tenth brings new values), timed by the CPU time of the process.
Prints JSON: the worst seconds of compiling and of evaluating, the share refused, and the median time of ordinary
expressions and of comprehensions over 64, 1,000 and 10,000 records. ``--slow N`` also prints the N slowest.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentflow.core.errors import AgentflowError
from agentflow.workflow.cel_cost import MAX_WORK_NS
from agentflow.workflow.expressions import Expr, compile_value, parse_expr

ORDINARY = {
    "inputs.value": "inputs.value",
    "deep_path": "steps.rank.output.items[0].cost",
    "comparison": "inputs.n > 2 && inputs.goal == 'left'",
    "exists_of_64": "steps.rank.output.items.exists(c, c.cost < 0.0)",
    "filter_and_map_of_64": "steps.rank.output.items.filter(c, c.cost < 5.0).map(c, c.id)",
}
LOOPS = [
    "items.filter(r, r.ok)",
    "items.filter(r, r.cost < 500.0)",
    "items.filter(r, r.ok && r.cost < 500.0).size()",
    "items.map(r, {'name': r.name, 'cost': r.cost})",
    "items.exists(r, r.cost < 0.0)",
]
_ITEMS = [{"cost": float(n), "name": "abc", "id": n} for n in range(64)]
SCOPE = {
    "inputs": {"value": "hello", "n": 3, "goal": "left"},
    "steps": {"rank": {"output": {"items": _ITEMS}}},
}
PATTERNS = [
    "^a+$",
    "(a|aa)+b",
    r"\\w+\\d",
    "(x+x+)+y",
    r"[a-z]{30}",
    r"(\\w{5}){5}",
    "(?i)é.*ß",
    r"\\pL{9}",
    ".*.*.*=.*",
]


@dataclass
class Hostile:
    """A grower of expressions. ``bound`` are the names of the comprehensions around."""

    random: random.Random
    bound: list[str] = field(default_factory=list)
    size: int = 0

    def grow(self, depth: int) -> str:
        """Return an expression of some kind, about ``depth`` deep."""
        self.size += 1
        if depth <= 0 or self.size > 120:
            return self.leaf()
        return self.random.choice(self.rules())(depth - 1)

    def rules(self) -> list[Callable[[int], str]]:
        rules = [
            self.comprehension,
            self.chain,
            self.doubled,
            self.called,
            self.compared,
            self.built,
            self.chosen,
        ]
        return rules + [self.comprehension, self.doubled] * 2

    def leaf(self) -> str:
        fixed = [
            "1",
            "2.5",
            "'x'",
            "null",
            "true",
            "''",
            "[]",
            "{}",
            "inputs",
            "'" + "y" * self.random.randint(1, 60) + "'",
        ]
        places = ["l", "f", "t", "d", "n", "m", "s", "e", "i", "k"]
        return self.random.choice(
            [*self.bound * 3, *[f"inputs.{name}" for name in places] * 2, self.random.choice(fixed)]
        )

    def comprehension(self, depth: int) -> str:
        over = self.grow(depth) if self.random.random() < 0.5 else self.leaf()
        name = f"x{len(self.bound)}"
        macro = self.random.choice(["map", "map", "filter", "filter", "all", "exists", "exists_one"])
        self.bound.append(name)
        body = self.grow(depth)
        if macro != "map":
            body = self.random.choice(
                [f"{body} == {self.leaf()}", "true", f"size({body}) >= 0", f"!({body} != null)"]
            )
        self.bound.pop()
        return f"{over}.{macro}({name}, {body})"

    def chain(self, depth: int) -> str:
        sign = self.random.choice(["+", "&&", "||", "+", "==", "*", "in"])
        part = self.grow(depth // 2)
        return "(" + f" {sign} ".join([part] * self.random.randint(2, 12)) + ")"

    def doubled(self, depth: int) -> str:
        text = self.grow(depth)
        for _ in range(self.random.randint(1, 8)):
            text = f"[{text}].map(y, y + y)[0]" if self.random.random() < 0.5 else f"[{text}].map(y, [y, y])"
        return text

    def called(self, depth: int) -> str:
        one = self.grow(depth)
        names = ["size", "string", "int", "double", "bytes", "timestamp", "duration", "dyn", "type", "uint"]
        methods = ["contains", "startsWith", "endsWith", "size", "getHours", "getFullYear"]
        if self.random.random() < 0.3:
            return f"({one}).matches('{self.random.choice(PATTERNS)}')"
        if self.random.random() < 0.5:
            return f"{self.random.choice(names)}({one})"
        return f"({one}).{self.random.choice(methods)}({self.leaf()})"

    def compared(self, depth: int) -> str:
        one, other = self.grow(depth), self.grow(depth // 2)
        if self.random.random() < 0.4:
            other = one
        return f"({one} {self.random.choice(['==', '!=', 'in', '<', '>='])} {other})"

    def built(self, depth: int) -> str:
        parts = [self.grow(depth // 2) for _ in range(self.random.randint(1, 3))]
        if self.random.random() < 0.5:
            return "[" + ", ".join(parts) + "]"
        return "{" + ", ".join(f"'k{n}': {part}" for n, part in enumerate(parts)) + "}"

    def chosen(self, depth: int) -> str:
        one = self.grow(depth)
        return (
            f"({self.leaf()} == {self.leaf()} ? {one} : {one})" if self.random.random() < 0.3 else f"{one}.a"
        )


def hostile_scope(dice: random.Random) -> dict[str, Any]:
    """Return values of all kinds, each of a random size up to where conversion alone is refused."""

    def size(most: int = 20_000) -> int:
        return int(most ** dice.random())

    n = size(3_000)
    deep: Any = 1
    for _ in range(dice.randint(1, 60)):
        deep = [deep] if dice.random() < 0.5 else {"a": deep}
    return {
        "inputs": {
            "l": list(range(size())),
            "f": [0.5] * size(),
            "t": ["text" * size(50)] * size(3_000),
            "d": [{"a": 1, "b": "x" * size(200), "c": 2.0} for _ in range(n)],
            "n": [[[1, "z"]] * size(50)] * size(200),
            "m": {f"key{i}": i for i in range(size(10_000))},
            "s": "ab" * size(1_000_000),
            "e": deep,
            "i": dice.choice([0, 7, -1, 2**63 - 1]),
            "k": {"a": {"a": {"a": list(range(size(3_000)))}}},
        }
    }  # fmt: skip


def seconds(action: Callable[[], Any]) -> tuple[float, str]:
    """Return the CPU time of an action, and how it ended: ok, refused (too large) or failed."""
    begin = time.process_time()
    try:
        action()
    except AgentflowError as error:
        taken = time.process_time() - begin
        refused = any(
            word in str(error)
            for word in ("work of ", "more than ", "to hand over", "levels", "keys counted", "at most")
        )
        return taken, "refused" if refused else "failed"
    return time.process_time() - begin, "ok"


def attack(count: int, seed: int) -> dict[str, Any]:
    parse_expr("1 + 1")[0].evaluate({})  # type: ignore[union-attr]
    ends = {"invalid": 0, "refused": 0, "failed": 0, "ok": 0}
    compiling, evaluating, scope = [], [], {}
    for number in range(count):
        dice = random.Random(seed * 1_000_003 + number)
        text = Hostile(dice).grow(dice.randint(1, 7))[:2000]
        if number % 10 == 0:
            scope = hostile_scope(dice)
            gc.collect()
        begin = time.process_time()
        expr = parse_expr(text)[0]
        compiling.append((time.process_time() - begin, number, text))
        if expr is None:
            ends["invalid"] += 1
            continue
        taken, end = seconds(lambda expr=expr, scope=scope: expr.evaluate(scope))  # type: ignore[misc]
        ends[end] += 1
        evaluating.append((taken, number, f"{end}: {text}"))
    return {"ends": ends, "compiling": sorted(compiling)[::-1], "evaluating": sorted(evaluating)[::-1]}


def ordinary(repeats: int = 2000) -> dict[str, float]:
    """Return the median microseconds of ordinary expressions."""
    actions: dict[str, Callable[[], Any]] = {}
    for name, text in ORDINARY.items():
        expr = parse_expr(text)[0]
        if not isinstance(expr, Expr):
            raise SystemExit(f"not an expression: {text}")
        actions[name] = lambda expr=expr: expr.evaluate(SCOPE)  # type: ignore[misc]
    filled = compile_value({"value": "${{ inputs.value }}", "text": "n is ${{ inputs.n }}", "fixed": [1, 2]})
    actions["compiled_value"] = lambda: filled(SCOPE)
    figures = {}
    for name, action in actions.items():
        action()
        times = []
        for _ in range(repeats):
            begin = time.perf_counter_ns()
            action()
            times.append(time.perf_counter_ns() - begin)
        figures[name] = round(statistics.median(times) / 1e3, 2)
    return figures


def loops(repeats: int = 9) -> dict[str, dict[str, float | str]]:
    """Return the median milliseconds of comprehensions over so many records, or why they are refused."""
    figures: dict[str, dict[str, float | str]] = {}
    for text in LOOPS:
        expr = parse_expr(text)[0]
        figures[text] = {}
        for count in (64, 1_000, 10_000):
            scope = {
                "items": [{"cost": float(n), "name": f"name {n}", "ok": n % 2 == 0} for n in range(count)]
            }
            times, end = [], "ok"
            for _ in range(repeats):
                taken, end = seconds(lambda expr=expr, scope=scope: expr.evaluate(scope))  # type: ignore[misc,union-attr]
                times.append(taken)
            figures[text][str(count)] = round(statistics.median(times) * 1e3, 3) if end == "ok" else end
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hostile", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slow", type=int, default=0)
    options = parser.parse_args()
    gc.disable()
    found = attack(options.hostile, options.seed)
    for kind in ("compiling", "evaluating"):
        for taken, number, text in found[kind][: options.slow]:
            print(f"{kind} {taken * 1e3:.1f} ms, number {number}: {text[:300]}", file=sys.stderr)
    share = found["ends"]["refused"] / max(sum(found["ends"].values()) - found["ends"]["invalid"], 1)
    print(
        json.dumps(
            {
                "hostile": options.hostile,
                "seed": options.seed,
                "worst_seconds": round(found["evaluating"][0][0], 4),
                "worst_compile_seconds": round(found["compiling"][0][0], 4),
                "bound_seconds": MAX_WORK_NS / 1e9,
                "allowed_seconds": 0.05,
                "refused_share": round(share, 3),
                "ends": found["ends"],
                "ordinary_median_us": ordinary(),
                "loops_median_ms": loops(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
