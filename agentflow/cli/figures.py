"""How figures, names and other people's text are written, on the screen and in the report alike."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentflow.core.amounts import UNLIMITED

BUDGET_LABELS = {
    "tokens": "tokens",
    "micro_usd": "USD",
    "gpu_ms": "GPU-seconds",
    "frames": "frames",
    "wall_ms": "wall-clock",
}
_BARS = "▁▂▃▄▅▆▇█"
_STRANGE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def plain(value: Any, limit: int = 2000) -> str:
    """Return text that can do nothing to a terminal: one line, without control or direction characters."""
    text = " ".join(str(value)[: 2 * limit].split())
    safe = "".join("�" if unicodedata.category(sign) in _STRANGE else sign for sign in text)
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"


def metres(value: float | None) -> str:
    """Return a length: centimetres below a metre."""
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{100 * value:.1f} cm" if abs(value) < 1 else f"{value:.2f} m"


def percent(share: float) -> str:
    """Return a share of one as a percentage."""
    return f"{100 * share:.0f} %" if not 0 < share < 0.01 else f"{100 * share:.1f} %"


def duration(milliseconds: float) -> str:
    """Return a span of time."""
    seconds = milliseconds / 1e3
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def amount(dimension: str, value: int) -> str:
    """Return an amount of a budget dimension in the unit that people use; ``no cap`` where it is unlimited."""
    if value >= UNLIMITED:
        return "no cap"
    if dimension == "micro_usd":
        return f"{value / 1e6:.4f}" if 0 < value < 10_000 else f"{value / 1e6:.2f}"
    if dimension == "gpu_ms":
        return f"{value / 1e3:.1f}"
    return duration(value) if dimension == "wall_ms" else f"{value:,}"


def counted(counts: Mapping[str, int]) -> str:
    """Return what was found how often: ``8 allow, 2 deny``; one kind alone without its number."""
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{number} {name}" for name, number in counts.items())


def number(value: Any) -> str:
    """Return a JSON value in a few signs."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.3e}"
    return plain(value, 200)


def compact(value: Any, limit: int = 300) -> str:
    """Return any JSON value on one line; a file or a rollout by its name."""
    if isinstance(value, Mapping) and "artifact" in value:
        return plain(value.get("name") or value.get("type") or "a file", limit)
    if isinstance(value, Mapping):
        shown = ", ".join(f"{plain(name, 60)} {compact(item, 80)}" for name, item in list(value.items())[:12])
        return plain(shown, limit)
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = ", ".join(compact(item, 40) for item in value[:6])
        return plain(f"[{items}{', …' if len(value) > 6 else ''}]", limit)
    return plain(number(value), limit)


def process(owner: str | None) -> str:
    """Return who has a run, as its record names it, in words."""
    host, number, _, _ = (*(owner or "").rsplit(":", 3), "", "", "", "")[:4]
    return f"process {plain(number, 20)} on {plain(host.partition('@')[0], 40)}" if number else "nobody"


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Return a curve from zero to its greatest value, in at most ``width`` bars."""
    known = [value if math.isfinite(value) else 0.0 for value in values]
    if not known or max(known) <= 0:
        return ""
    step = max(1.0, len(known) / width)
    picked = [known[min(len(known) - 1, int((i + 1) * step) - 1)] for i in range(min(width, len(known)))]
    top = max(picked) or 1.0
    return "".join(_BARS[min(7, int(8 * value / top))] for value in picked)


def short_path(path: Path) -> str:
    """Return a path from here where it lies below, else in full."""
    here = Path.cwd()
    try:
        return str(path.resolve().relative_to(here))
    except ValueError:
        return str(path)
