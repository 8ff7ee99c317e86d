"""The config of a verb from the overrides that its command line takes."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from midcut.config.composition import compose_with_choices
from midcut.config.failures import one_line
from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from omegaconf import DictConfig


def keep_quiet() -> None:
    """Send warnings alone, to stderr, where the program has not configured structlog, which else prints all it gets."""
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


def compose(verb: str, overrides: Iterable[str]) -> tuple[DictConfig, dict[str, Any]]:
    """Compose a verb's config.

    Returns:
        the config, and what is chosen in each of its groups.

    Raises:
        ConfigError: an override is not possible; its text is one line.
    """
    keep_quiet()
    words = list(overrides)
    wrong = next((word for word in words if not isinstance(word, str)), None)
    if wrong is not None:
        raise ConfigError(f"an override is a string such as 'model=vgg16', got {wrong!r}")
    try:
        return compose_with_choices(verb, words)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{verb}: {one_line(error)}") from None
