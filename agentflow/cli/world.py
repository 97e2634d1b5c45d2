"""``world list | card | train | evaluate``: the learned worlds, what they are worth, and how to make one."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from agentflow.cli.options import Json

WorldName = Annotated[str, typer.Argument(metavar="NAME", help="A world's name; see agentflow world list.")]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Of the simulator and of torch.")]
Weights = Annotated[
    Path | None, typer.Option(help="A folder that `world train` wrote; by default the shipped weights.")
]
_PLACE = "agentflow.worldmodel.worlds"
_EVALUATIONS = {"tabletop": "agentflow.evaluation.world_card"}


def list_worlds(as_json: Json = False) -> int:
    """List the worlds that are installed."""
    from agentflow.worldmodel import catalog

    rows = [_brief(name) for name in catalog.names()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    from rich.table import Table

    from agentflow.cli import screen
    from agentflow.cli.figures import plain

    table = Table(box=None, padding=(0, 2, 0, 0), header_style=screen.DIM)
    for name in ("world", "kind", "admitted", "weights", "actions", "entities"):
        table.add_column(name, overflow="fold")
    for row in rows:
        admitted = {True: screen.badge("ok", "yes"), False: screen.badge("deny", "no")}.get(
            row["admitted"], "not evaluated"
        )
        texts = (row["weights_sha256"][:12], row["actions"], row["entities"])
        table.add_row(plain(row["name"]), plain(row["kind"]), admitted, *map(plain, texts))
    screen.console().print(table)
    return 0


def card(name: WorldName, weights: Weights = None, as_json: Json = False) -> int:
    """Show a world's card: what it is, what it was trained on, how well it predicts and plans."""
    found = _card(name, weights)
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    from agentflow.cli import screen
    from agentflow.cli.card import show_card

    show_card(screen.console(), name, found)
    return 0


def train(
    name: WorldName,
    minutes: Annotated[float, typer.Option(min=0.01, max=10_000, help="Wall time of the fit.")] = 60.0,
    episodes: Annotated[int, typer.Option(min=10, max=10_000_000, help="Episodes to record.")] = 16_000,
    seed: Annotated[int, typer.Option(min=0, help="Of data, weights and windows.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Where the weights go. [default: weights/NAME]")] = None,
    threads: Threads = 2,
) -> int:
    """Train a world's model on episodes of its simulator."""
    training = _module(name, f"{_PLACE}.{name}.training", "trained")
    folder = out or Path("weights") / name
    with _progress() as say:
        report = training.run(
            folder, minutes=minutes, count=episodes, seed=seed, threads=threads, on_progress=say
        )
    print(f"weights: {folder}  (sha256 {str(report.get('weights_sha256', ''))[:12]})")
    print(f"evaluate them, and write their card: agentflow world evaluate {name} --weights {folder}")
    print(f"use them, in workflows.yaml: worlds: {{{name}: {{use: {name}, weights: {folder}}}}}")
    return 0


def evaluate(
    name: WorldName,
    weights: Weights = None,
    episodes: Annotated[int, typer.Option(min=10, help="Held-out episodes for each seed.")] = 400,
    scenes: Annotated[int, typer.Option(min=1, help="Planning scenes.")] = 100,
    threads: Threads = 2,
    out: Annotated[Path | None, typer.Option(help="Also write the card to this file.")] = None,
    as_json: Json = False,
) -> int:
    """Measure a world on what training never saw, and write its card.

    With --weights the card and the calibration are written beside them; the shipped weights are measured
    in a copy and stay as they are.
    """
    module = _module(name, _EVALUATIONS.get(name, ""), "evaluated")
    with _folder_to_write(name, weights) as folder, _progress(silent=as_json) as say:
        found = module.run(folder, episodes=episodes, scenes=scenes, threads=threads, on_progress=say)
        text = (folder / "card.json").read_text(encoding="utf-8")
    if out is not None:
        _write(out, text)
    if as_json:
        print(text)
        return 0
    from agentflow.cli import screen
    from agentflow.cli.card import show_card

    show_card(screen.console(), name, found)
    place = out if out is not None else None if weights is None else weights / "card.json"
    if place is not None:
        print(f"the card: {place}")
    return 0


