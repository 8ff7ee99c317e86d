"""`midcut cloud`: loads the models, then answers requests to compute what comes after a cut."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import torch

from midcut.cloud.assembly import assemble
from midcut.serving import event_loop, serve
from midcut.wire.tracing import start_tracing

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.cloud.assembly import AssembledCloud


def run(cfg: DictConfig) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the requests in flight and return."""
    end_tracing = start_tracing("midcut cloud")
    event_loop.freeze_objects()  # of the packages; models may be unloaded, and go then
    try:
        with assemble(cfg) as cloud, torch.no_grad():  # once, as it would take a part of each tail run on the loop
            event_loop.run(_serve(cloud))
    finally:
        end_tracing()


async def _serve(cloud: AssembledCloud) -> None:
    asyncio.get_running_loop().set_default_executor(cloud.decoding_threads())

    def ready(url: str) -> None:
        sys.stdout.write(f"midcut cloud ready on {url} with {', '.join(cloud.hosted.names)}\n")
        sys.stdout.flush()

    await serve(cloud.app, cloud.server, ready)
