"""What beds stand on this machine, and what dead ones left behind.

A bed writes down who owns it before it makes anything, so that what a killed one left is found by name.
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
from bed.cpufreq import put_back
from bed.errors import BedError
from bed.files import write_whole

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
    """A process that cannot be mistaken for a later one of the same number."""

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
    def lives(self) -> bool:
        """Whether it still runs."""
        return self.started > 0 and Process.of(self.pid) == self


def new_tag() -> str:
    """A name for a bed of this process that no other bed has."""
    return f"{os.getpid()}-{next(_NUMBERS)}"


def namespace(tag: str, host: str) -> str:
    """The name of a host's namespace."""
    return f"{PREFIX}{tag}-{host}"


def write_state(tag: str, owner: Process | None, about: Mapping[str, Any]) -> Path:
    """Write down that a bed stands; returns its folder. An owner of None: until it is taken down."""
    folder = RUN / tag
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "state.json", {"owner": asdict(owner) if owner else None, **about})
    return folder


def write_undo(tag: str, undo: Undo) -> None:
    """Write down what the machine's own files held, for whoever removes the bed."""
    write_whole(RUN / tag / _UNDO, undo)


def read_state(tag: str) -> dict[str, Any]:
    """What `write_state` wrote.

    Raises:
        BedError: no such bed stands.
    """
    try:
        state = json.loads((RUN / tag / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BedError("no test bed stands; begin with `tools/testbed up`") from None
    if not isinstance(state, dict):
        raise BedError(f"{RUN / tag / 'state.json'}: not a test bed's; `tools/testbed down` removes it")
    return state


def remove_leftovers() -> list[str]:
    """Remove what beds whose owners are gone left behind; returns their tags."""
    gone = [tag for tag in _tags() if not _alive(tag)]
    for tag in gone:
        remove_bed(tag)
    return gone


def others(tag: str) -> list[str]:
    """Tags of the beds that stand beside this one: they share its cores, and disturb it."""
    return [one for one in _tags() if one != tag and _alive(one)]


def remove_bed(tag: str) -> None:
    """End the bed's processes, and remove its namespaces, control group and folder, as far as they are there.

    The machine's own clock is put back to what it was before the bed.
    """
    _end_link(tag)
    for host in ("edge", "cloud"):
        namespaces.remove(namespace(tag, host))
    remove_groups(PREFIX + tag)
    with suppress(OSError, ValueError):  # most beds have none
        put_back(json.loads((RUN / tag / _UNDO).read_text(encoding="utf-8")))
    shutil.rmtree(RUN / tag, ignore_errors=True)


def _tags() -> list[str]:
    named = (name.removeprefix(PREFIX).rpartition("-")[0] for name in namespaces.names(PREFIX))
    written = (path.name for path in RUN.iterdir()) if RUN.is_dir() else ()
    return sorted({*named, *written} - {""})


def _alive(tag: str) -> bool:
    try:
        owner = read_state(tag)["owner"]
    except (BedError, KeyError):  # just being made, or removed, by its own process
        pid = tag.partition("-")[0]
        return pid.isdigit() and Process.of(int(pid)).started > 0
    return owner is None or Process(**owner).lives


def _end_link(tag: str) -> None:
    """A link without an owner to watch is ended by the number it wrote down."""
    try:
        link = Process(**read_state(tag)["link_process"])
    except (BedError, KeyError, TypeError):
        return
    end = time.monotonic() + _LINK_ENDS_S
    with suppress(ProcessLookupError):
        while link.lives and time.monotonic() < end:
            os.kill(link.pid, signal.SIGTERM)
            time.sleep(0.02)
        if link.lives:
            os.kill(link.pid, signal.SIGKILL)
