"""The hosts of a bed, on which real processes run."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING, Any

from bed import namespaces
from bed.errors import BedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Host:
    """A host: a network namespace, a core, and for a slowed one a control group.

    Attributes:
        name: edge or cloud.
        address: its IP address on the link.
        namespace: its network namespace's name.
        core: the core its processes are pinned to.
    """

    def __init__(self, name: str, namespace: str, address: str, core: int, procs: Path | None = None) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        self.core = core
        self._procs = procs

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs another one on this host, in the same process: signals reach it."""
        # `ip netns exec` would mount a new /sys, in which control groups and cpufreq are missing.
        inside = ["nsenter", f"--net={namespaces.NETNS / self.namespace}", "taskset", "-c", str(self.core), *command]
        if self._procs is None:
            return inside
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._procs), *inside]

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a process on this host; `options` are subprocess.Popen's."""
        return subprocess.Popen(self.command(command), **options)

    def connect(self, port: int, timeout_s: float = 10.0) -> socket.socket:
        """A TCP connection to a server on this host, made from this host itself.

        Raises:
            BedError: no server listens there.
        """
        return self.dial(self.address, port, timeout_s)

    def dial(self, address: str, port: int, timeout_s: float = 10.0) -> socket.socket:
        """A TCP connection from this host to any address.

        Raises:
            BedError: no server listens there.
        """
        try:
            return namespaces.inside(self.namespace, lambda: socket.create_connection((address, port), timeout_s))
        except OSError as error:
            raise BedError(f"{self.name}: no connection to {address}:{port}: {error.strerror or error}") from None