@contextmanager
def _folder_to_write(name: str, weights: Path | None) -> Iterator[Path]:
    """Give the folder of the weights; the shipped ones as a copy, so that nothing breaks the installation."""
    if weights is not None:
        yield weights
        return
    with tempfile.TemporaryDirectory(prefix="agentflow-") as scratch:
        copy = Path(scratch) / name
        shutil.copytree(_shipped(name), copy)
        yield copy


def _write(path: Path, text: str) -> None:
    from agentflow.core.errors import StorageError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError("the card", str(path), error) from error


def _known(name: str) -> None:
    from agentflow.core.errors import UnknownNameError
    from agentflow.worldmodel import catalog

    if name not in catalog.names():
        raise UnknownNameError("world", name, catalog.names())


def _module(name: str, module: str, done: str) -> Any:
    """Import what trains or evaluates a world.

    Raises:
        UnknownNameError: there is no such world.
        UnsupportedCallError: this world cannot be trained or evaluated here.
        MissingExtraError: torch or the simulator is not installed.
    """
    from agentflow.core.errors import MissingExtraError, UnsupportedCallError

    _known(name)
    try:
        if not module or find_spec(module) is None:
            raise UnsupportedCallError(name, f"being {done} by this command", ["card"])
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("agentflow"):
            raise UnsupportedCallError(name, f"being {done} by this command", ["card"]) from error
        raise MissingExtraError(f"the world '{name}'", "worlds", error.name or "torch") from error


def _shipped(name: str) -> Path:
    """Return where the weights of a world in the box lie; nothing heavy is loaded for it."""
    found = find_spec(f"{_PLACE}.{name}")
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) / "weights" if places else Path("(none)")


def _card(name: str, weights: Path | None) -> dict[str, Any]:
    from agentflow.core.errors import WeightsError
    from agentflow.worldmodel import catalog

    _known(name)
    path = (weights or _shipped(name)) / "card.json"
    if weights is None and not path.exists():  # a world of another distribution says itself what it is
        return dict(catalog.open_world(name).card())
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(str(path), str(error), "a card that `agentflow world evaluate` wrote") from error
    if not isinstance(found, Mapping):
        raise WeightsError(str(path), type(found).__name__, "a JSON object")
    return dict(found)


def _brief(name: str) -> dict[str, Any]:
    """Return a world's line in the list; one whose card cannot be read is listed all the same."""
    from agentflow.core.errors import AgentflowError

    try:
        found = _card(name, None)
    except AgentflowError:
        found = {}
    actions = found.get("actions") or ()
    return {
        "name": name,
        "kind": str(found.get("kind", "unknown")),
        "admitted": found.get("admitted"),
        "weights_sha256": str(found.get("weights_sha256", "")),
        "actions": ", ".join(str(axis[0]) for axis in actions if axis),
        "entities": ", ".join(str(one) for one in found.get("entities", ())),
    }


@contextmanager
def _progress(*, silent: bool = False) -> Iterator[Callable[[str, int, int], None] | None]:
    """Give what a long job tells its progress to: one bar a task in a terminal, lines by tenths elsewhere."""
    from agentflow.cli import screen

    target = screen.console(stderr=True)
    if silent:
        yield None
    elif target.is_terminal:
        with _bars(target) as say:
            yield say
    else:
        yield _lines(target)


def _lines(target: Any) -> Callable[[str, int, int], None]:
    seen: dict[str, int] = {}

    def say(text: str, done: int, total: int) -> None:
        task, tenth = text.partition(",")[0], 10 * done // total if total else 0
        if seen.get(task) != tenth:
            seen[task] = tenth
            target.print(f"{text} ({done}/{total})", soft_wrap=True)

    return say


@contextmanager
def _bars(target: Any) -> Iterator[Callable[[str, int, int], None]]:
    from rich import progress as bars

    columns = (
        bars.SpinnerColumn(), bars.TextColumn("{task.description}"), bars.BarColumn(20),
        bars.TextColumn("{task.percentage:.0f} %"), bars.TimeElapsedColumn(), bars.TimeRemainingColumn(),
    )  # fmt: skip
    tasks: dict[str, Any] = {}
    with bars.Progress(*columns, console=target) as progress:

        def say(text: str, done: int, total: int) -> None:
            task = text.partition(",")[0]
            if task not in tasks:
                for before in tasks.values():
                    progress.stop_task(before)
                tasks[task] = progress.add_task(text, total=total)
            progress.update(tasks[task], description=text, completed=done, total=total)

        yield say
