"""Goal sentences: a small grammar that understands a sentence whole, or says that it does not. It never guesses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agentflow.core.errors import GoalNotUnderstoodError, InvalidInputError, nearest

UNDERSTOOD = (
    "'push the <thing> <distance> to the left | right | forward | back', "
    "'move the <thing> next to | to the left of | to the right of | in front of | behind the <thing>', "
    "'push the <thing> to the centre' or 'to (x, y)' in metres; then ', keep away from the <thing>' or "
    "', without touching the <thing>'."
)
_VERBS = "push|move|slide|shift|nudge|bring|put|place|shove"
_POLITE = r"(?:please,? |kindly |(?:can|could|would|will) you (?:please )?|i (?:want|would like) you to )?"
_HEAD = rf"{_POLITE}(?:{_VERBS}) (?:the )?"
_ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
_NUMBER_WORDS: dict[str, float] = {
    **{word: index + 1 for index, word in enumerate(_ONES)},
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, **_TENS,
    **{f"{ten}{gap}{one}": value + index + 1 for ten, value in _TENS.items() for gap in "- "
       for index, one in enumerate(_ONES)},
    "half a": 0.5, "a quarter of a": 0.25, "a": 1, "an": 1,
}  # fmt: skip
_UNITS = {
    "mm": 0.001, "millimetres": 0.001, "millimetre": 0.001, "cm": 0.01, "cms": 0.01, "centimetres": 0.01,
    "centimetre": 0.01, "dm": 0.1, "decimetres": 0.1, "decimetre": 0.1, "m": 1.0, "metres": 1.0, "metre": 1.0,
    "inches": 0.0254, "inch": 0.0254,
}  # fmt: skip
_DIRECTIONS = {
    "left": (-1.0, 0.0), "right": (1.0, 0.0), "forward": (0.0, 1.0), "forwards": (0.0, 1.0), "away": (0.0, 1.0),
    "up": (0.0, 1.0), "back": (0.0, -1.0), "backward": (0.0, -1.0), "backwards": (0.0, -1.0), "down": (0.0, -1.0),
    "closer": (0.0, -1.0),
}  # fmt: skip
_SIDES = {
    "next to": None, "beside": None, "close to": None, "near": None, "by": None,
    "to the left of": (-1.0, 0.0), "left of": (-1.0, 0.0), "to the right of": (1.0, 0.0), "right of": (1.0, 0.0),
    "behind": (0.0, 1.0), "in front of": (0.0, -1.0), "above": (0.0, 1.0), "below": (0.0, -1.0),
}  # fmt: skip
_GAP_M = 0.02


class Goal(BaseModel):
    """What is to be reached: ``body``'s centre at ``place`` (m), without touching what is in ``avoid``."""

    model_config = ConfigDict(frozen=True)

    sentence: str
    body: str
    place: tuple[float, float]
    start: tuple[float, float]
    relation: str
    avoid: tuple[str, ...] = ()
    tolerance_m: float = Field(default=0.02, gt=0)

    @property
    def distance_m(self) -> float:
        """How far the body has to go (m)."""
        return math.dist(self.start, self.place)


@dataclass(frozen=True)
class Thing:
    """A thing that a sentence may name: where it is, how far it reaches, whether it may be pushed."""

    name: str
    at: tuple[float, float]
    reach: float
    movable: bool = True
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """The room in which goals lie: ``half`` its half side (m)."""

    things: tuple[Thing, ...]
    half: float

    def find(self, words: str, sentence: str) -> Thing:
        """Return the thing that ``words`` name.

        Raises:
            GoalNotUnderstoodError: none, or more than one.
        """
        words = words.strip()
        exact = [t for t in self.things if words in (t.name, *t.synonyms)]
        if len(exact) == 1:
            return exact[0]
        # "block" alone may mean two things
        partly = [t for t in self.things if any(words == part for part in t.name.split())]
        names = [t.name for t in self.things]
        if len(partly) == 1:
            return partly[0]
        if partly:
            reason = f"'{words}' may be {' or '.join(t.name for t in partly)}: say which."
        else:
            reason = (
                f"there is no '{words}' on the table.{nearest(words, names)} There are: {', '.join(names)}."
            )
        raise GoalNotUnderstoodError(sentence, reason, UNDERSTOOD)


