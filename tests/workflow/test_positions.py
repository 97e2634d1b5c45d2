import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentflow.core.errors import WorkflowFileError
from agentflow.workflow.loader import load_workflow_text
from agentflow.workflow.positions import MAX_BYTES, parse_document, read_document


def mistakes(text: str) -> list[str]:
    with pytest.raises(WorkflowFileError) as caught:
        parse_document(text, "f")
    return [str(problem) for problem in caught.value.problems]


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    text = "a: no\nb: 12:30:00\nc: 1e3\nd: 010\ne: 0o10\nf: 0x1F\ng: True\nh: ~\ni: .5\nj: 2020-01-01\nk: '1'\nl:\n"
    assert parse_document(text, "f").root.data() == {
        "a": "no", "b": "12:30:00", "c": 1000.0, "d": 10, "e": 8, "f": 31, "g": True, "h": None, "i": 0.5,
        "j": "2020-01-01", "k": "1", "l": None,
    }  # fmt: skip


def test_every_value_and_key_has_its_line_and_column() -> None:
    document = parse_document("a: 1\nb:\n  - {c: é, d: [x, y]}\n", "f")
    assert document.position(("b", 0, "d", 1)) == (3, 19)
    assert document.position(("b", 0, "d"), key=True) == (3, 12)
    assert document.position(("b", 7, "nowhere")) == (3, 3)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("k: a ${{ Q }}\n", (1, 10)),
        ('k: "x \\"y\\" \\u00e9 ${{ Q }}"\n', (1, 24)),
        ("k: 'it''s ${{ Q }}'\n", (1, 15)),
        ("k: |\n   hello\n   there ${{ Q }}\n", (3, 14)),
        ("k: >-\n   fold\n   me ${{ Q }} up\n", (3, 11)),
        ("k: plain over\n   two ${{ Q }}\n", (2, 12)),
    ],
)
def test_a_place_inside_text_is_found_however_the_text_is_written(
    text: str, position: tuple[int, int]
) -> None:
    document = parse_document(text, "f")
    assert document.inside(("k",), str(document.node(("k",)).value).index("Q")) == position


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["f:1:1: the file is empty. Start it with 'version: 1'."]),
        ("a: 1\nb: 2\na: 3\n", ["f:3:1: the key 'a' stands here a second time; first on line 1."]),
        (
            "a: &x 1\nb: *x\n<<: 1\n",
            [
                "f:1:4: YAML anchors (&) are not taken. Remove the anchor, and write values out.",
                "f:2:4: YAML aliases (*) are not taken. Write the value out, or use an input.",
                "f:3:1: YAML merge keys (<<) are not taken. Write the values out.",
            ],
        ),
        ("a: !!python/none x\n", ["f:1:4: YAML tags (tag:yaml.org,2002:python/none) are not taken. "
                                  "Put text that starts with ! in quotes."]),
        ("a: 1\n---\nb: 2\n", ["f:2:1: a second YAML document starts here; a file holds one."]),
        ("1: a\n", ["f:1:1: a key must be text; found 1. Put it in quotes."]),
        ("a: .nan\nb: 1e999\n", ["f:1:4: found .nan; numbers must be finite.",
                                 "f:2:4: found 1e999; numbers must be finite."]),
        ("a: 9223372036854775808\n", ["f:1:4: found 9223372036854775808; whole numbers have at most 64 bits."]),
        ("[" * 40, ["f:1:33: nested deeper than 32 levels."]),
        ("[" + "a," * 30_000, ["f:1:20000: more than 10000 values; split the file."]),
        ("a: \x07\n", ["f:1:4: the character U+0007 is not allowed in YAML. Remove it."]),
        ("a: [1, 2\nb: 3\n", ["f:2:2: this is not YAML: the [ of line 1, column 4 is not closed with ], or a comma "
                              "is missing."]),
    ],
)  # fmt: skip
def test_yaml_that_is_not_taken_says_why_and_where(text: str, expected: list[str]) -> None:
    assert mistakes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x: ${{ a ? b : c }}\n", "f:1:4: quote this expression: YAML reads its ': ' as a mapping."),
        (
            "x: {a: ${{ b }}}\n",
            "f:1:8: quote this expression: inside { } or [ ], YAML reads its braces as a mapping.",
        ),
        (
            "x: [${{ b }}]\n",
            "f:1:5: quote this expression: inside { } or [ ], YAML reads its braces as a mapping.",
        ),
    ],
)
def test_an_unquoted_expression_that_yaml_takes_apart_is_to_be_quoted(text: str, expected: str) -> None:
    assert mistakes(text) == [expected + ' Write "${{ … }}".']


