"""Captures a model in a process of its own, for the cache: `python -m midcut.cloud.capturing < REQUEST`.

A tracer changes torch's classes while it runs, so that a cloud must not trace while it answers requests.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import Any

import msgspec
import torch
from omegaconf import OmegaConf

from midcut.cloud.version import weights_bytes
from midcut.component import Kind
from midcut.config.build import build
from midcut.config.registry import registry
from midcut.config.settings import CutSettings
from midcut.errors import MidcutError
from midcut.graph import partition

_NICE = 5


class CaptureRequest(msgspec.Struct, frozen=True):
    """What to capture.

    Attributes:
        name: of the model component.
        node: config of the model component.
        cuts: settings, with the folder of the cache.
        threads: torch's; the cached entry is for that number.
    """

    name: str
    node: dict[str, object]
    cuts: CutSettings
    threads: int


class CaptureOutcome(msgspec.Struct, frozen=True):
    """What came of a capture.

    Attributes:
        error: one line; `""` if it worked.
    """

    fingerprint: str = ""
    weights_bytes: int = 0
    error: str = ""


def main() -> None:
    """Read a request from stdin, and write the outcome as JSON to stdout."""
    # At exit Python searches all of torch's objects for cycles, seconds on a busy machine; nothing here needs that.
    atexit.register(gc.freeze)
    os.nice(_NICE)  # the requests of the cloud go first
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=CaptureRequest)
    torch.set_num_threads(request.threads)
    try:
        # Merged into the component's own node, whose settings have types.
        node: Any = OmegaConf.merge(registry().offers[Kind.MODEL, request.name].node, request.node)
        model = build(Kind.MODEL, node, name=request.name).load()
        outcome = CaptureOutcome(partition(model, request.cuts).table.fingerprint, weights_bytes(model.module))
    except MidcutError as error:
        outcome = CaptureOutcome(error=" ".join(str(error).split()))
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
