"""Our spans among those of others: a caller's above ours, a tool's own below, and what others say of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import propagate
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, TraceState

from agentflow.tracing import names
from agentflow.tracing.export import Exporters
from agentflow.tracing.read import read_trace
from agentflow.tracing.tracer import RunTracer, start_tracing

SECRET = "canary-secret"  # noqa: S105 -- a canary


class Others:
    """Another instrumentation of the same process, with a provider of its own."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("others")


@pytest.fixture
def others() -> Iterator[Others]:
    opened = Others()
    yield opened
    opened.provider.shutdown()


@pytest.fixture
def sent() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(tmp_path: Path, sent: InMemorySpanExporter) -> Iterator[RunTracer]:
    exporters = Exporters(spans=SimpleSpanProcessor(sent))
    opened = start_tracing("run-1", tmp_path, exporters=exporters, secrets=[SECRET])
    yield opened
    opened.close()


def test_spans_of_a_tool_lie_below_ours_and_ours_below_a_callers(tracer: RunTracer, others: Others) -> None:
    with (
        others.tracer.start_as_current_span("request") as request,
        tracer.run("w"),
        tracer.step("s", kind="use"),
        others.tracer.start_as_current_span("query") as query,
        tracer.settle("b"),
    ):
        pass
    run, step, settle = (
        read_trace(tracer.path).named(name)[0] for name in ("invoke_workflow w", "step s", "budget.settle")
    )
    ids = {f"{one.get_span_context().trace_id:032x}" for one in (request, query)}
    assert ids == {run.trace_id, step.trace_id, settle.trace_id}
    assert run.parent_span_id == f"{request.get_span_context().span_id:016x}"
    assert f"{query.parent.span_id:016x}" == step.span_id
    assert settle.parent_span_id == f"{query.get_span_context().span_id:016x}"
    assert settle.attributes["agentflow.step.id"] == "s"


def test_the_current_span_travels_in_a_request(tracer: RunTracer) -> None:
    remote = SpanContext(7, 9, True, TraceFlags(0), TraceState([("vendor", "x")]))
    carried: dict[str, str] = {}
    with otel.use_span(NonRecordingSpan(remote)), tracer.run("w") as run:
        propagate.inject(carried)
    assert carried == {"traceparent": f"00-{7:032x}-{run.span_id}-01", "tracestate": "vendor=x"}


def test_a_caller_that_is_not_sampled_takes_nothing_from_the_trace(
    tracer: RunTracer, sent: InMemorySpanExporter
) -> None:
    unsampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("others")
    with unsampled.start_as_current_span("request"), tracer.run("w"):
        pass
    assert [span.name for span in read_trace(tracer.path).walk()] == ["invoke_workflow w"]
    assert [span.name for span in sent.get_finished_spans()] == ["invoke_workflow w"]


def test_what_others_say_of_our_span_is_kept_without_secrets(
    tracer: RunTracer, sent: InMemorySpanExporter
) -> None:
    with tracer.step("s", kind="use") as step:
        span = otel.get_current_span()
        assert span.is_recording()
        span.set_attribute("rows", 3)
        span.set_attributes({f"of {SECRET}": SECRET, "parts": [1, 2]})
        span.add_event("asked", {"key": SECRET, "nothing": None}, timestamp=5)
        span.record_exception(ValueError(f"not {SECRET}"))
        span.add_link(SpanContext(1, 2, True))
        span.set_status(Status(StatusCode.ERROR, f"no {SECRET}"))
        span.update_name("step s again")
    (ours,) = read_trace(tracer.path).roots
    (theirs,) = sent.get_finished_spans()
    asked, raised = ours.events

    assert SECRET not in tracer.path.read_text() + theirs.to_json()
    assert (ours.name, ours.status, ours.status_message) == ("step s again", "ERROR", "no [secret]")
    assert {"rows": 3, "of [secret]": "[secret]", "parts": "[1, 2]"}.items() <= ours.attributes.items()
    assert ours.links == [{"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}]
    assert (asked["name"], asked["time_ns"], asked["attributes"]) == ("asked", 5, {"key": "[secret]"})
    assert (asked["span_id"], raised["name"]) == (step.span_id, "exception")
    assert raised["attributes"]["exception.type"] == "ValueError"
    assert raised["attributes"]["exception.message"] == "not [secret]"
    assert "ValueError: not [secret]" in raised["attributes"]["exception.stacktrace"]
    assert [(one.name, one.timestamp, dict(one.attributes)) for one in theirs.events] == [
        (one["name"], one["time_ns"], one["attributes"]) for one in ours.events
    ]


def test_a_span_is_sent_as_it_stands_in_the_file(tracer: RunTracer, sent: InMemorySpanExporter) -> None:
    with tracer.run("w", resumed_from=("0a" * 16, "0b" * 8)) as run:
        with tracer.chat("planner", provider="p"):
            pass
        run.fail("Bad", "bad")
    trace = read_trace(tracer.path)
    for span in sent.get_finished_spans():
        (line,) = trace.named(span.name)
        assert (
            f"{span.context.trace_id:032x} {span.context.span_id:016x}" == f"{line.trace_id} {line.span_id}"
        )
        assert (span.start_time, span.end_time) == (line.start_ns, line.end_ns)
        assert (span.kind.name, dict(span.attributes)) == (line.kind, line.attributes)
        assert (span.status.status_code.name, span.status.description or "") == (
            line.status,
            line.status_message,
        )
        assert (f"{span.parent.span_id:016x}" if span.parent else None) == line.parent_span_id
        assert [(one.context.trace_id, one.context.span_id) for one in span.links] == [
            (int(one["trace_id"], 16), int(one["span_id"], 16)) for one in line.links
        ]
        assert span.instrumentation_scope.name == "agentflow"
    assert [len(span.links) for span in sent.get_finished_spans()] == [0, 1]


def test_what_is_said_after_the_end_is_not_heard(tracer: RunTracer, sent: InMemorySpanExporter) -> None:
    with tracer.step("s", kind="use") as step:
        otel.get_current_span().end()
        assert not step.is_recording()
        step.set({"late": 1})
        step.add_event("late")
        step.add_link(SpanContext(1, 2, True))
        step.fail("Late", "late")
    (ours,) = read_trace(tracer.path).walk()
    (theirs,) = sent.get_finished_spans()
    assert (ours.status, ours.events, ours.links, theirs.events) == ("UNSET", [], [], ())
    assert "late" not in ours.attributes


def test_a_status_of_ok_stands(tracer: RunTracer) -> None:
    with tracer.step("s", kind="use") as step:
        otel.get_current_span().set_status(StatusCode.OK)
        step.fail("Bad", "bad")
        otel.get_current_span().set_status(StatusCode.UNSET)
    (ours,) = read_trace(tracer.path).walk()
    assert (ours.status, ours.status_message) == ("OK", "")


def test_a_span_is_nobodys_before_its_with(tracer: RunTracer) -> None:
    step = tracer.step("s", kind="use")
    step.end()
    assert not step.get_span_context().is_valid
    with pytest.raises(RuntimeError, match="before its `with`"):
        _ = step.span_id
    with step:
        assert step.get_span_context().is_valid
    assert len(list(read_trace(tracer.path).walk())) == 1


def test_the_global_tracer_provider_is_left_alone(tracer: RunTracer) -> None:
    before = otel.get_tracer_provider()
    with tracer.run("w"):
        pass
    assert otel.get_tracer_provider() is before


def test_every_name_is_said_once() -> None:
    values = [value for name, value in vars(names).items() if name.isupper()]
    assert len(values) == len(set(values))
