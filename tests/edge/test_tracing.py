"""Traces through edge and cloud: the context of a client reaches the cloud, and spans reach an OTLP collector."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import pytest

from midcut.testing import LoopbackTransport
from midcut.wire.trace_context import TraceContext, current_context, passing_on
from midcut.wire.tracing import span

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = TraceContext(f"00-{TRACE}-b7ad6b7169203331-01", "vendor=1")


@pytest.mark.parametrize("deadline_s", [None, 60.0])
async def test_the_context_of_a_request_is_that_of_its_exchange_with_the_cloud(bench, tiny, tiny_model, deadline_s):
    class Noting(LoopbackTransport):
        seen = ()

        async def infer(self, request):
            self.seen = (*self.seen, current_context())
            return await super().infer(request)

    transport = Noting(tiny)
    async with bench(transport=transport) as b:
        with passing_on(PARENT):
            await b.engine.infer(tiny_model.example, deadline_s=deadline_s)
        await b.engine.infer(tiny_model.example, deadline_s=deadline_s)
    assert transport.seen == (PARENT, None)


def test_without_the_sdk_nothing_of_opentelemetry_is_imported():
    code = (
        "import sys; from midcut.cli.verbs import cloud, edge; from midcut.wire.tracing import span, start_tracing\n"
        "start_tracing('x')()\n"
        "with span('a', cut=1) as recorded: recorded.set_attribute('b', 2)\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@contextmanager
def collector():
    """An OTLP collector; yields its URL and the spans that it got, each with its service."""
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs extra otel")
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in service.ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {entry.key: entry.value.string_value for entry in resource.resource.attributes}
                spans.extend((named["service.name"], each) for scope in resource.scope_spans for each in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", spans
    server.shutdown()
    thread.join(60)
    server.server_close()


@contextmanager
def server(verb, environment, *overrides):
    """A cloud or an edge with the small model; yields its URL, and ends it so that it exports what is left."""
    command = [
        sys.executable,
        "-m",
        "midcut.cli",
        verb,
        "model=mnist",
        "executor=native",
        "cuts.verify=false",
        *overrides,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        yield process.stdout.readline().split(" on ")[1].split()[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


def test_spans_of_edge_and_cloud_are_one_trace_below_the_clients_span():
    with ExitStack() as stack:
        url, spans = stack.enter_context(collector())
        environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OMP_NUM_THREADS": "1"}
        with server("cloud", environment, "server.port=0") as cloud:
            settings = ("input.port=0", "cuts.first_cut=2", "cuts.last_cut=2", f"cloud_url={cloud}")
            with server("edge", environment, *settings) as edge:
                values = {"name": "input", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": [0.5] * 784}
                headers = {"traceparent": PARENT.parent, "tracestate": PARENT.state}
                request = Request(f"{edge}/v2/models/mnist/infer", json.dumps({"inputs": [values]}).encode(), headers)
                with urlopen(request, timeout=60) as response:
                    assert json.load(response)["parameters"]["finished_by"] == "cloud"
        mine = {(of, each.name): each for of, each in spans if each.trace_id.hex() == TRACE}
        parents = {each.span_id: key for key, each in mine.items()}
        infer = "/v2/models/{model}/infer"
        assert {key: parents.get(each.parent_span_id, each.parent_span_id.hex()) for key, each in mine.items()} == {
            ("midcut edge", infer): "b7ad6b7169203331",
            ("midcut edge", "inference"): ("midcut edge", infer),
            ("midcut edge", "head"): ("midcut edge", "inference"),
            ("midcut edge", "link"): ("midcut edge", "inference"),
            ("midcut cloud", infer): ("midcut edge", "link"),
            ("midcut cloud", "tail"): ("midcut cloud", infer),
        }
        assert {each.trace_state for each in mine.values()} == {"vendor=1"}
        assert ("midcut edge", "plan") in {(of, each.name) for of, each in spans}


def test_a_span_without_the_sdk_costs_a_look_up(monkeypatch):
    monkeypatch.delitem(sys.modules, "opentelemetry.sdk.trace", raising=False)
    with passing_on(PARENT), span("a", cut=1) as recorded:
        recorded.set_attribute("b", 2)
        assert current_context() == PARENT
