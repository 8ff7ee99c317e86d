"""The beds on this machine, and what killed ones left behind.

A bed saves who owns it before it makes anything, so that the leftovers of a killed one are found by name.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bed import namespaces
from bed.cgroups import remove_groups
from bed.cpufreq import restore_values
from bed.errors import BedError
from bed.files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bed.cpufreq import Undo

RUN = Path("/run/midcut-bed")
PREFIX = "mcb-"
STANDING = "up"
_NUMBERS = itertools.count()
_LINK_ENDS_S = 3.0
_UNDO = "undo.json"


@dataclass(frozen=True)
class Process:
    """A process; its start time tells it from a later one with the same number."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process with this number now; `started` is 0 where there is none."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return cls(pid, 0)
        fields = text.rpartition(")")[2].split()
        return cls(pid, 0 if fields[0] in "ZX" else int(fields[19]))

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.started > 0 and Process.of(self.pid) == self


def new_tag() -> str:
    """A name for a bed of this process that no other bed has."""
    return f"{os.getpid()}-{next(_NUMBERS)}"


def namespace(tag: str, host: str) -> str:
    """The name of a host's namespace."""
    return f"{PREFIX}{tag}-{host}"


def write_state(tag: str, owner: Process | None, about: Mapping[str, Any]) -> Path:
    """Save a bed's owner and description; returns its folder. A bed without an owner stays until it is taken down."""
    folder = RUN / tag
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "state.json", {"owner": asdict(owner) if owner else None, **about})
    return folder


def write_undo(tag: str, undo: Undo) -> None:
    """Save the values that the machine's own files had, for the process that removes the bed."""
    write_json(RUN / tag / _UNDO, undo)


def read_state(tag: str) -> dict[str, Any]:
    """The owner and description that `write_state` saved.

    Raises:
        BedError: there is no such bed.
    """
    try:
        state = json.loads((RUN / tag / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BedError("there is no test bed; make one with `tools/testbed up`") from None
    if not isinstance(state, dict):
        raise BedError(f"{RUN / tag / 'state.json'}: not a file of a test bed; `tools/testbed down` removes it")
    return state


def remove_leftovers() -> list[str]:
    """Remove the beds whose owners are gone; returns their tags."""
    orphans = [tag for tag in _tags() if not _owner_is_alive(tag)]
    for tag in orphans:
        remove_bed(tag)
    return orphans


def other_beds(tag: str) -> list[str]:
    """Tags of the other beds on this machine: they share its cores, and disturb the measurements."""
    return [other for other in _tags() if other != tag and _owner_is_alive(other)]


def remove_bed(tag: str) -> None:
    """End the bed's processes, and remove its namespaces, control group and folder, as far as they exist.

    The machine's own clock is restored to its setting before the bed.
    """
    _end_link(tag)
    for host in ("edge", "cloud"):
        namespaces.remove(namespace(tag, host))
    remove_groups(PREFIX + tag)
    with suppress(OSError, ValueError):  # most beds saved none
        restore_values(json.loads((RUN / tag / _UNDO).read_text(encoding="utf-8")))
    shutil.rmtree(RUN / tag, ignore_errors=True)


def _tags() -> list[str]:
    named = (name.removeprefix(PREFIX).rpartition("-")[0] for name in namespaces.names(PREFIX))
    written = (path.name for path in RUN.iterdir()) if RUN.is_dir() else ()
    return sorted({*named, *written} - {""})


def _owner_is_alive(tag: str) -> bool:
    try:
        owner = read_state(tag)["owner"]
    except (BedError, KeyError):  # its own process is just making or removing it
        pid = tag.partition("-")[0]
        return pid.isdigit() and Process.of(int(pid)).started > 0
    return owner is None or Process(**owner).is_alive


def _end_link(tag: str) -> None:
    """End the link's process by its saved number: without an owner to watch, it does not end by itself."""
    try:
        link = Process(**read_state(tag)["link_process"])
    except (BedError, KeyError, TypeError):
        return
    end = time.monotonic() + _LINK_ENDS_S
    with suppress(ProcessLookupError):
        while link.is_alive and time.monotonic() < end:
            os.kill(link.pid, signal.SIGTERM)
            time.sleep(0.02)
        if link.is_alive:
            os.kill(link.pid, signal.SIGKILL)
