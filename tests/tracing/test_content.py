"""What may enter a span: no secret, no media bytes, and no more text than a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentflow.core.amounts import Amounts
from agentflow.core.protocols import Completion, Message
from agentflow.core.records import GuardAction, GuardRecord, Score, ScoreRecord, VerdictType
from agentflow.tracing.read import read_trace
from agentflow.tracing.tracer import start_tracing


def test_secrets_and_media_bytes_enter_no_span_by_any_way(tmp_path: Path) -> None:
    secret = 'sk-"canary"/ä 1'  # noqa: S105 -- a canary
    tracer = start_tracing("run-1", tmp_path, secrets=[secret, ""], capture=True)
    url = "https://example.org/?key=sk-%22canary%22%2F%C3%A4%201"
    picture = "data:image/png;base64,iVBORw0KGgoCANARY=="

    def run() -> None:
        with (
            tracer.run(f"w {secret}", inputs={"key": secret, "nested": [secret], "raw": b"CANARY-BYTES"}),
            tracer.step(secret, kind="use", inputs=picture) as step,
        ):
            with tracer.chat(secret, provider="p", messages=[Message(role="user", content=secret)]) as chat:
                chat.completion(Completion(text=secret, usage=Amounts(tokens=1)))
            with tracer.guardrail(secret, hook="action") as guard:
                guard.verdict(
                    GuardRecord(
                        guardrail=secret,
                        hook="action",
                        step="s",
                        verdict=VerdictType.DENY,
                        action=GuardAction.BLOCK,
                        reason=f"saw {secret}",
                        status="error",
                    )
                )
            with tracer.evaluate(secret) as measured:
                measured.score(
                    ScoreRecord(scorer=secret, step="s", score=Score.unscored(secret)), label=secret
                )
            step.set({"url": url, "list": [secret], "dict": {secret: secret}})
            step.output(f"{picture} {secret}")
            raise ValueError(f"no answer from {url} with {secret}")

    with pytest.raises(ValueError, match="canary"):
        run()
    tracer.close()
    text = tracer.path.read_text()
    assert "canary" not in text.lower()
    assert "[image/png bytes]" in text
    assert "[12 bytes]" in text
    assert text.count("[secret]") > 12


def test_long_content_is_cut_after_the_secrets_are_out(tmp_path: Path) -> None:
    tracer = start_tracing("run-1", tmp_path, secrets=["canary-secret"], capture=True)
    with tracer.step("s", kind="use", inputs="x" * 8_190 + "canary-secret" + "y" * 100):
        pass
    tracer.close()
    value = read_trace(tracer.path).roots[0].attributes["input.value"]
    assert value == "x" * 8_190 + "[s" + "… [106 more characters]"


def test_a_secret_is_found_in_a_text_that_was_clean_before_and_after(tmp_path: Path) -> None:
    tracer = start_tracing("r", tmp_path, secrets=["canary"])
    for text in ("bird", "canary", "bird", "canary", "a canary in a text " + "x" * 100):
        with tracer.step("s", kind="use") as span:
            span.set({"text": text})
    tracer.close()
    said = [span.attributes["text"] for span in read_trace(tracer.path).walk()]
    assert said == ["bird", "[secret]", "bird", "[secret]", "a [secret] in a text " + "x" * 100]


def test_texts_are_cleaned_however_many_were_before(tmp_path: Path) -> None:
    tracer = start_tracing("r", tmp_path, secrets=["canary"])
    for number in range(3_000):
        with tracer.step(f"s{number}", kind="use") as span:
            span.set({"text": "canary"})
    tracer.close()
    spans = list(read_trace(tracer.path).walk())
    assert [span.attributes["graph.node.id"] for span in spans] == [f"s{number}" for number in range(3_000)]
    assert {span.attributes["text"] for span in spans} == {"[secret]"}
