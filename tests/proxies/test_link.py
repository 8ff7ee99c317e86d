"""The link on real sockets, measured by plain sockets and by the ordinary telemetry sources."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from midcut.errors import ConfigError, TelemetryError
from midcut.proxies.link import PacedDirection, ShapedLink, main
from midcut.traces import Playback, Trace
from midcut_telemetry.bandwidth_probe import BandwidthProbe
from midcut_telemetry.http_ping import HttpPing
from midcut_telemetry.tcp_ping import TcpPing


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body of an answer are sent together

    def do_GET(self):
        self._reply(b"{}")

    def do_POST(self):
        received = len(self.rfile.read(int(self.headers["Content-Length"])))
        self._reply(json.dumps({"received_bytes": received, "server_s": 0.0}).encode())

    def _reply(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def cloud():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(60.0)


def fixed(**shape):
    return lambda: shape


def probe(link, probe_bytes=1_000_000):
    return BandwidthProbe(url=link.url, probe_bytes=probe_bytes, timeout_s=120.0, interval_s=1.0)


def ping(link):
    return HttpPing(url=link.url, samples=3, timeout_s=60.0, interval_s=1.0)


def connect(link):
    host, port = link.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=60.0)


def play(direction, left_bytes, late_s=0.0):
    """When the last byte arrives of a sender that is read from whenever the link says, or somewhat later."""
    now_s = due_at_s = 1000.0
    while left_bytes:
        size_bytes = min(direction.chunk_bytes(), left_bytes)
        left_bytes -= size_bytes
        read_on_s, due_at_s = direction.schedule(size_bytes, now_s, waited_s=0.0)
        now_s = max(read_on_s, now_s) + late_s
    return due_at_s - 1000.0


@pytest.mark.parametrize("late_s", [0.0, 0.002])
@pytest.mark.parametrize("mbit", [10, 50])
def test_one_megabyte_takes_its_time_and_small_delays_of_the_proxy_cost_nothing(mbit, late_s):
    direction = PacedDirection(fixed(bandwidth_kbps=mbit * 1000, ping_ms=5))
    assert play(direction, 1_000_000, late_s) == pytest.approx(
        8.0 / mbit + 0.0025, abs=0.0031 + late_s
    )  # 3 ms of slack


def test_without_conditions_nothing_is_delayed():
    assert play(PacedDirection(fixed()), 1_000_000) == 0.0


@pytest.mark.parametrize("mbit", [10, 50])
def test_one_megabyte_is_not_faster_on_real_sockets(cloud, mbit):
    with ShapedLink(cloud, fixed(bandwidth_kbps=mbit * 1000, ping_ms=5)) as link:
        source = probe(link)
        assert source.read()["bandwidth_kbps"] < mbit * 1000 * 1.08
        source.close()


def test_an_idle_line_saves_nothing_up(echo):
    with ShapedLink(echo, fixed(bandwidth_kbps=1_000, ping_ms=20)) as link, connect(link) as sock:
        for _ in range(2):
            time.sleep(0.1)
            start, left = time.perf_counter(), 5_000
            sock.sendall(b"x" * left)
            while left:
                left -= len(sock.recv(65536))
            assert time.perf_counter() - start >= 0.040 + 0.020  # 40 kbit and a round trip, and the way back


@pytest.mark.parametrize("ping_ms", [20, 100])
def test_a_small_request_takes_a_round_trip(cloud, ping_ms):
    with ShapedLink(cloud, fixed(bandwidth_kbps=50_000, ping_ms=ping_ms)) as link:
        source = ping(link)
        assert source.read()["ping_ms"] >= ping_ms
        source.close()
    one_way = PacedDirection(fixed(bandwidth_kbps=50_000, ping_ms=ping_ms))
    assert one_way.schedule(100, 1.0, waited_s=1.0)[1] == pytest.approx(1.0 + ping_ms / 2e3, abs=1e-4)


def test_connecting_is_not_slowed_which_is_why_tcp_ping_does_not_see_the_link(cloud):
    with ShapedLink(cloud, fixed(ping_ms=500)) as link:
        assert TcpPing(url=link.url, samples=3, timeout_s=60.0, interval_s=1.0).read()["ping_ms"] < 500.0


def test_it_follows_changes_while_a_connection_stands(cloud):
    state = {"bandwidth_kbps": 50_000.0, "ping_ms": 0.0}
    with ShapedLink(cloud, lambda: state) as link:
        source = probe(link, probe_bytes=200_000)
        fast = max(source.read()["bandwidth_kbps"] for _ in range(3))
        state["bandwidth_kbps"] = 1_000.0
        slow = source.read()["bandwidth_kbps"]
        source.close()
    assert slow < 1_100.0
    assert 2 * slow < fast < 60_000.0


def test_it_follows_a_trace(cloud):
    trace = Trace.from_rows([{"time_s": 0, "ping_ms": 10}, {"time_s": 1000, "ping_ms": 80}])
    with ShapedLink(cloud, Playback(trace, epoch_s=time.time() - 999_000, speed=1.0).now) as link:
        assert ping(link).read()["ping_ms"] >= 80.0


def test_two_connections_share_the_line(cloud):
    with ShapedLink(cloud, fixed(bandwidth_kbps=20_000)) as link:

        def upload():
            source = probe(link, probe_bytes=500_000)
            source.read()
            source.close()

        threads = [threading.Thread(target=upload) for _ in range(2)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.perf_counter() - start > 0.9 * 0.4  # 2 x 500 kB at 20 Mbit/s


def test_bytes_come_out_as_they_went_in(echo):
    sent = os.urandom(700_000)
    with ShapedLink(echo, fixed(bandwidth_kbps=100_000, ping_ms=10)) as link, connect(link) as sock:
        writer = threading.Thread(target=lambda: (sock.sendall(sent), sock.shutdown(socket.SHUT_WR)))
        writer.start()
        received = b""
        while data := sock.recv(65536):
            received += data
        writer.join()
    assert received == sent


def test_lower_delay_does_not_reorder(echo):
    state = {"ping_ms": 300.0}
    with ShapedLink(echo, lambda: state) as link, connect(link) as sock:
        sock.sendall(b"a" * 10)
        time.sleep(0.05)
        state["ping_ms"] = 0.0
        sock.sendall(b"b" * 10)
        received = b""
        while len(received) < 20:
            received += sock.recv(100)
    assert received == b"a" * 10 + b"b" * 10


def test_without_anyone_upstream_the_connection_breaks_at_once():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{sock.getsockname()[1]}"
        with ShapedLink(nobody, fixed(ping_ms=1)) as link, pytest.raises(TelemetryError):
            ping(link).read()


def test_when_the_cloud_dies_its_connections_break_and_later_ones_work():
    server = socket.create_server(("127.0.0.1", 0))
    with server, ShapedLink(f"127.0.0.1:{server.getsockname()[1]}", fixed(ping_ms=1)) as link:
        with connect(link) as sock:
            peer, _ = server.accept()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close as a crash does
            peer.close()
            with suppress(ConnectionResetError):
                assert sock.recv(10) == b""
        with connect(link) as sock:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"alive")
                assert sock.recv(10) == b"alive"


def test_leaving_it_closes_what_stands_without_a_word(echo, caplog):
    with ShapedLink(echo, fixed(bandwidth_kbps=10, ping_ms=5000)) as link:
        sock = connect(link)
        sock.sendall(b"x" * 50_000)
        time.sleep(0.05)
    with sock, suppress(ConnectionResetError):
        assert sock.recv(10) == b""
    assert caplog.records == []
    assert not [thread for thread in threading.enumerate() if thread.name == "emulated-link"]


@pytest.mark.parametrize("address", ["", "8700", "localhost", "localhost:x", "localhost:70000", "http://h"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ConfigError, match="EMULATED link: upstream must be HOST:PORT"):
        ShapedLink(address, fixed())


def test_a_port_in_use_is_named(cloud):
    with (
        pytest.raises(ConfigError, match=f"EMULATED link: cannot listen on {cloud}: "),
        ShapedLink(cloud, fixed(), listen=cloud),
    ):
        pass


def write(folder, text):
    path = folder / "trace.csv"
    path.write_text(text)
    return str(path)


def test_the_program_says_when_it_is_ready_and_ends_on_sigterm(cloud, tmp_path):
    trace = write(tmp_path, "time_s,bandwidth_kbps,ping_ms\n0,50000,40\n10,50000,60\n")
    command = [sys.executable, "-m", "midcut.proxies.link", "--upstream", cloud, "--trace", trace]
    with subprocess.Popen([*command, "--epoch-s", "1e9"], stdout=subprocess.PIPE, text=True) as process:
        ready = re.fullmatch(r"EMULATED link ready: (\S+) -> (\S+), (\S+) \(10 s\)\n", process.stdout.readline())
        assert ready
        assert ready[2] == cloud
        source = HttpPing(url=f"http://{ready[1]}", samples=3, timeout_s=60.0, interval_s=1.0)
        assert source.read()["ping_ms"] >= 60.0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        source.close()


@pytest.mark.parametrize(
    ("text", "more", "complaint"),
    [
        ("time_s,clock_mhz\n0,1\n", [], "needs the column bandwidth_kbps or ping_ms"),
        ("time_s,ping_ms\n0,-1\n", [], "trace.csv:2: ping_ms must not be negative"),
        ("time_s,ping_ms\n0,1\n", ["--speed", "0"], "speed must be over 0"),
        ("time_s,ping_ms\n0,1\n", ["--listen", "nowhere"], "listen must be HOST:PORT, got 'nowhere'"),
    ],
)
def test_the_programs_errors_are_one_line(tmp_path, capsys, text, more, complaint):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        status = main(["--upstream", "127.0.0.1:1", "--trace", write(tmp_path, text), *more])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    assert complaint in err
    assert err.count("\n") == 1
