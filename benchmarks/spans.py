"""What a span costs the run that makes it, with its line in trace.jsonl, beside a span of the OpenTelemetry SDK.

    python benchmarks/spans.py [--steps 50] [--repeats 40]

Each step makes the four spans that the envelope of a tool makes: the step, its reservation, its call, its
settlement. Measured are: without an exporter; with exporters that send spans and metrics to a collector on loopback (a
process of its own; spans wait in the queue while the clock runs, and their sending is timed apart); and the same spans,
nested alike and with as many attributes, of an SDK tracer that writes and sends nothing. Prints JSON: the median of
microseconds per span, in one process; repeats alternate, so that all see the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from agentflow.core.amounts import Amounts
from agentflow.core.records import Envelope, StepStatus
from agentflow.tracing.export import Exporters
from agentflow.tracing.read import read_trace
from agentflow.tracing.tracer import RunTracer, start_tracing

SPANS_A_STEP = 4
COLLECTOR = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 0), Collector)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
HELD = Amounts(tokens=100, wall_ms=1_000)
USED = Amounts(tokens=80, wall_ms=3)
NOTHING = Amounts()
ENDED = Envelope(status=StepStatus.OK, output={"value": "hello"}, usage=USED, attempts=1)


def steps_of_ours(tracer: RunTracer, count: int) -> None:
    for number in range(count):
        with tracer.step(f"s{number}", kind="use") as step:
            with tracer.reserve("run:bench") as span:
                span.reserved(HELD)
            with tracer.tool("bench.echo") as span:
                span.usage(USED)
            with tracer.settle("run:bench") as span:
                span.settled(USED, NOTHING)
            step.envelope(ENDED)


def steps_of_the_sdk(tracer: Tracer, attributes: list[dict[str, object]], count: int) -> None:
    step, *inner = attributes
    for _ in range(count):
        with tracer.start_as_current_span("step", attributes=step):
            for one in inner:
                with tracer.start_as_current_span("inner", attributes=one):
                    pass


@contextmanager
def collecting() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def microseconds(work: Callable[[], object], spans: int) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) / spans * 1e6


def measure(steps: int, repeats: int, folder: Path, endpoint: str) -> dict[str, object]:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    exporters = Exporters.from_environment()
    assert exporters.spans is not None, exporters.problem
    secrets = ["sk-not-a-key-0123456789", 'pass "word" with spaces']
    plain = start_tracing("run-1", folder / "plain", secrets=secrets, capture=False)
    sending = start_tracing("run-1", folder / "sending", exporters=exporters, secrets=secrets, capture=False)
    steps_of_ours(plain, 1)
    inside, whole = list(read_trace(plain.path).walk())[1:], read_trace(plain.path).roots
    attributes = [span.attributes for span in [*whole, *inside]]
    sdk = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False).get_tracer("bench")
    spans = steps * SPANS_A_STEP
    took: dict[str, list[float]] = {"plain": [], "with_exporter": [], "sending_apart": [], "raw_sdk": []}
    for _ in range(repeats):
        took["plain"].append(microseconds(lambda: steps_of_ours(plain, steps), spans))
        took["with_exporter"].append(microseconds(lambda: steps_of_ours(sending, steps), spans))
        took["sending_apart"].append(microseconds(exporters.spans.force_flush, spans))
        took["raw_sdk"].append(microseconds(lambda: steps_of_the_sdk(sdk, attributes, steps), spans))
    plain.close(), sending.close(), exporters.close()
    lines = plain.path.read_bytes().splitlines()
    medians = {f"{name}_us": round(statistics.median(each), 2) for name, each in took.items()}
    return {
        **medians,
        "attributes_a_span": statistics.mean(len(one) for one in attributes),
        "bytes_a_line": round(statistics.mean(map(len, lines))),
        "steps": steps,
        "repeats": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=50, help="at most 128: the exporter's batch is 512 spans"
    )
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, collecting() as endpoint:
        print(json.dumps(measure(options.steps, options.repeats, Path(folder), endpoint)))


if __name__ == "__main__":
    main()
