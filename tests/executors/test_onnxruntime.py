from __future__ import annotations

import pytest

from midcut.testing import ExecutorSuite

pytest.importorskip("onnxruntime")
from midcut_executors.onnxruntime import OnnxRuntime


class TestOnnxRuntimeContract(ExecutorSuite):
    tolerance = 1e-5

    def make(self):
        return OnnxRuntime(1, 1e-3, 64)
