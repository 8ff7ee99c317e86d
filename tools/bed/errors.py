"""Errors of a test bed."""

from __future__ import annotations

from midcut.errors import MidcutError


class BedError(MidcutError):
    """The bed cannot do what was asked, or not accurately enough to report."""


class BedUnavailable(BedError):  # noqa: N818 - a state of this machine, which tests skip on
    """This machine cannot have a test bed; the message says what is missing."""
