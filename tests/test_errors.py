"""What an error says of its cause."""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest

from midcut.errors import is_exhausted


def chained(*errors):
    """The first of these errors, each raised from the next one."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        (ValueError("no"), False),
        (chained(ValueError("no"), MemoryError()), True),
        (chained(ValueError("no"), RuntimeError("no"), OSError(errno.EMFILE, "too many")), True),
        (chained(ValueError("no"), OSError(errno.ENOENT, "missing")), False),
    ],
)
def test_a_lack_of_memory_is_seen_behind_other_errors(error, exhausted):
    assert is_exhausted(error) is exhausted


def test_errors_that_come_from_one_another_in_a_circle_end():
    first, second = ValueError("a"), ValueError("b")
    assert not is_exhausted(chained(first, second, first))
    assert not is_exhausted(chained(first, first))
