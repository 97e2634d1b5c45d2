"""The throw-away project."""

from __future__ import annotations

from pathlib import Path

from agentflow.testing import Bench, assert_status


def test_a_project_is_a_few_texts_and_what_its_tools_did(tmp_path: Path) -> None:
    with Bench(tmp_path / "deep" / "project") as bench:
        bench.write(
            '- {id: one, use: t.say, with: {text: "${{ inputs.text }}"}}',
            head="inputs: {text: {type: string}}\noutputs: {said: '${{ steps.one.output }}'}",
            tools="""
            @tool(estimate=fine)
            def say(text: str) -> str:
                note(text)
                return text.upper()
            """,
        )
        assert bench.calls == []
        result = bench.run(text="hi")
        assert_status(result, "succeeded", one="ok")
        assert (result.outputs, bench.calls) == ({"said": "HI"}, ["hi"])
        assert bench.flow is bench.opened[0]
    assert bench.opened == []


def test_modules_may_have_names_of_their_own(tmp_path: Path) -> None:
    tool = '\n@tool(estimate=fine)\ndef who() -> str:\n    note(__name__.rpartition(".")[2])\n    return ""\n'
    with Bench(tmp_path) as bench:
        bench.write(
            "- {id: one, use: first.who}\n- {id: two, use: second.who}", tools={"first": tool, "second": tool}
        )
        assert_status(bench.run(), "succeeded")
        assert bench.calls == ["first", "second"]
