from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"
sys.path.insert(0, str(TOOLS))


@pytest.fixture
def make_bed():
    """Beds as asked for, not trimmed; skips where this machine cannot have them."""
    from contextlib import ExitStack

    from bed import Bed, BedOptions, BedUnavailable

    first_core = min(os.sched_getaffinity(0))
    with ExitStack() as stack:

        def make(**settings):
            try:
                return stack.enter_context(Bed(BedOptions(**{"trim": False, "edge_core": first_core} | settings)))
            except BedUnavailable as why:
                pytest.skip(str(why))

        yield make
