"""``world``: the list, a card, a short training, and what cannot be done."""

from __future__ import annotations

import json

CARD = {
    "name": "tabletop",
    "kind": "learned",
    "admitted": False,
    "below_its_aims": [
        "median error at 10 steps 3.5 cm > 1.2 cm",
        "coverage at 1 steps 84.4%, not 88 to 92 %",
    ],
    "state": [["tip.x", "m", -0.5, 0.5], ["tip.y", "m", -0.5, 0.5]],
    "training": {"losses": [[float(n), 1, 0.5] for n in range(50)]},
    "evaluation": {
        "by_horizon": {
            "1": {"median": {"model": 0.1, "still": 2.4}, "blocks": 3600},
            "25": {"median": {"model": 0.58, "still": 13.7}, "blocks": 3600},
        },
        "planning": {"model": {"rate": 0.97, "interval95": [0.915, 0.99]}, "random": {"rate": 0.29}},
    },
}


def test_worlds_are_listed_without_opening_them(agentflow):
    said = agentflow("world", "list")
    assert said.code == 0
    assert any(line.startswith("tabletop") for line in said.out.splitlines())
    assert [world["name"] for world in json.loads(agentflow("world", "list", "--json").out)] == ["tabletop"]


def test_a_card_is_shown_whole_whatever_its_layout(agentflow, tmp_path):
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    said = agentflow("world", "card", "tabletop", "--weights", str(tmp_path))
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    for expected in (
        "admitted no",
        "below its aims median error at 10 steps 3.5 cm > 1.2 cm",
        "coverage at 1 steps 84.4%, not 88 to 92 %",
        "tip.x m -0.5 0.5",
        "median model 0.1 0.58",
        "model 0.97 [0.915, 0.99]",
    ):
        assert expected in lines
    assert lines.count("…") == 1  # of a long course of figures, the first and the last
    assert (
        json.loads(agentflow("world", "card", "tabletop", "--weights", str(tmp_path), "--json").out) == CARD
    )


def test_the_shipped_card_is_shown(agentflow):
    said = agentflow("world", "card", "tabletop")
    assert said.code == 0
    assert "weights sha256" in said.out


def test_a_card_that_is_missing_or_torn_is_one_message(agentflow, tmp_path):
    missing = agentflow("world", "card", "tabletop", "--weights", str(tmp_path))
    (tmp_path / "card.json").write_text("{")
    torn = agentflow("world", "card", "tabletop", "--weights", str(tmp_path))
    assert (missing.code, torn.code) == (2, 2)
    assert "world evaluate" in missing.err
    assert "world evaluate" in torn.err


def test_an_unknown_world_is_refused_by_every_command(agentflow):
    for command in ("card", "train", "evaluate"):
        said = agentflow("world", command, "tabletp")
        assert said.code == 2
        assert "unknown world 'tabletp'. Did you mean 'tabletop'?" in said.err


def test_weights_that_are_not_there_cannot_be_evaluated(agentflow, tmp_path):
    said = agentflow("world", "evaluate", "tabletop", "--weights", str(tmp_path / "none"))
    assert said.code == 2
    assert "weights" in said.err


def test_a_short_training_says_where_the_weights_are_and_what_to_do_with_them(agentflow, tmp_path):
    out = tmp_path / "weights"
    said = agentflow(
        "world",
        "train",
        "tabletop",
        "--minutes",
        "0.02",
        "--episodes",
        "20",
        "--threads",
        "1",
        "--out",
        str(out),
    )
    assert said.code == 0
    assert (out / "tabletop.safetensors").exists()
    assert f"agentflow world evaluate tabletop --weights {out}" in said.out
    assert "recording episodes" in said.err
