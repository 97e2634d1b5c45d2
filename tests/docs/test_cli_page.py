"""The page about the command line names every command and exit code, and every option it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentflow.cli.exits import EXIT_CODES
from agentflow.cli.main import run

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def said_by_help(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert run([*command, "--help"]) == 0
    return capsys.readouterr().out


def commands(capsys: pytest.CaptureFixture[str]) -> set[str]:
    helped = said_by_help(capsys)
    return set(re.findall(r"^│ ([a-z]+) {2,}", helped, re.M)) - {"--version"}


def test_every_command_stands_on_the_page_and_no_other(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    named = set(re.findall(r"^\| `agentflow ([a-z]+)", PAGE, re.M))
    assert named == commands(capsys)
    assert len(named) > 10


def test_the_exit_codes_are_those_of_the_program():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.M)
    assert {int(code): text.replace("\\|", "|") for code, text in rows} == EXIT_CODES


def test_every_option_that_the_page_gives_a_command_is_one_of_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    seen = 0
    for row in re.findall(r"^\| `agentflow ([^`]*)`", PAGE, re.M):
        command, *rest = row.split()
        helped = said_by_help(capsys, command)
        for option in re.findall(r"--[a-z-]+", " ".join(rest)):
            assert f"{option} " in helped, (command, option)
            seen += 1
    assert seen > 10


def test_help_fits_a_terminal_of_80_columns_and_each_command_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in sorted(commands(capsys)):
        assert max(map(len, said_by_help(capsys, command).splitlines())) <= 80, command
    listed = [line for line in said_by_help(capsys).splitlines() if line.startswith("│            ")]
    assert [line for line in listed if "anywhere" not in line] == []
