"""One arena for the intermediate values of all sessions of ONNX Runtime in a process, not one each."""

from __future__ import annotations

import functools
from typing import Any


def use_shared_arena(options: Any) -> None:
    """Let a session with these options use it."""
    _register()
    options.add_session_config_entry("session.use_env_allocators", "1")


@functools.cache
def _register() -> None:
    import onnxruntime as ort  # noqa: PLC0415 - an extra

    where = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(where, None)
