from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Cloud:
    """A small real HTTP server that can be made slow or wrong."""

    def __init__(self):
        self.delay_s = 0.0
        self.status = 200
        self.answer = None
        self.connections = 0
        self.requests = []
        self.tokens = []
        self.drop_after = None  # close each connection after that many requests
        self.closes = False  # with a `Connection: close` header in each answer
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that gives up is part of some tests
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60.0)

    def _handler(cloud):  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                cloud.connections += 1
                self.served = 0
                super().setup()

            def do_GET(self):
                time.sleep(cloud.delay_s)
                self._reply(b'{"status": "ok"}')

            def do_POST(self):
                received = len(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(cloud.delay_s)
                self._reply(json.dumps({"received_bytes": received}).encode() if cloud.answer is None else cloud.answer)

            def _reply(self, body):
                cloud.requests.append((self.command, self.path))
                cloud.tokens.append(self.headers["Authorization"])
                self.served += 1
                self.send_response(cloud.status)
                self.send_header("Content-Length", str(len(body)))
                if cloud.closes:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
                if self.served == cloud.drop_after:
                    self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler


@pytest.fixture
def cloud():
    server = Cloud()
    yield server
    server.close()
