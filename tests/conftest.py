from __future__ import annotations

import pytest
import structlog


@pytest.fixture(autouse=True)
def _fresh_logging():
    """A test that configures structlog does so for itself only."""
    yield
    structlog.reset_defaults()
