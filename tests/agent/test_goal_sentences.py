"""The grammar of goal sentences: what it understands, and what it says to everything else."""

from __future__ import annotations

import pytest

from agentflow.agent.goals import Goal, Place, Thing, parse
from agentflow.core.errors import GoalNotUnderstoodError, InvalidInputError

PLACE = Place(
    (
        Thing("red block", (0.1, 0.0), 0.085, synonyms=("square",)),
        Thing("blue block", (-0.2, 0.2), 0.098, synonyms=("bar",)),
        Thing("green disc", (0.2, 0.3), 0.06, synonyms=("disk",)),
        Thing("glass", (-0.3, -0.2), 0.04, movable=False, synonyms=("cup",)),
    ),
    0.5,
)


def goal(sentence: str) -> Goal:
    return parse(sentence, PLACE)


def test_a_sentence_becomes_a_whole_goal() -> None:
    sentence = "Push the red block 20 cm to the left, keep away from the blue block."
    assert goal(sentence) == Goal(
        sentence=sentence,
        body="red block",
        place=(-0.1, 0.0),
        start=(0.1, 0.0),
        relation="20 cm to the left",
        avoid=("blue block", "glass"),
    )


@pytest.mark.parametrize(
    ("sentence", "body", "place"),
    [
        ("push the red block 20 cm left", "red block", (-0.1, 0.0)),
        ("push the red block 20cm to the left", "red block", (-0.1, 0.0)),
        ("push red block by 20 cm to the left", "red block", (-0.1, 0.0)),
        ("push the red block left by 20 cm", "red block", (-0.1, 0.0)),
        ("push the red block to the left by 20 cm", "red block", (-0.1, 0.0)),
        ("Please push the red block 20 centimeters to the left!", "red block", (-0.1, 0.0)),
        ("Could you push the red block 20 cm to the left, please?", "red block", (-0.1, 0.0)),
        ("I want you to slide the square 200 mm to the left", "red block", (-0.1, 0.0)),
        ("nudge the red block twenty-five centimetres to the left", "red block", (-0.15, 0.0)),
        ("shove the red block twenty five cm left", "red block", (-0.15, 0.0)),
        ("push the red block half a metre to the left", "red block", (-0.4, 0.0)),
        ("push the red block a quarter of a meter to the left", "red block", (-0.15, 0.0)),
        ("push the red block 0.2 m right", "red block", (0.3, 0.0)),
        ("push the red block 2,5 cm right", "red block", (0.125, 0.0)),
        ("push the red block 2 inches right", "red block", (0.1508, 0.0)),
        ("push the red block 1 dm forward", "red block", (0.1, 0.1)),
        ("push the red block 10 cm away", "red block", (0.1, 0.1)),
        ("push the red block ten cm closer", "red block", (0.1, -0.1)),
        ("push the red block 10 cm back", "red block", (0.1, -0.1)),
        ("move the square to the center of the table", "red block", (0.0, 0.0)),
        ("put the disk to (0.1, -0.25)", "green disc", (0.1, -0.25)),
        ("bring the disc behind the red block", "green disc", (0.1, 0.165)),
        ("place the red block to the left of the green disc", "red block", (0.035, 0.3)),
    ],
)  # fmt: skip
def test_many_wordings_are_understood(sentence: str, body: str, place: tuple[float, float]) -> None:
    found = goal(sentence)
    assert (found.body, found.place) == (body, pytest.approx(place, abs=1e-4))


@pytest.mark.parametrize(
    ("tail", "avoid"),
    [
        ("", ("glass",)),
        (", keep away from the glass", ("glass",)),
        (" and keep clear of the blue block", ("blue block", "glass")),
        (" while avoiding the bar", ("blue block", "glass")),
        (", without touching the cup or the disk", ("glass", "green disc")),
        (", don't touch the blue block and the green disc", ("blue block", "green disc", "glass")),
        (" but stay away from the blue block, the glass", ("blue block", "glass")),
    ],
)
def test_what_is_to_be_avoided_may_be_said_in_many_ways_and_the_glass_always_is(
    tail: str, avoid: tuple[str, ...]
) -> None:
    assert goal(f"push the red block 10 cm right{tail}").avoid == avoid


def test_beside_something_is_a_free_place_on_the_table() -> None:
    import math

    found = goal("move the green disc next to the blue block")
    blue = PLACE.things[1]
    assert math.dist(found.place, blue.at) == pytest.approx(0.06 + 0.098 + 0.02, abs=1e-3)
    for thing in PLACE.things:
        if thing.name not in ("green disc", "blue block"):
            assert math.dist(found.place, thing.at) > thing.reach + 0.06


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("", "it does not begin like 'push the red block …'."),
        ("make me a sandwich", "it does not begin like 'push the red block …'."),
        ("the red block 20 cm to the left", "it does not begin like 'push the red block …'."),
        ("push the red block", "it does not say where to."),
        ("push the red block to the left", "'to the left' does not say how far."),
        ("push the red block left", "'left' does not say how far."),
        ("push the red block 20 cm", "'20 cm' names no place."),
        ("push the red block 20 to the left", "'20 to the left' names no place."),
        ("push the red block 20 furlongs left", "'20 furlongs left' names no place."),
        ("push the red block -20 cm to the left", "'-20 cm to the left' names no place."),
        ("push the red block 20 cm to the left quickly", "'20 cm to the left quickly' names no place."),
        (
            "push the red block 10 cm left and the blue block 10 cm right",
            "'10 cm left and the blue block 10 cm right' names no place.",
        ),
        ("push the red block to the kitchen", "'to the kitchen' names no place."),
        ("push the red block to (nan, 0)", "'to (nan, 0)' names no place."),
        (
            "push it 10 cm left",
            "there is no 'it' on the table. There are: red block, blue block, green disc, glass.",
        ),
        (
            "push the purple block 10 cm left",
            "there is no 'purple block' on the table. Did you mean 'red block'? "
            "There are: red block, blue block, green disc, glass.",
        ),
        ("push the block 10 cm left", "'block' may be red block or blue block: say which."),
        (
            "push the red block 10 cm left, keep away from the vase",
            "there is no 'vase' on the table. There are: red block, blue block, green disc, glass.",
        ),
        ("push the red block next to the red block", "the red block cannot be next to itself."),
        ("push the red block 10 cm left, avoid the red block", "'red block' cannot be pushed and avoided."),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_never_guessed(sentence: str, reason: str) -> None:
    with pytest.raises(GoalNotUnderstoodError) as caught:
        goal(sentence)
    assert caught.value.reason == reason
    assert str(caught.value).startswith(
        f"the goal {sentence!r} was not understood: {reason} Understood are: "
    )
    assert "configure a language model under `models:`" in str(caught.value)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        (
            "push the glass 10 cm left",
            "goal: found 'glass', which must not be touched; allowed: one of red block, blue block, green disc.",
        ),
        (
            "push the red block 2 m to the right",
            "goal: found a place for the red block at (2.10, 0.00) m, off the table or on its rim; "
            "allowed: x and y from -0.41 to 0.41 m; it stands at (0.10, 0.00).",
        ),
        (
            "push the red block to (-0.3, -0.2)",
            "goal: found a place at (-0.30, -0.20) m, which the glass takes; allowed: a free place.",
        ),
    ],
)
def test_a_goal_that_cannot_be_is_refused_with_what_could(sentence: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        goal(sentence)
    assert str(caught.value) == message
