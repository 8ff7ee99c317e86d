from __future__ import annotations

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"
sys.path.insert(0, str(TOOLS))


@pytest.fixture(scope="session")
def a_bed_can_be_made():
    """Skips where this machine cannot have a test bed; by trying."""
    from bed import Bed, BedUnavailable

    try:
        with Bed():
            pass
    except BedUnavailable as error:
        pytest.skip(f"no test bed here: {error}")
