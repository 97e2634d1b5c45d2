"""Export over real HTTP on loopback: a collector that answers, one that never does, and none at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from agentflow.core.amounts import Amounts
from agentflow.core.errors import BudgetExceededError
from agentflow.core.protocols import Completion
from agentflow.core.records import (
    Envelope,
    GuardAction,
    GuardRecord,
    Score,
    ScoreRecord,
    StepStatus,
    VerdictType,
)
from agentflow.tracing.export import Exporters
from agentflow.tracing.read import read_trace
from agentflow.tracing.tracer import start_tracing


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for signal in ("", "_TRACES", "_LOGS", "_METRICS"):
        for setting in ("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL"):
            monkeypatch.delenv(f"OTEL_EXPORTER_OTLP{signal}_{setting}", raising=False)
    for name in (
        "OTEL_TRACES_EXPORTER",
        "OTEL_LOGS_EXPORTER",
        "OTEL_METRICS_EXPORTER",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SDK_DISABLED",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    ):
        monkeypatch.delenv(name, raising=False)


class Collector(ThreadingHTTPServer):
    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.received: list[tuple[str, bytes, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[object]:
        found = []
        for path, body, _ in self.received:
            if path == "/v1/traces":
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    found += [span for scope in group.scope_spans for span in scope.spans]
        return found

    def events(self) -> list[object]:
        found = []
        for path, body, _ in self.received:
            if path == "/v1/logs":
                for group in ExportLogsServiceRequest.FromString(body).resource_logs:
                    found += [record for scope in group.scope_logs for record in scope.log_records]
        return found

    def metrics(self) -> dict[str, dict[tuple[object, ...], float]]:
        """The last points of each metric, by the values of their attributes: counts' sums, histograms' counts."""
        found: dict[str, dict[tuple[object, ...], float]] = {}
        for path, body, _ in self.received:
            if path == "/v1/metrics":
                for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for metric in (metric for scope in group.scope_metrics for metric in scope.metrics):
                        found[metric.name] = {
                            tuple(attributes(point).values()): point.as_int or point.as_double
                            for point in metric.sum.data_points
                        } | {
                            tuple(attributes(point).values()): point.count
                            for point in metric.histogram.data_points
                        }
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body, dict(self.headers)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting(status: int = 200) -> Iterator[Collector]:
    with Collector(status) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join(timeout=30)


def attributes(entry: object) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in entry.attributes}


def a_run(folder: Path, exporters: Exporters, run_id: str = "run-1") -> list[str]:
    tracer = start_tracing(run_id, folder, exporters=exporters, capture=True)
    with tracer.run("plan_push"), tracer.step("plan", kind="agent"):
        with tracer.chat("planner", provider="openai") as chat:
            usage = Amounts(tokens=15)
            chat.completion(Completion(text="ok", usage=usage, input_tokens=12, output_tokens=3))
        with tracer.evaluate("goal") as measured:
            measured.score(ScoreRecord(scorer="goal", step="plan", score=Score(value=0.5)))
    tracer.close()
    return [span.name for span in read_trace(tracer.path).walk()]


WHOLE = ["invoke_workflow plan_push", "step plan", "chat planner", "evaluate goal"]


def test_a_collector_receives_every_span_in_both_dialects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc")
        exporters = Exporters.from_environment()
        written = a_run(tmp_path, exporters)
        exporters.close(within_s=30)
    spans = {span.name: span for span in collector.spans()}
    said = {name: attributes(span) for name, span in spans.items()}

    assert written == WHOLE
    assert sorted(spans) == sorted(WHOLE)
    assert collector.received[0][2]["api-key"] == "abc"
    assert [said[name]["openinference.span.kind"] for name in WHOLE] == ["CHAIN", "AGENT", "LLM", "EVALUATOR"]
    assert said["invoke_workflow plan_push"]["gen_ai.operation.name"] == "invoke_workflow"
    assert said["invoke_workflow plan_push"]["gen_ai.workflow.name"] == "plan_push"
    chat = said["chat planner"]
    assert (chat["gen_ai.usage.input_tokens"], chat["llm.token_count.prompt"]) == (12, 12)
    assert (chat["gen_ai.usage.output_tokens"], chat["llm.token_count.completion"]) == (3, 3)
    assert chat["output.value"] == "ok"
    assert {(one["session.id"], one["gen_ai.conversation.id"]) for one in said.values()} == {
        ("run-1", "run-1")
    }
    assert spans["chat planner"].parent_span_id == spans["step plan"].span_id
    assert spans["evaluate goal"].links[0].span_id == spans["step plan"].span_id


def test_a_score_is_sent_as_an_event_of_what_was_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        exporters = Exporters.from_environment()
        a_run(tmp_path, exporters)
        exporters.close(within_s=30)
    (event,) = collector.events()
    (step,) = [span for span in collector.spans() if span.name == "step plan"]
    assert event.event_name == "gen_ai.evaluation.result"
    assert (event.trace_id, event.span_id) == (step.trace_id, step.span_id)
    assert attributes(event)["gen_ai.evaluation.score.value"] == 0.5


def test_what_runs_use_and_how_they_end_is_counted_without_their_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        exporters = Exporters.from_environment()
        for number in range(2):
            a_run(tmp_path / str(number), exporters, f"run-{number}")
        a_guarded_step(tmp_path, exporters)
        exporters.close(within_s=30)
    assert collector.metrics() == {
        "gen_ai.client.token.usage": {
            ("chat", "openai", "planner", "input"): 2,
            ("chat", "openai", "planner", "output"): 2,
        },
        "gen_ai.client.operation.duration": {("chat", "openai", "planner"): 2},
        "gen_ai.workflow.duration": {("plan_push",): 2},
        "gen_ai.execute_tool.duration": {("robot_arm.what_if", "ValueError"): 1},
        "agentflow.step.duration": {("agent",): 2, ("use", "failed", "Tool"): 1},
        "agentflow.guardrail.verdicts": {("keep_out", "action", "deny", "block"): 1},
        "agentflow.budget.denials": {(): 1},
        "agentflow.budget.booked.tokens": {(): 42},
        "agentflow.evaluation.score": {("goal",): 2},
    }


def a_guarded_step(folder: Path, exporters: Exporters) -> None:
    tracer = start_tracing("guarded", folder, exporters=exporters)
    with tracer.step("simulate", kind="use") as step:
        with tracer.guardrail("keep_out", hook="action") as guard:
            guard.verdict(
                GuardRecord(
                    guardrail="keep_out",
                    hook="action",
                    step="simulate",
                    verdict=VerdictType.DENY,
                    action=GuardAction.BLOCK,
                )
            )
        with suppress(BudgetExceededError), tracer.reserve("run:guarded"):
            raise BudgetExceededError("run:guarded", "tokens", 30, 20, 100)
        with suppress(ValueError), tracer.tool("robot_arm.what_if"):
            raise ValueError("bad")
        with tracer.settle("run:guarded") as settle:
            settle.settled(Amounts(tokens=42), Amounts())
        step.envelope(Envelope(status=StepStatus.FAILED, error_kind="Tool", error="bad"))
    tracer.close()


def test_the_resource_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        exporters = Exporters.from_environment()
        a_run(tmp_path, exporters)
        exporters.close(within_s=30)
    ((path, body, _),) = collector.received
    (group,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert path == "/v1/traces"
    assert attributes(group.resource) == {"service.name": "shop", "openinference.project.name": "agentflow"}


def test_runs_of_one_process_share_its_exporters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        exporters = Exporters.from_environment()
        for number in range(3):
            a_run(tmp_path / str(number), exporters, f"run-{number}")
        exporters.close(within_s=30)
        exporters.close(within_s=30)
    sessions = sorted(attributes(span)["session.id"] for span in collector.spans())
    assert sessions == sorted(["run-0", "run-1", "run-2"] * len(WHOLE))


def test_an_endpoint_that_refuses_neither_fails_a_run_nor_writes_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with collecting(status=405) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        exporters = Exporters.from_environment()
        assert a_run(tmp_path, exporters) == WHOLE
        exporters.close(within_s=30)
    assert sorted({path for path, _, _ in collector.received}) == ["/v1/logs", "/v1/metrics", "/v1/traces"]
    assert capfd.readouterr() == ("", "")


def test_a_dead_endpoint_neither_fails_a_run_nor_writes_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
        exporters = Exporters.from_environment()
        assert a_run(tmp_path, exporters) == WHOLE
        exporters.close(within_s=30)
    assert capfd.readouterr() == ("", "")


def test_an_endpoint_that_never_answers_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sending() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("OtelBatch")]

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        )
        exporters = Exporters.from_environment()
        assert a_run(tmp_path, exporters) == WHOLE
        exporters.close(within_s=0.05)
        (still_waiting,) = sending()  # and yet `close` has returned
        assert still_waiting.daemon
    still_waiting.join(timeout=30)
    assert not still_waiting.is_alive()


def test_without_an_endpoint_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Exporters.from_environment() == Exporters()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert Exporters.from_environment() == Exporters()


def test_a_switched_off_sdk_sends_nothing_and_the_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    exporters = Exporters.from_environment()
    assert exporters == Exporters()
    assert a_run(tmp_path, exporters) == WHOLE


def test_the_limits_of_the_environment_hold_for_what_is_sent_and_the_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4")
        monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5")
        exporters = Exporters.from_environment()
        tracer = start_tracing("run-1", tmp_path, exporters=exporters)
        with tracer.tool("robot_arm.what_if"):
            pass
        tracer.close()
        exporters.close(within_s=30)
    (sent,) = collector.spans()
    (written,) = read_trace(tracer.path).roots
    assert written.attributes["gen_ai.tool.name"] == "robot_arm.what_if"
    assert attributes(sent) == {
        name: said[:4] if isinstance(said, str) else said
        for name, said in list(written.attributes.items())[-5:]
    }
    assert sent.dropped_attributes_count == len(written.attributes) - 5


class Broken(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise ValueError(f"cannot take {span.name}")


def test_a_processor_that_fails_fails_no_run_and_is_said(tmp_path: Path) -> None:
    exporters = Exporters(spans=Broken())
    tracer = start_tracing("r", tmp_path, exporters=exporters)
    with tracer.run("w"):
        pass
    tracer.close()
    assert [span.name for span in read_trace(tracer.path).walk()] == ["invoke_workflow w"]
    assert tracer.problems == ("the span 'invoke_workflow w' is not exported: cannot take invoke_workflow w",)


def test_settings_that_make_no_sense_fail_no_run_and_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody")
    exporters = Exporters.from_environment()
    tracer = start_tracing("r", tmp_path, exporters=exporters)
    tracer.close()
    (problem,) = tracer.problems
    assert "nobody" in problem