@pytest.mark.parametrize("value", ['"a" == b', "f(x, {'a': 1})", "%x"])
def test_a_bare_expression_that_yaml_takes_apart_is_to_be_quoted(value: str) -> None:
    assert mistakes(f"- if: {value}\n") == [
        "f:1:7: quote this expression: the value of 'if' starts or goes on in a way that YAML reads as its own. "
        "Write if: '…'."
    ]


def test_a_negation_that_yaml_reads_as_a_tag_is_to_be_quoted() -> None:
    assert mistakes("if: !steps.a.skipped\n") == [
        "f:1:5: a value that starts with ! is a YAML tag: quote this expression."
    ]


def test_all_unquoted_expressions_of_a_file_are_listed_and_block_text_is_left_alone() -> None:
    text = "k: [${{ b }}]\nz: |\n  ${{ a ? b : c }}\nq: ${{ d ? 1 : 2 }}\n"
    assert [line.split(": ")[0] for line in mistakes(text)] == ["f:1:5", "f:4:4"]


def test_a_file_that_cannot_be_read_is_one_clear_mistake(tmp_path: Path) -> None:
    def only(path: Path) -> str:
        with pytest.raises(WorkflowFileError) as caught:
            read_document(path)
        return str(caught.value.problems[0]).removeprefix(str(tmp_path))

    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: gr\xfcn\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    assert only(tmp_path / "none.yaml") == (
        "/none.yaml:1:1: there is no such file. Give the path of a workflow file, or of a folder with workflows.yaml."
    )
    assert only(tmp_path) == ":1:1: the file cannot be read: Is a directory."
    assert (
        only(tmp_path / "latin.yaml")
        == "/latin.yaml:2:6: the file is not UTF-8: found the byte 0xfc. Save it as UTF-8."
    )
    assert only(tmp_path / "large.yaml") == (
        "/large.yaml:1:1: the file is larger than 1000000 bytes; split it into several files."
    )


@contextmanager
def _bounded(cpu_seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {cpu_seconds} s of CPU")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


STEPS = "version: 1\nworkflows:\n  w:\n    steps:\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: " + "${{ a ? b : c }} " * 55_000, id="one line of traps"),
        pytest.param("a: [" + "${{ a }}, " * 90_000 + "]", id="one line of flow traps"),
        pytest.param("  x: ${{ a ? b : c }}\n" * 40_000, id="lines of traps"),
        pytest.param(STEPS + "- {id: a, use: x, with: {p: '" + "${{ " * 240_000 + "'}}", id="open holes"),
        pytest.param(STEPS + "- {id: a, use: x, with: {p: '" + "${{ 1 }}" * 110_000 + "'}}", id="holes"),
        pytest.param("version: 1\n" + "".join(f"k{i}: 1\n" for i in range(9000)), id="unknown keys"),
        pytest.param("&a " * 300_000, id="anchors"),
        pytest.param("? " * 480_000, id="depth"),
    ],
)
def test_a_bomb_is_refused_without_a_scan_that_grows_faster_than_its_size(text: str) -> None:
    with (
        pytest.raises(WorkflowFileError) as caught,
        _bounded(cpu_seconds=20),
    ):  # quadratic scans took 40 s and more
        load_workflow_text(text, secrets={})
    assert len(caught.value.problems) <= 101
