"""The bed itself: makes two hosts, a link and a clock together, and removes them together."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bed import namespaces, state, trimming, tun
from bed.awake import keep_awake
from bed.choosing import new_clock, new_link
from bed.errors import BedError, BedUnavailable
from bed.hosts import Host
from bed.links import CLOUD_ADDRESS, EDGE_ADDRESS
from bed.options import BedOptions
from bed.parts import BedParts
from bed.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_SETTING = "setting.json"
_END_S = 5.0
_PROGRAMS = {"ip": "iproute2", "tc": "iproute2", "nsenter": "util-linux", "taskset": "util-linux"}


class Bed(BedParts):
    """Two hosts `edge` and `cloud` in network namespaces, joined by a shaped link, the edge with a clock.

    Entering the block makes it; leaving ends every process inside and removes all that was made, also after Ctrl-C or
    SIGTERM. What a killed bed leaves is removed when the next one is made.

    Raises:
        BedUnavailable: on entering: this machine cannot have a bed; the message says what is missing.
        BedError: on entering: making it fails.
    """

    def __init__(self, options: BedOptions | None = None) -> None:
        self.options = options or BedOptions()
        self.tag = state.new_tag()
        self._stack = ExitStack()

    def __enter__(self) -> Bed:  # noqa: PYI034 - not meant to be inherited from
        require_support()
        state.remove_leftovers()
        with ExitStack() as stack:
            stack.enter_context(_TerminationIsAnExit())
            self._make(stack, standing=False)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @classmethod
    def up(cls, options: BedOptions) -> Bed:
        """Make a bed that stays until `down`.

        Raises:
            BedError: there is one already.
        """
        require_support()
        state.remove_leftovers()
        if (state.RUN / state.STANDING).exists():
            raise BedError("there is a test bed already; `tools/testbed down` removes it")
        bed = cls(options)
        bed.tag = state.STANDING
        with _TerminationIsAnExit(), ExitStack() as stack:
            bed._make(stack, standing=True)
            stack.pop_all()
        bed._share_setting()
        return bed

    @classmethod
    def standing(cls) -> Bed:
        """The bed that `up` made, as it is set; this changes nothing.

        Raises:
            BedError: there is none.
        """
        require_support()
        about = state.read_state(state.STANDING)
        if "options" not in about:
            raise BedError("the test bed is still being made; if that was stopped, `tools/testbed down` removes it")
        bed = cls(BedOptions(**about["options"]))
        bed.tag = state.STANDING
        bed._attach(about)
        bed._share_setting()
        return bed

    @staticmethod
    def down() -> list[str]:
        """Remove the standing bed and what killed ones left; returns their tags."""
        require_support()
        removed = state.remove_leftovers()
        if (state.RUN / state.STANDING).exists():
            state.remove_bed(state.STANDING)
            removed.append(state.STANDING)
        return removed

    def describe(self) -> dict[str, Any]:
        """This bed as a report shows it: kinds, options, and what is emulated."""
        return {
            "link": self.link.kind,
            "clock": self.clock.kind,
            "link_overhead_ms": round(self.link.overhead_ms, 3),
            "clock_stalls_us": {f"{share:.0%}": round(lost_us) for share, lost_us in self.clock.stalls},
            "max_clock_mhz": self.clock.max_mhz,
            "congestion_control": self.options.congestion_control,
            "slow_start_after_idle": self.options.slow_start_after_idle,
            "edge_core": self.options.edge_core,
            "cloud_core": self.options.cloud_core,
            "kernel": os.uname().release,
            "cores": os.cpu_count(),
            "other_beds": len(state.other_beds(self.tag)),
            "notes": [_LINK_NOTES[self.link.kind], self.clock.note],
        }

    def _make(self, stack: ExitStack, *, standing: bool) -> None:
        maker = state.Process.of(os.getpid())  # if it is killed, the next bed removes what it made
        stack.callback(state.remove_bed, self.tag)
        folder = state.write_state(self.tag, maker, {})
        for host in ("edge", "cloud"):
            namespaces.add(state.namespace(self.tag, host), self._sysctls())
        self.link = new_link(self.options, self.tag, folder / "link.sock", watched=not standing)
        stack.callback(self.link.close)
        process = self.link.process
        link = {"link_process": None if process is None else vars(state.Process.of(process))}
        state.write_state(self.tag, maker, link)
        self.clock = new_clock(self.options, self.tag, folder / "root")
        stack.callback(self.clock.close)
        self._place_hosts()
        if self.clock.kind != "cpufreq":
            self._keep_awake(stack, watched=not standing)
        stack.callback(self._end_hosts)
        if self.options.trim:
            trimming.trim(self)
        about = {"link": self.link.kind, "overhead_ms": self.link.overhead_ms, "stalls": self.clock.stalls, **link}
        state.write_state(self.tag, None if standing else maker, {**about, "options": self._resolved_options()})

    def _resolved_options(self) -> dict[str, Any]:
        return {**vars(self.options), "link": self.link.kind, "clock": self.clock.kind}

    def _attach(self, about: dict[str, Any]) -> None:
        folder = state.RUN / self.tag
        if about["link"] == "tun":
            self.link = tun.StandingTunLink(
                folder / "link.sock", int(about["link_process"]["pid"]), about["overhead_ms"]
            )
        else:
            self.link = new_link(self.options, self.tag, folder / "link.sock", watched=False, exists=True)
        self.clock = new_clock(self.options, self.tag, folder / "root", exists=True)
        self.clock.stalls = tuple((share, lost_us) for share, lost_us in about["stalls"])
        self._place_hosts()

    def _share_setting(self) -> None:
        """Keep the setting in a file, so that every process attached to the bed starts from the values in force."""
        self.link.setting = self.clock.setting = Setting(state.RUN / self.tag / _SETTING)

    def _place_hosts(self) -> None:
        edge, cloud = (state.namespace(self.tag, host) for host in ("edge", "cloud"))
        self.edge = Host("edge", edge, EDGE_ADDRESS, self.options.edge_core, self.clock.procs)
        self.cloud = Host("cloud", cloud, CLOUD_ADDRESS, self.options.cloud_core)

    def _keep_awake(self, stack: ExitStack, *, watched: bool) -> None:
        """Keep the cores awake, outside of the control group: also while the host may not use its core."""
        namespace = state.namespace(self.tag, "edge")
        for core in {self.options.edge_core, self.options.cloud_core}:
            process = keep_awake(Host("edge", namespace, EDGE_ADDRESS, core), watched=watched)
            stack.callback(process.wait, _END_S)

    def _end_hosts(self) -> None:
        for host in (self.edge, self.cloud):
            namespaces.remove(host.namespace)

    def _sysctls(self) -> dict[str, Any]:
        return {
            "tcp_congestion_control": self.options.congestion_control,
            "tcp_slow_start_after_idle": int(self.options.slow_start_after_idle),
            "tcp_no_metrics_save": 1,
            "ping_group_range": "0 2147483647",
        }


_LINK_NOTES = {
    "netem": "EMULATED link: rate, delay and loss by the kernel's netem on a veth pair.",
    "tun": "EMULATED link: rate, delay and loss by a user-space process between two TUN devices (no netem here).",
    "tbf": "EMULATED link: rate only, by the kernel's tbf on a veth pair; no delay.",
}


class _TerminationIsAnExit:
    """Turns SIGTERM and SIGHUP into SystemExit, so that what is open is closed; a handler that exists already stays."""

    def __enter__(self) -> None:
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.signal(number, lambda received, _: sys.exit(128 + received))

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)


def require_support() -> None:
    """Check that this machine can have a bed.

    Raises:
        BedUnavailable: it cannot; one line with all that is missing.
    """
    if not sys.platform.startswith("linux"):
        raise BedUnavailable("a test bed needs Linux (network namespaces)")
    missing = [] if os.geteuid() == 0 else ["root (network namespaces and devices)"]
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            missing.append(f"the program `{program}` (Debian: apt-get install {package})")
    if missing:
        raise BedUnavailable(f"a test bed needs {' and '.join(missing)}")
