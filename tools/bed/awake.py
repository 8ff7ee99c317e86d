"""Keeps a core from falling asleep: spins at idle priority, so that every other process comes first.

A virtual core that sleeps is taken away by the hypervisor, and comes back late and with cold caches: a packet takes
half a millisecond longer, and a core that is given for 2 ms of every 10 does 1.5 ms of work.

Linux shares a core among sessions first (sched_autogroup), and looks at priorities only within a session: a spinner
at idle priority would take half of the core from a process in another session. So its session gets the lowest
priority, too.

Standard library only, as it is started by its path:  python -I awake.py [PID]  (ends with the process PID)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bed.hosts import Host

_LOOPS = 100_000  # some milliseconds
_AUTOGROUP = Path("/proc/self/autogroup")


def keep_awake(host: Host, *, watched: bool) -> subprocess.Popen[bytes]:
    """Start a spinner on a host's core; it ends with the host, and if `watched` with this process."""
    command = [sys.executable, "-I", __file__, *([str(os.getpid())] if watched else [])]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return host.popen(command, start_new_session=True, **quiet)


def main(parent: int | None) -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if (
        os.getsid(0) == os.getpid() and _AUTOGROUP.exists()
    ):  # else the session is the caller's, or Linux has no autogroups
        _AUTOGROUP.write_text("19\n", encoding="ascii")
    while parent is None or os.getppid() == parent:
        for _ in range(_LOOPS):
            pass


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        sys.exit(f"{__doc__}\nusage: awake.py [PID]     spins until the process PID, its parent, has ended")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