def parse(sentence: str, place: Place) -> Goal:
    """Return the goal that a sentence names.

    Raises:
        GoalNotUnderstoodError: a word of it has no meaning here, or it has two.
        InvalidInputError: the goal is understood and cannot be: off the table, taken, not to be pushed.
    """
    text = _normal(sentence)
    if not re.match(rf"{_HEAD}\S", text):
        raise GoalNotUnderstoodError(sentence, "it does not begin like 'push the red block …'.", UNDERSTOOD)
    relation, avoid_text = _split_avoid(text)
    avoid = _avoided(avoid_text, place, sentence)
    body, words = _body_and_relation(relation, place, sentence)
    if not body.movable:
        raise InvalidInputError(
            "goal", f"'{body.name}', which must not be touched",
            f"one of {', '.join(t.name for t in place.things if t.movable)}",
        )  # fmt: skip
    target = _target(words, body, place, sentence)
    always = tuple(t.name for t in place.things if not t.movable)
    names = tuple(dict.fromkeys((*avoid, *always)))
    if body.name in names:
        raise GoalNotUnderstoodError(sentence, f"'{body.name}' cannot be pushed and avoided.", UNDERSTOOD)
    goal = Goal(sentence=sentence, body=body.name, place=target, start=body.at, relation=words, avoid=names)
    check_place(goal, place)
    return goal


def _normal(sentence: str) -> str:
    """Return the sentence in lower case and one spelling, without what ends it."""
    text = re.sub(r"\s+", " ", sentence.strip().lower().replace("’", "'"))
    text = re.sub(r"(?:,? please)?[.!?]*$", "", text).strip()
    text = re.sub(r"\b(centi|milli|deci|)meter", r"\1metre", text)
    return re.sub(r"\bcenter\b", "centre", text)


def check_place(goal: Goal, place: Place) -> None:
    """Refuse a place off the table, or one that something else takes.

    Raises:
        InvalidInputError: says where, and what would do.
    """
    body = next(t for t in place.things if t.name == goal.body)
    limit = place.half - body.reach
    x, y = goal.place
    if abs(x) > limit or abs(y) > limit:
        raise InvalidInputError(
            "goal", f"a place for the {body.name} at ({x:.2f}, {y:.2f}) m, off the table or on its rim",
            f"x and y from {-limit:.2f} to {limit:.2f} m; it stands at ({body.at[0]:.2f}, {body.at[1]:.2f})",
        )  # fmt: skip
    for thing in place.things:
        if thing.name != body.name and math.dist(thing.at, goal.place) < 0.8 * (thing.reach + body.reach):
            raise InvalidInputError(
                "goal", f"a place at ({x:.2f}, {y:.2f}) m, which the {thing.name} takes", "a free place"
            )


_AVOID = re.compile(
    r"(?:,| and|,? but)?,? (?:(?:and |while )?(?:keep|stay)(?:ing)? (?:well )?(?:away|clear) (?:from|of)|"
    r"(?:while |and )?avoid(?:ing)?|without (?:touching|hitting)|(?:and )?(?:do not|don't) (?:touch|hit)) "
    r"(?P<what>[a-z ,]+)$"
)


def _split_avoid(text: str) -> tuple[str, str]:
    match = _AVOID.search(text)
    return (text, "") if match is None else (text[: match.start()].rstrip(" ,"), match["what"])


def _avoided(text: str, place: Place, sentence: str) -> tuple[str, ...]:
    parts = [part.strip() for part in re.split(r",| and | or ", text) if part.strip()]
    return tuple(place.find(re.sub(r"^the ", "", part), sentence).name for part in parts)


