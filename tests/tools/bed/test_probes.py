from __future__ import annotations

import socket
import struct
import subprocess
import sys

import pytest
from bed import probes


@pytest.mark.parametrize("sent", [b"\0\0\0", struct.pack("!Q", 100) + b"some"])
def test_a_sink_ends_where_its_sender_does(sent):
    with socket.create_server(("127.0.0.1", 0)) as server:  # a port that is free a moment later
        port = server.getsockname()[1]
    command = [sys.executable, "-I", probes.__file__, "sink", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sink:
        assert sink.stdout.readline() == b"ready\n"
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(sent)
        try:
            errors = sink.communicate(timeout=60)[1]
        finally:
            sink.kill()
    assert (sink.returncode, errors) == (0, b"")
