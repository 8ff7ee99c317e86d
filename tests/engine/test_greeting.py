from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from midcut.engine.greeting import CloudAbsentError, difference


@contextmanager
def saying(body, status=200):
    """A server that answers everything with one body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def listing(name, fingerprint):
    return msgspec.json.encode({"models": [{"name": name, "fingerprint": fingerprint}]})


def ask(url, table):
    return asyncio.run(difference(url, table))


def test_a_cloud_that_holds_the_same_model_does_not_differ(tiny, cloud_url):
    assert ask(cloud_url, tiny.table) == ""
    assert ask(cloud_url + "/", tiny.table) == ""


@pytest.mark.parametrize(
    ("graph", "weights", "part"),
    [("x", None, "other graph or cuts"), (None, "x", "other weights"), ("x", "y", "other graph or cuts and weights")],
)
def test_it_says_what_differs(tiny, graph, weights, part):
    other = f"{graph or tiny.table.graph}-{weights or tiny.table.weights}"
    with saying(listing("tiny", other)) as url:
        why = ask(url, tiny.table)
    assert why.endswith(part)
    assert other in why


def test_a_cloud_without_the_model_says_what_it_has(tiny):
    with saying(listing("vgg16", "f")) as url:
        assert ask(url, tiny.table) == "the cloud does not hold model 'tiny'; it holds: vgg16"


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"{}", b'{"models":5}', b'{"models":[{"name":"x"}]}', b'{"models":["x"]}']
)
def test_a_server_that_is_no_cloud_counts_as_absent(tiny, body):
    with saying(body) as url, pytest.raises(CloudAbsentError, match="does not list models"):
        ask(url, tiny.table)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "nonsense", ""])
def test_nobody_there_counts_as_absent(tiny, url):
    with pytest.raises(CloudAbsentError):
        ask(url, tiny.table)
