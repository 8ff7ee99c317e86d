"""What an edge says about the executor of the cloud."""

from __future__ import annotations

import pytest
import structlog

from midcut.edge.clouds.executors import CloudExecutor
from midcut.types import HeldModel


def seen(profiled, *executors):
    watch = CloudExecutor("net", lambda: profiled)
    with structlog.testing.capture_logs() as logs:
        for executor in executors:
            watch.see({"net": HeldModel("f", (0,), executor=executor)})
    return [(entry["log_level"], entry["executor"]) for entry in logs]


@pytest.mark.parametrize(
    ("profiled", "listed", "level"),
    [
        ("", "native torch 2.13.0", "info"),
        ("", "onnxruntime 1.32.0 float32", "warning"),
        ("onnxruntime 1.32.0 float32", "onnxruntime 1.32.0 float32", "info"),
        ("onnxruntime 1.31.0 float32", "onnxruntime 1.32.0 float32", "warning"),
        ("onnxruntime 1.32.0 float32", "native torch 2.13.0", "warning"),
        (None, "openvino 2026.4.1 f32", "info"),
    ],
)
def test_a_profile_of_another_executor_than_the_clouds_is_a_warning(profiled, listed, level):
    assert seen(profiled, listed) == [(level, listed)]


def test_each_executor_is_logged_once_and_a_cloud_that_lists_none_is_not():
    assert seen("", "", "a", "a", "b") == [("warning", "a"), ("warning", "b")]
