"""The executors that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_executors.config import AutoConfig, EmulatedClockConfig, NativeConfig, OnnxRuntimeConfig, OpenVinoConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_executors() -> Sequence[Component]:
    return (
        Component("native", NativeConfig, "midcut_executors.native.Native", "PyTorch, at this machine's own speed"),
        Component(
            name="onnxruntime",
            config=OnnxRuntimeConfig,
            target="midcut_executors.choosing.onnxruntime",
            summary="ONNX Runtime on the CPU, float32 (extra `onnx`)",
        ),
        Component(
            name="openvino",
            config=OpenVinoConfig,
            target="midcut_executors.choosing.openvino",
            summary="OpenVINO on the CPU, float32 or bfloat16 (extra `openvino`)",
        ),
        Component(
            name="auto",
            config=AutoConfig,
            target="midcut_executors.choosing.Auto",
            summary="the fastest of PyTorch and the installed runtimes, measured at start",
        ),
        Component(
            name="emulated_clock",
            config=EmulatedClockConfig,
            target="midcut_executors.emulated_clock.EmulatedClock",
            summary="EMULATED: stretches every run as the slower clock of a trace would",
        ),
    )
