"""`users.json`: many users of one cloud whose price rises with its load. `midcut simulate users=N` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from midcut.results.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

FILE = "users.json"
FORMAT = "midcut-users/1"


class UsersOutcome(Struct, frozen=True):
    """What the users' choices lead to.

    Attributes:
        name: `equilibrium`, `optimum`, `price_ignored`, `edge_only` or `cloud_only`.
        total: sum over the users of weighted delay, energy and price.
        latency_s, energy_j: means over the users; energy is null without objective=energy.
        load: busy seconds of the cloud a second.
        price_usd_per_hour: of a busy hour at that load.
        pay_usd_per_hour: of all users together.
        cuts: of every user.
    """

    name: str
    total: float
    latency_s: float
    energy_j: float | None
    load: float
    price_usd_per_hour: float
    pay_usd_per_hour: float
    cuts: tuple[int, ...]


class UsersResult(Struct, frozen=True):
    """A whole run.

    Attributes:
        users: how many.
        turns: who answers at once: `sequential`, `simultaneous` or `random`.
        rounds: until nobody wanted to change, or the most that were allowed.
        settled: whether nobody wanted to change any more.
    """

    model: str
    users: int
    turns: str
    rounds: int
    settled: bool
    outcomes: tuple[UsersOutcome, ...]
    format: str = FORMAT


def write_users(path: Path, users: UsersResult) -> Path:
    """Write the result, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    return write_json(path, users, "users")


def read_users(path: Path) -> UsersResult:
    """Read a result.

    Raises:
        FileError: missing, not JSON, or not this format; the message says where.
    """
    return read_json(path, UsersResult, "users", "`midcut simulate users=N` writes one")
