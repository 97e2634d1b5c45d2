from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agentflow.workflow.json_schema import build_schema, main, schema_text
from agentflow.workflow.loader import load_workflow_text

ROOT = Path(__file__).parents[2]


def check(schema: Path, document: Any, tmp_path: Path) -> bool:
    file = tmp_path / "document.json"
    file.write_text(json.dumps(document))
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(schema), str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_committed_schema_is_fresh() -> None:
    path = ROOT / "schemas" / "workflows.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), "run: python -m agentflow.workflow.json_schema"


def test_a_stale_schema_is_told_and_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "schema.json"
    assert main(["--check", str(path)]) == 1
    assert "is stale" in capsys.readouterr().err
    assert main([str(path)]) == 0
    assert main(["--check", str(path)]) == 0


def test_every_key_is_described_with_an_example() -> None:
    schema = build_schema()
    forms = {"the file": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, form in forms.items()
        for key, value in form.get("properties", {}).items()
        if not value.get("description") or not value.get("examples")
    ]
    assert bare == []


def test_every_example_fits_the_key_that_it_explains() -> None:
    schema = build_schema()
    wrong = []
    for name, form in {"the file": schema, **schema["$defs"]}.items():
        for key, value in form.get("properties", {}).items():
            own = jsonschema.Draft202012Validator({**value, "$defs": schema["$defs"]})
            wrong += [
                f"{name}.{key}: {example}" for example in value["examples"] if not own.is_valid(example)
            ]
    assert wrong == []


def test_the_schema_takes_the_design_and_refuses_what_the_loader_refuses(
    design_text: str, tmp_path: Path
) -> None:
    path = tmp_path / "schema.json"
    main([str(path)])
    design = yaml.safe_load(design_text)
    assert check(path, design, tmp_path)
    for step in (
        {"id": "a"},
        {"id": "a", "use": "t", "approval": {"message": "ok"}},
        {"id": "a", "foreach": {"in": "x"}},
        {"id": "a", "foreach": {"in": "x"}, "approval": {"message": "ok"}},
        {"id": "a", "use": "t", "output": {"type": "text"}},
        {"id": "a", "use": "t", "timeout": "15min"},
        {"id": "a-b", "use": "t"},
        {"id": "a", "use": "t", "unknown": 1},
        {"id": "a", "use": "t", "budget": {"tokens": -1}},
    ):
        wrong = {"version": 1, "workflows": {"w": {"steps": [step]}}}
        assert not check(path, wrong, tmp_path), step


def test_the_schema_takes_what_the_loader_takes_of_types_defaults_and_outputs(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    main([str(path)])
    file = {
        "version": 1,
        "types": {
            "Body": {"type": "object", "fields": {"name": "string", "place": {"type": "list of number"}}},
            "Scene": {
                "type": "object",
                "fields": {"bodies": {"type": "array", "items": "Body"}},
                "values": "any",
            },
        },
        "defaults": {"retry": {"attempts": 2}, "timeout": 30, "max_parallel": 4, "on_error": "collect"},
        "workflows": {
            "w": {
                "inputs": {"scene": "Scene", "n": {"type": "integer", "optional": True}},
                "steps": [
                    {"id": "a", "use": "t", "output": "Scene", "timeout": "1m30s"},
                    {"id": "b", "approval": {"message": "ok", "answers": {"fps": "integer"}}},
                    {"id": "c", "foreach": {"in": "[1]"}, "workflow": "v"},
                ],
                "outputs": {
                    "x": 1,
                    "y": {"value": "${{ run.id }}", "type": "string"},
                    "z": {"value": 1, "of": 2},
                },
            },
            "v": {"steps": [{"id": "a", "use": "t"}]},
        },
    }
    load_workflow_text(json.dumps(file))
    assert check(path, file, tmp_path)
