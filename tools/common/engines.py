"""What the benchmarks share: a cloud process over loopback, and an edge engine that stays at a given cut."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from midcut.component import Kind
from midcut.config.build import build, build_each
from midcut.config.composition import compose
from midcut.config.registry import registry
from midcut.edge.clouds.clouds import Clouds
from midcut.edge.engine import EdgeEngine, EdgeParts
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.types import Decision, Observation, Placement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from omegaconf import DictConfig

    from midcut.graph import Partition
    from midcut.types import LoadedModel

MIDCUT = [sys.executable, "-m", "midcut.cli"]


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start(verb: str, log: Path, *overrides: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server verb with one thread and wait until it says that it is ready; returns it and its address."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [*MIDCUT, verb, *overrides],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=log.parent,
        )
    line = process.stdout.readline() if process.stdout else ""
    if " ready on " not in line:
        process.kill()
        raise SystemExit(f"midcut {verb} did not start: {log.read_text()[-2000:]}")
    return process, line.split()[4]


@contextmanager
def server(verb: str, log: Path, *overrides: str) -> Iterator[str]:
    """A server verb's address; it is ended with the block."""
    process, url = start(verb, log, *overrides)
    try:
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def compose_edge(*overrides: str) -> DictConfig:
    """The config that `midcut edge` would have with these overrides."""
    return compose("edge", overrides)


def load(config: DictConfig) -> LoadedModel:
    """The one model of a config."""
    (component,) = build_each(Kind.MODEL, config.model).values()
    model: LoadedModel = component.load()
    return model


class FixedPlan:
    """Planning that is told the cut."""

    def __init__(self, cut: int) -> None:
        self.hold(cut)

    @property
    def decision(self) -> Decision:
        return self._decision

    def hold(self, cut: int, codec: str = "raw") -> None:
        self._decision = Decision(Placement(cut, codec), -1, "held by a benchmark", 0.0, Observation())

    async def start(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to close."""


def engine(config: DictConfig, cut: Partition) -> tuple[EdgeEngine, FixedPlan]:
    """The edge of a config without telemetry, and the handle that moves its cut."""
    held = FixedPlan(cut.table.last)
    parts = EdgeParts(
        partition=cut,
        clouds=Clouds({"cloud": build(Kind.TRANSPORT, config.transport)}, retry_after_s=0.0),
        executor=build(Kind.EXECUTOR, config.executor),
        cost=build(Kind.COST, config.cost),
        hub=TelemetryHub({}, 30.0),
        planning=held,
        observers=registry(),
    )
    return EdgeEngine(parts), held