def _body_and_relation(text: str, place: Place, sentence: str) -> tuple[Thing, str]:
    """Split "push the red block 20 cm to the left" where the name of a thing ends."""
    head = re.match(_HEAD, text)
    if head is None:
        raise GoalNotUnderstoodError(sentence, "it does not begin like 'push the red block …'.", UNDERSTOOD)
    rest = text[head.end() :]
    where = (
        rf"[-+]?\d|\(|(?:to|{_either(_SIDES)}|{_either(_DIRECTIONS)})\b|(?:{_either(_NUMBER_WORDS)}) [a-z]+ "
    )
    cut = re.search(rf" (?={where})", rest)
    if cut is None:
        place.find(rest, sentence)
        raise GoalNotUnderstoodError(sentence, "it does not say where to.", UNDERSTOOD)
    return place.find(rest[: cut.start()], sentence), rest[cut.end() :].strip()


def _either(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_LENGTH = rf"(?:by )?(?P<n>\d+(?:[.,]\d+)?|{_either(_NUMBER_WORDS)}) ?(?P<unit>{_either(_UNITS)})"
_WAY = rf"(?:to the |towards the )?(?P<way>{_either(_DIRECTIONS)})"


def _target(words: str, body: Thing, place: Place, sentence: str) -> tuple[float, float]:
    moved = re.fullmatch(rf"{_LENGTH} {_WAY}", words) or re.fullmatch(rf"{_WAY},? {_LENGTH}", words)
    if moved:
        raw = moved["n"]
        number = _NUMBER_WORDS[raw] if raw in _NUMBER_WORDS else float(raw.replace(",", "."))
        length = number * _UNITS[moved["unit"]]
        way = _DIRECTIONS[moved["way"]]
        return (round(body.at[0] + length * way[0], 4), round(body.at[1] + length * way[1], 4))
    if re.fullmatch(_WAY, words):
        raise GoalNotUnderstoodError(sentence, f"'{words}' does not say how far.", UNDERSTOOD)
    spot = re.fullmatch(r"to \(? ?(?P<x>[-+]?\d+(?:\.\d+)?) ?m?, ?(?P<y>[-+]?\d+(?:\.\d+)?) ?m? ?\)?", words)
    if spot:
        return (float(spot["x"]), float(spot["y"]))
    if re.fullmatch(r"to the (?:centre|middle)(?: of the table)?", words):
        return (0.0, 0.0)
    beside = re.fullmatch(rf"(?P<side>{_either(_SIDES)}) (?:the )?(?P<what>[a-z ]+)", words)
    if beside:
        other, side = place.find(beside["what"], sentence), beside["side"]
        if other.name == body.name:
            raise GoalNotUnderstoodError(sentence, f"the {body.name} cannot be {side} itself.", UNDERSTOOD)
        return _beside(body, other, _SIDES[side], place)
    raise GoalNotUnderstoodError(sentence, f"'{words}' names no place.", UNDERSTOOD)


def _beside(body: Thing, other: Thing, side: tuple[float, float] | None, place: Place) -> tuple[float, float]:
    """Return the free place beside ``other``: on the side asked for, or on the one that is nearest."""
    away = body.reach + other.reach + _GAP_M
    angles = [2 * math.pi * k / 48 for k in range(48)]
    ways = [side] if side else [(math.cos(a), math.sin(a)) for a in angles]
    spots = [(other.at[0] + away * x, other.at[1] + away * y) for x, y in ways]
    limit = place.half - body.reach - 0.01
    free = [
        spot
        for spot in spots
        if max(abs(spot[0]), abs(spot[1])) <= limit
        and all(
            math.dist(spot, t.at) > t.reach + body.reach + 0.01
            for t in place.things
            if t.name not in (body.name, other.name)
        )
    ]
    chosen = min(free or spots, key=lambda spot: math.dist(spot, body.at))
    return (round(chosen[0], 4), round(chosen[1], 4))


def describe(goal: Goal) -> dict[str, Any]:
    """Return the goal as a world's ``task`` takes it."""
    return {"body": goal.body, "place": goal.place, "avoid": goal.avoid}
