"""Servers that are no midcut cloud are named in one line: one that redirects, KServe, MLServer, Triton, a web page."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import threading
from contextlib import contextmanager

import pytest

from midcut.errors import CloudRefusedError, CloudStrangerError
from midcut_transports.http import http_transport


@contextmanager
def answering(answers, **headers):
    """A server with a status and a body for each path; other paths are 404 with the text of FastAPI."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, body = answers.get(self.path, answers.get("*", (404, b'{"detail":"Not Found"}')))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value.replace("PATH", self.path))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def listing_error(url, kind=CloudStrangerError):
    async def go():
        transport = http_transport(url=url, timeout_s=30.0, connect_timeout_s=30.0)
        await transport.open()
        try:
            with pytest.raises(kind) as caught:
                await transport.listing()
            assert type(caught.value) is kind
        finally:
            await transport.close()
        return str(caught.value)

    line = asyncio.run(go())
    assert "\n" not in line
    return line


def metadata(name, version):
    return 200, json.dumps({"name": name, "version": version, "extensions": ["model_repository"]}).encode()


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ({"/v2": metadata("mlserver", "1.6.1")}, "mlserver 1.6.1"),
        ({"/v2": metadata("triton", "2.57.0"), "*": (400, b"")}, "triton 2.57.0"),
        ({"/v2": metadata("kserve", "0.15.0"), "/v1/models": (200, b'{"models":["flowers"]}')}, "kserve 0.15.0"),
        (
            {"/v2": metadata("OpenVINO Model Server", "2025.1"), "/v1/models": (404, b"{}")},
            "OpenVINO Model Server 2025.1",
        ),
    ],
)
def test_another_vendors_server_is_named(answers, name):
    with answering(answers) as url:
        line = listing_error(url)
    address = url.removeprefix("http://")
    assert line == f"{address} is {name}, not a midcut cloud: transport.plain=true asks it for whole models, at cut 0"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_names_the_url_to_give(status):
    with answering({"*": (status, b"<html>moved</html>")}, Location="https://cloud.example/midcutPATH") as url:
        assert listing_error(url) == (
            f"{url} redirects to https://cloud.example/midcut/v1/models, which is not followed: "
            "give cloud_url=https://cloud.example/midcut"
        )


def test_a_redirect_to_a_page_for_signing_in():
    with answering({"*": (302, b"")}, Location="/login?next=PATH") as url:
        line = listing_error(url)
    assert f"redirects to {url}/login?next=/v1/models" in line
    assert "cloud_url must be the address of the cloud itself" in line


@pytest.mark.parametrize("body", [b"<html>It works!</html>", b"{}", b"[]"])
def test_a_web_server_is_no_midcut_cloud(body):
    with answering({"*": (200, body)}) as url:
        assert "is not the list of models of a midcut cloud" in listing_error(url)


def test_a_midcut_cloud_whose_list_is_damaged_later_is_no_stranger():
    answers = {"/v1/models": (200, b'{"models": []}')}

    async def go(url):
        transport = http_transport(url=url, timeout_s=30.0, connect_timeout_s=30.0)
        await transport.open()
        try:
            assert await transport.listing() == {}
            answers["/v1/models"] = (200, b'{"models": [{]}')
            with pytest.raises(CloudRefusedError, match="is not the list of models") as caught:
                await transport.listing()
            assert type(caught.value) is CloudRefusedError
        finally:
            await transport.close()

    with answering(answers) as url:
        asyncio.run(go(url))


@pytest.mark.parametrize(
    "words",
    [b"SSH-2.0-OpenSSH_9.6\r\n", b"-ERR unknown command\r\n", b"220 mail ESMTP\r\n", b"\x15\x03\x01\x00\x02\x02F"],
)
def test_a_server_of_another_protocol_is_a_stranger(words):
    def answer(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(words)
                connection.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        assert "sent invalid HTTP" in listing_error(f"http://127.0.0.1:{listener.getsockname()[1]}")
