from __future__ import annotations

import socket
import sys
import threading
import time

import pytest

from midcut.errors import ConfigError, TelemetryError
from midcut.testing import TelemetrySourceSuite
from midcut_telemetry.cloud import Endpoint, KeepAliveConnection
from midcut_telemetry.http_ping import HttpPing
from midcut_telemetry.icmp_ping import IcmpPing
from midcut_telemetry.tcp_ping import TcpPing

icmplib = pytest.importorskip("icmplib")


def may_send_icmp(privileged):
    try:
        return icmplib.ping("127.0.0.1", count=1, timeout=10, privileged=privileged).is_alive
    except icmplib.ICMPLibError:
        return False


@pytest.fixture
def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def full_backlog():
    """A listener that takes no more connections: the kernel drops further SYNs."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        held = [socket.socket() for _ in range(4)]
        for sock in held:
            sock.settimeout(0.0)
            sock.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for sock in held:
            sock.close()


def tcp(url, timeout_s=60.0):
    return TcpPing(url=url, samples=3, timeout_s=timeout_s, interval_s=1.0)


def http(url, timeout_s=60.0):
    return HttpPing(url=url, samples=3, timeout_s=timeout_s, interval_s=1.0)


def read_timed(source):
    """The ping, and the milliseconds that reading it took."""
    began = time.perf_counter()
    return source.read()["ping_ms"], (time.perf_counter() - began) * 1e3


class TestTcpPingContract(TelemetrySourceSuite):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud):
        self.cloud = cloud

    def make(self):
        return tcp(self.cloud.url)

    def make_broken(self):
        return tcp("http://no-such-host.invalid:1")


class TestHttpPingContract(TelemetrySourceSuite):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud, closed_port):
        self.cloud, self.closed_port = cloud, closed_port

    def make(self):
        return http(self.cloud.url)

    def make_broken(self):
        return http(f"http://127.0.0.1:{self.closed_port}")


def test_tcp_ping_takes_no_longer_than_its_connects(cloud):
    ping_ms, took_ms = read_timed(tcp(cloud.url))
    assert 0.0 < ping_ms < took_ms
    assert cloud.requests == []


def test_a_refused_connection_is_a_round_trip_too(closed_port):
    ping_ms, took_ms = read_timed(tcp(f"http://127.0.0.1:{closed_port}"))
    assert 0.0 < ping_ms < took_ms


def test_tcp_ping_gives_up_after_its_timeout(full_backlog):
    with pytest.raises(TelemetryError, match=r"no TCP connection to http://127.0.0.1:\d+ in 0.2 s"):
        tcp(f"http://127.0.0.1:{full_backlog}", timeout_s=0.2).read()


def test_tcp_ping_names_a_host_it_cannot_look_up():
    with pytest.raises(TelemetryError, match=r"cannot resolve no-such-host.invalid"):
        tcp("http://no-such-host.invalid:80").read()


def test_http_ping_measures_the_servers_delay_on_one_connection(cloud):
    source = http(cloud.url)
    cloud.delay_s = 0.03
    for _ in range(2):
        ping_ms, took_ms = read_timed(source)
        assert 30.0 <= ping_ms <= took_ms / 3  # the smallest of three
    source.close()
    assert cloud.connections == 1
    assert cloud.requests == [("GET", "/health")] * 6


def test_http_ping_asks_below_the_base_path(cloud):
    http(cloud.url + "/proxy/").read()
    assert cloud.requests[0] == ("GET", "/proxy/health")


def test_http_ping_comes_back_when_the_server_closed_the_idle_connection(cloud):
    cloud.drop_after = 3
    source = http(cloud.url)
    for _ in range(3):
        source.read()
    source.close()
    assert cloud.connections == 3


def test_a_connection_that_the_server_closes_with_its_answer_is_opened_anew_and_counted(cloud):
    cloud.closes = True
    connection = KeepAliveConnection(Endpoint.parse(cloud.url), 60.0)
    for _ in range(3):
        connection.exchange("GET", "/health")
    assert connection.opened == cloud.connections == 3


def test_http_ping_says_when_it_is_not_a_cloud(cloud):
    cloud.status = 404
    with pytest.raises(TelemetryError, match=r"GET http://127.0.0.1:\d+/health: status 404; is this a midcut cloud\?"):
        http(cloud.url).read()


def test_http_ping_gives_up_after_its_timeout_and_recovers(cloud):
    source = http(cloud.url, timeout_s=0.2)
    cloud.delay_s = 0.6
    with pytest.raises(TelemetryError, match=r"no answer in 0.2 s"):
        source.read()
    cloud.delay_s = 0.0
    for _ in range(100):  # a busy machine may need several tries
        try:
            assert source.read()["ping_ms"] <= 200.0
        except TelemetryError:
            continue
        break
    else:
        pytest.fail("did not recover")


def test_http_ping_survives_something_that_is_not_http():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk():
            peer, _ = server.accept()
            peer.recv(1000)
            peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            peer.close()

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(TelemetryError, match=r"GET http://127\.0\.0\.1"):
            http(f"http://127.0.0.1:{server.getsockname()[1]}").read()
        thread.join(60.0)


@pytest.mark.parametrize("url", ["", "localhost:8700", "ftp://host", "http://", "http://host:port", "http://h:99999"])
@pytest.mark.parametrize("make", [tcp, http])
def test_a_bad_url_is_a_config_error_at_once(make, url):
    with pytest.raises(ConfigError, match="url must be http://host:port, got"):
        make(url)


def icmp(url="http://127.0.0.1:1", privileged=False):
    return IcmpPing(url=url, samples=2, privileged=privileged, timeout_s=60.0, interval_s=1.0)


@pytest.mark.parametrize("privileged", [True, False])
def test_icmp_ping_measures_or_names_the_missing_right(privileged):
    if may_send_icmp(privileged):
        ping_ms, took_ms = read_timed(icmp(privileged=privileged))
        assert 0.0 < ping_ms < took_ms
        return
    needed = "root or CAP_NET_RAW" if privileged else "net.ipv4.ping_group_range"
    with pytest.raises(TelemetryError, match=f"sending ICMP is not permitted: .*{needed}"):
        icmp(privileged=privileged).read()


def test_without_icmplib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "icmplib", None)
    with pytest.raises(ConfigError, match=r"pip install 'midcut\[icmp\]'"):
        icmp()


@pytest.fixture
def silent_first(cloud, monkeypatch):
    """A name with two addresses, of which the first takes no connections; gives the URL."""
    port = int(cloud.url.rsplit(":", 1)[1])
    with socket.socket() as hole:
        hole.bind(("127.0.0.2", port))
        hole.listen(0)
        held = [socket.socket() for _ in range(4)]
        for sock in held:
            sock.settimeout(0.0)
            sock.connect_ex(hole.getsockname())
        real = socket.getaddrinfo

        def look_up(host, asked, *arguments, **more):
            if host != "dual.invalid":
                return real(host, asked, *arguments, **more)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, port)) for at in ("127.0.0.2", "127.0.0.1")]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        yield f"http://dual.invalid:{port}"
        for sock in held:
            sock.close()


@pytest.mark.parametrize("make", [tcp, http])
def test_a_silent_first_address_does_not_hide_the_second(silent_first, make):
    source = make(silent_first, timeout_s=30.0)
    for _ in range(2):
        ping_ms, took_ms = read_timed(source)
        assert 0.0 < ping_ms < 5_000.0
    assert took_ms < 20_000.0
    source.close()


def test_a_token_that_changes_is_read_anew(cloud, tmp_path, monkeypatch):
    monkeypatch.setattr("midcut.wire.watched_files._LOOK_EVERY_S", 0.0)
    token = tmp_path / "token"
    token.write_text("first")
    connection = KeepAliveConnection(Endpoint.parse(cloud.url), 60.0, token_file=str(token))
    connection.exchange("GET", "/health")
    token.write_text("second-one")
    connection.exchange("GET", "/health")
    connection.close()
    assert cloud.tokens == ["Bearer first", "Bearer second-one"]
