"""The user-space link: two TUN devices and the process between them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from common.processes import stop

from bed import namespaces, tunlink
from bed.errors import BedError, BedUnavailable
from bed.links import CLOUD_ADDRESS, DEVICE, EDGE_ADDRESS, Link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bed.links import Shape

_TUN = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_ANSWER_S = 5.0
_END_S = 3.0


class StandingTunLink(Link):
    """The user-space link that another process made with `tools/testbed up`."""

    kind: ClassVar[str] = "tun"

    def __init__(self, control: Path, pid: int, overhead_ms: float = 0.0) -> None:
        super().__init__()
        self.overhead_ms = overhead_ms
        self._control = control
        self._pid = pid

    @property
    def process(self) -> int | None:
        return self._pid

    def apply(self, shape: Shape) -> None:
        send_command(self._control, {"both": link_settings(shape, self.overhead_ms)})

    def play_packets(self, direction: str, file: Path) -> None:
        """Let packets leave at the milliseconds of a mahimahi trace from now on, until `stop_packets`.

        Args:
            direction: `up`, edge to cloud, or `down`; the other one keeps its rate.
            file: its last line is followed by its first.
        """
        send_command(self._control, {direction: {"opportunities": str(file.resolve())}})

    def stop_packets(self) -> None:
        """Go back to the rate."""
        send_command(self._control, {"both": {"opportunities": None}})

    def close(self) -> None:
        """Nothing to do: it stays until `tools/testbed down`."""


class TunLink(StandingTunLink):
    """Rate, delay and loss by `bed.tunlink`.

    Args:
        edge, cloud: the namespaces.
        control: path of the control socket to make.
        core: where the process runs.
        seed: of the packets that are lost.
        watched: the process ends when this one ends, however it ends.
    """

    def __init__(self, edge: str, cloud: str, control: Path, core: int, seed: int, *, watched: bool = True) -> None:
        devices = [_open_device(edge, EDGE_ADDRESS, CLOUD_ADDRESS)]
        try:
            devices.append(_open_device(cloud, CLOUD_ADDRESS, EDGE_ADDRESS))
            self._process, self._watch_end = _start_process(devices, control, core, seed, watched=watched)
        finally:
            for device in devices:  # the devices exist as long as the process has them open
                os.close(device)
        super().__init__(control, self._process.pid)
        try:
            _wait_until_ready(control, self._process)
        except BaseException:  # SystemExit too: no other code could end the process yet
            self.close()
            raise

    def close(self) -> None:
        """End the process; that removes its devices."""
        if self._watch_end is not None:
            os.close(self._watch_end)
            self._watch_end = None
        stop(self._process, _END_S)
        self._control.unlink(missing_ok=True)


def link_settings(shape: Shape, overhead_ms: float) -> dict[str, float]:
    """The settings that the process takes."""
    rate_bps = 0.0 if shape.bandwidth_kbps is None else shape.bandwidth_kbps * 1000.0
    return {"rate_bps": rate_bps, "delay_s": max(0.0, shape.ping_ms - overhead_ms) / 2000.0, "loss": shape.loss}


def send_command(control: Path, command: Mapping[str, Any]) -> dict[str, Any]:
    """Send settings to a link's process; returns its settings and counts by direction.

    Raises:
        BedError: it does not answer, or refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(_ANSWER_S)
        client.bind("")  # an abstract name, without a file
        try:
            client.sendto(json.dumps(command).encode(), str(control))
            reply = json.loads(client.recv(65_535))
        except OSError as error:
            raise BedError(f"the link's process does not answer at {control}: {error.strerror or error}") from None
    if "error" in reply:
        raise BedError(f"the link's process refuses: {reply['error']}")
    return dict(reply)


def require_tun() -> None:
    """Check that TUN devices can be made.

    Raises:
        BedUnavailable: they cannot; the message says why.
    """
    try:
        os.close(os.open(_TUN, os.O_RDWR))
    except OSError as error:
        raise BedUnavailable(f"the user-space link needs {_TUN}: {error.strerror}") from None


def _open_device(namespace: str, address: str, peer: str) -> int:
    def make() -> int:
        file = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN_NO_PI))
        except OSError as error:
            os.close(file)
            raise BedError(f"{namespace}: no TUN device: {error.strerror}") from None
        return file

    file = namespaces.inside(namespace, make)
    try:
        namespaces.run_program("ip", "-n", namespace, "addr", "add", address, "peer", peer, "dev", DEVICE)
        namespaces.run_program("ip", "-n", namespace, "link", "set", DEVICE, "mtu", "1500", "txqueuelen", "2000", "up")
    except BedError:
        os.close(file)
        raise
    return file


def _start_process(
    devices: list[int], control: Path, core: int, seed: int, *, watched: bool
) -> tuple[subprocess.Popen[bytes], int | None]:
    edge, cloud = devices
    watch, watch_end = os.pipe() if watched else (None, None)
    command = [sys.executable, "-I", tunlink.__file__, f"--edge-fd={edge}", f"--cloud-fd={cloud}"]
    command += [f"--socket={control}", f"--core={core}", f"--seed={seed}"]
    command += [] if watch is None else [f"--watch-fd={watch}"]
    try:
        # In a session of its own, without Ctrl-C's signal: the bed ends the link, after the hosts.
        # A link that outlives this process must not keep a pipe of it open.
        process = subprocess.Popen(
            command,
            pass_fds=[file for file in (edge, cloud, watch) if file is not None],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if watched else subprocess.DEVNULL,
            start_new_session=True,
        )
    finally:
        if watch is not None:
            os.close(watch)
    return process, watch_end


def _wait_until_ready(control: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _ANSWER_S
    while time.monotonic() < end:
        if process.poll() is not None:
            number = -process.returncode
            why = signal.Signals(number).name if number > 0 else f"exit status {process.returncode}"
            raise BedError(f"the link's process ended at once: {why}")
        if control.exists():
            with suppress(BedError):
                send_command(control, {})
                return
        time.sleep(0.01)
    raise BedError("the link's process did not start")
