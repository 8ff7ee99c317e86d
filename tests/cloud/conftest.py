from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def one_thread(single_threaded):
    """The unsplit model is the reference."""
