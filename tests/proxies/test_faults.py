"""The fault proxy between plain sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from midcut.errors import ConfigError
from midcut.proxies.faults import FaultProxy, Stream, main, parse_toxic
from midcut.proxies.toxics import Bandwidth, Garbage, Latency, LimitData, ResetPeer, Slicer, SlowClose, Timeout


def connect(proxy):
    host, port = proxy.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=60)


def exchange(proxy, data):
    """What comes back of `data`, the sender's side closed; "reset" where that ended it."""
    received = b""
    try:
        with connect(proxy) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while chunk := client.recv(65536):
                received += chunk
    except (TimeoutError, ConnectionRefusedError):
        raise
    except OSError:  # reset: while connecting, while sending, or before the end could be sent
        return "reset"
    return received


DATA = bytes(range(256)) * 2000


def test_without_toxics_every_byte_passes(echo):
    with FaultProxy(echo) as proxy:
        assert exchange(proxy, DATA) == DATA


def test_latency_delays_and_bandwidth_holds_back(echo):
    with FaultProxy(echo) as proxy:
        for toxic, size, at_least_s in ((Latency(latency_ms=200), 10, 0.2), (Bandwidth(rate_kbytes_s=50), 15_000, 0.3)):
            with proxy.under(toxic):
                began = time.perf_counter()
                assert exchange(proxy, DATA[:size]) == DATA[:size]
                assert time.perf_counter() - began >= at_least_s


def test_a_slow_close_holds_back_the_end_only(echo):
    with FaultProxy(echo) as proxy, proxy.under(SlowClose(delay_ms=300)), connect(proxy) as client:
        client.sendall(b"hello")
        began = time.perf_counter()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b"hello"
        assert client.recv(10) == b""
        assert time.perf_counter() - began >= 0.3


def test_data_is_limited_to_the_byte(echo):
    with FaultProxy(echo) as proxy, proxy.under(LimitData(limit_bytes=100_001)):
        assert exchange(proxy, DATA) in (DATA[:100_001], "reset")
        with connect(proxy) as client:
            client.sendall(DATA[:200_000])
            received = b""
            while chunk := client.recv(65536):
                received += chunk
        assert received == DATA[:100_001]


def test_slices_arrive_in_order_and_whole(echo):
    with FaultProxy(echo) as proxy, proxy.under(Slicer(average_bytes=700, variation_bytes=300)):
        assert exchange(proxy, DATA) == DATA


def test_a_peer_resets(echo):
    with FaultProxy(echo) as proxy, proxy.under(ResetPeer(timeout_ms=10)):
        assert exchange(proxy, b"hello") == "reset"


def test_a_timeout_swallows_everything_then_closes(echo):
    with FaultProxy(echo) as proxy, proxy.under(Timeout(timeout_ms=100)):
        began = time.perf_counter()
        assert exchange(proxy, b"hello") == b""
        assert time.perf_counter() - began >= 0.09


def test_garbage_begins_at_its_byte_and_is_as_long_as_the_data(echo):
    with FaultProxy(echo, seed=4) as proxy, proxy.under(Garbage(after_bytes=1000)):
        received = exchange(proxy, DATA)
        assert received[:1000] == DATA[:1000]
        assert len(received) == len(DATA)
        assert sum(got == sent for got, sent in zip(received[1000:], DATA[1000:], strict=True)) < len(DATA) / 100


def test_a_toxic_acts_one_way_and_on_its_share_of_connections(echo):
    with FaultProxy(echo, seed=1) as proxy:
        with proxy.under(LimitData(limit_bytes=3), Stream.upstream, toxicity=0.5):
            received = [exchange(proxy, b"hello") for _ in range(40)]
        assert set(received) <= {b"hello", b"hel", b"", "reset"}
        assert 8 <= received.count(b"hello") <= 32
        assert exchange(proxy, b"hello") == b"hello"


def test_a_toxic_acts_on_open_connections_and_leaves_them_again(echo):
    with FaultProxy(echo) as proxy, connect(proxy) as client:
        for _ in range(2):
            client.sendall(b"first")
            assert client.recv(10) == b"first"
            with proxy.under(Garbage()):
                client.sendall(b"0123456789")
                assert client.recv(20) != b"0123456789"


def test_switched_off_nobody_is_there(echo):
    with FaultProxy(echo) as proxy, connect(proxy) as client:
        client.sendall(b"first")
        assert client.recv(10) == b"first"
        proxy.enabled = False
        with pytest.raises(ConnectionResetError):
            client.recv(10)
        assert exchange(proxy, b"hello") in (b"", "reset")
        proxy.enabled = True
        assert exchange(proxy, b"hello") == b"hello"


def test_an_upstream_that_is_not_there_ends_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with FaultProxy(f"127.0.0.1:{port}") as proxy:
        assert exchange(proxy, b"hello") in (b"", "reset")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("rain", "no toxic is named 'rain'; there are: latency"),
        ("latency:delay_ms=1", "has no delay_ms; there are: latency_ms, jitter_ms"),
        ("latency:latency_ms=soon", "a toxic is NAME"),
        ("latency@sideways", "a toxic is NAME"),
        ("slicer:average_bytes=1.5", "average_bytes must be a whole number"),
        ("bandwidth:rate_kbytes_s=-1", "must be 0 or more"),
    ],
)
def test_a_wrong_toxic_is_an_error_of_one_line(text, part):
    with pytest.raises(ConfigError, match=re.escape(part)):
        parse_toxic(text)


def test_a_toxic_is_read():
    read = parse_toxic("latency@upstream:latency_ms=50,jitter_ms=2.5,toxicity=0.1")
    assert read == (Latency(50, 2.5), Stream.upstream, 0.1)
    assert parse_toxic("reset_peer") == (ResetPeer(), Stream.downstream, 1.0)


def test_a_whole_number_may_be_written_as_any_other():
    applied = parse_toxic("limit_data@upstream:limit_bytes=1e3")
    assert applied == parse_toxic("limit_data@upstream:limit_bytes=1000")
    assert isinstance(applied[0].limit_bytes, int)


def test_the_command_runs_until_it_is_ended(echo):
    command = [sys.executable, "-m", "midcut.testing.faults", "--upstream", echo, "--toxic", "limit_data:limit_bytes=2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        ready = process.stdout.readline()
        assert ready.startswith("fault proxy ready: 127.0.0.1:")
        host, port = ready.split()[3].rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"he"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_wrong_address_is_an_error_of_one_line(capsys):
    assert main(["--upstream", "nowhere"]) == 1
    assert capsys.readouterr().err == "fault proxy: upstream must be HOST:PORT, got 'nowhere'\n"
