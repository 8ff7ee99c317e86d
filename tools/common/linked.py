"""A cloud behind an EMULATED link, and the options of benchmarks that measure one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.options import over_zero
from common.processes import MIDCUT, READY, running

from midcut.proxies.link import ShapedLink

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FULL_MHZ = 1500.0
"""Full speed of an edge whose clock is emulated."""


def add_model(parser: ArgumentParser, default: str = "alexnet") -> None:
    """Add `--model`."""
    parser.add_argument("--model", default=default, help="model component (default: %(default)s)")


def add_cut(parser: ArgumentParser, default: int = 13) -> None:
    """Add `--cut`, which `cut_settings` takes."""
    parser.add_argument("--cut", type=int, default=default, help="the only one on offer (default: %(default)s)")


def add_link(parser: ArgumentParser) -> None:
    """Add `--kbps` and `--ping-ms`, which `cloud_behind_link` takes."""
    parser.add_argument("--kbps", type=over_zero, default=10_000.0, help="of the emulated link (default: %(default)s)")
    parser.add_argument("--ping-ms", type=float, default=20.0, help="of the emulated link (default: %(default)s)")


def add_slower(parser: ArgumentParser, default: float) -> None:
    """Add `--slower`, by which an emulated clock is below its full speed."""
    parser.add_argument(
        "--slower", type=over_zero, default=default, help="stretches what the edge computes (default: %(default)s)"
    )


def cut_settings(options: Namespace) -> tuple[str, str]:
    """Settings of an edge that leave it the cut of `options`."""
    return f"cuts.first_cut={options.cut}", f"cuts.last_cut={options.cut}"


@contextmanager
def cloud_behind_link(options: Namespace, log: Path, midcut: Sequence[str] = MIDCUT) -> Iterator[str]:
    """Start a cloud of `options.model`; gives its address behind the link of `options`.

    Args:
        log: gets the cloud's output.
        midcut: the command, which may be that of another build.
    """
    command = (*midcut, "cloud", f"model={options.model}", "server.port=0")
    shape = {"bandwidth_kbps": options.kbps, "ping_ms": options.ping_ms}
    with (
        running(command, log, READY) as ready,
        ShapedLink(ready[1].removeprefix("http://"), lambda: shape) as link,
    ):
        yield f"http://{link.address}"
