from __future__ import annotations

import pytest

from midcut.testing import ExecutorSuite

pytest.importorskip("openvino", reason="needs the extra `openvino`")
from midcut_executors.openvino import OpenVino


class TestOpenVinoContract(ExecutorSuite):
    tolerance = 1e-5

    def make(self):
        return OpenVino(1, 1e-3, 64)
