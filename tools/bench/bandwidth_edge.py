"""The edge of `bandwidth.py`: its engine, transport and telemetry are those of `midcut edge`, its cut is set by orders.

Run as a program on a host of a test bed. A line with an order, `{"body_bytes", "seconds", "rate_hz"}`, is answered by
a line with what an edge that has just started learned of its link from requests with bodies of this size.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from common.engines import FixedPlan, load
from torch import nn

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.edge.assembly import assemble_fixed
from midcut.edge.engine import EdgeEngine
from midcut.edge.routes import configs_by_url, telemetry_sources
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.graph import partition
from midcut.serving import event_loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omegaconf import DictConfig

    from midcut.graph import Partition
    from midcut.types import LoadedModel, Transfer

READ_AFTER_S = 0.3
"""By then the telemetry hub has read a source after an exchange."""


class Bodies(nn.Module):
    """Next to no computation: passes tensors of several sizes on, each of which is a cut.

    Args:
        sizes: of the tensors, bytes.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self._lengths = [size // 4 for size in sorted(sizes, reverse=True)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.repeat(1, self._lengths[0])
        for length in self._lengths[1:]:
            x = x[:, :length]
        return x[:, :10]


def model_settings(sizes: Sequence[int]) -> tuple[str, ...]:
    """The settings of `midcut cloud` and `midcut edge` that choose the model."""
    numbers = ",".join(map(str, sizes))
    path = f"model.module.path={__name__ if __name__ != '__main__' else 'bench.bandwidth_edge'}.Bodies"
    return "model=module", path, f"model.module.kwargs={{sizes:[{numbers}]}}", "model.module.input_shapes=[[1]]"


class Recorder:
    """A telemetry source without values: records every exchange."""

    interval_s = 1.0

    def __init__(self) -> None:
        self.transfers: list[Transfer] = []

    def transferred(self, transfer: Transfer) -> None:
        self.transfers.append(transfer)

    def read(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        """Nothing to close."""


async def answer(config: DictConfig, model: LoadedModel, parts: Partition, order: Mapping[str, Any]) -> dict[str, Any]:
    """Send requests, and read the bandwidth after each as planning does."""
    cut = next(cut.index for cut in parts.table.cuts if cut.payload_bytes == order["body_bytes"])
    fixed, recorder = assemble_fixed(config, parts, FixedPlan(cut)), Recorder()
    sources = {**telemetry_sources(configs_by_url(config)), "recorder": recorder}
    engine = EdgeEngine(replace(fixed.parts, hub=TelemetryHub(sources, fixed.parts.settings.max_age_s)))
    period_s = 1.0 / order["rate_hz"]
    readings_kbps: list[float | None] = []
    await engine.start()
    try:
        await asyncio.to_thread(engine.parts.hub.wait, 60.0)
        until_s = perf_counter() + order["seconds"]
        while perf_counter() < until_s or len(readings_kbps) < order["least"]:
            began_s = perf_counter()
            result = await engine.infer(model.example)
            if result.finished_by != "cloud":
                raise SystemExit(f"the cloud did not answer: {result.fallback}")
            await asyncio.sleep(max(period_s - (perf_counter() - began_s), READ_AFTER_S))
            readings_kbps.append(engine.parts.hub.observe().bandwidth_kbps)
    finally:
        await engine.close()
    exchanges = [
        {
            "sent_bytes": transfer.sent_bytes,
            "received_bytes": transfer.received_bytes,
            "wall_s": transfer.wall_s,
            "server_s": transfer.server_s,
            "ping_s": transfer.ping_s,
            "fresh": transfer.fresh,
            "arrival_bytes": None if transfer.arrival is None else transfer.arrival.size_bytes,
            "arrival_s": None if transfer.arrival is None else transfer.arrival.seconds,
        }
        for transfer in recorder.transfers
    ]
    return {"readings_kbps": readings_kbps, "exchanges": exchanges}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", help="settings of `midcut edge`")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = compose("edge", options.overrides)
    model = load(config)
    parts = partition(model, CutSettings(verify=False))
    print("ready on standard input", flush=True)
    for line in sys.stdin:
        print(json.dumps(event_loop.run(answer(config, model, parts, json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
