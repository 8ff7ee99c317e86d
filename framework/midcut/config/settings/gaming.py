"""Settings of `midcut simulate users=N`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from midcut.config.settings.bounds import check_at_least, check_over_zero, check_share


class Turns(Enum):
    """Which users answer at once."""

    sequential = "sequential"
    simultaneous = "simultaneous"
    random = "random"


@dataclass
class GameSettings:
    """How users of one cloud pay, and what they weigh.

    Attributes:
        rate_hz: requests a second of each user.
        base_usd_per_hour: price of a busy hour of the idle cloud.
        slope_usd_per_hour: by how much that price rises for each busy second a second.
        time_weight, energy_weight, price_weight: of a second, of a joule (with objective=energy), and of a US dollar an
            hour.
        turns: `sequential` users answer one after the other, which settles; `simultaneous` ones all at once, which may
            not; of `random` ones a share at once.
        share: of the users that answer in a round of random turns.
        most_rounds: where a game that does not settle ends.
    """

    rate_hz: float = 1.0
    base_usd_per_hour: float = 0.1664
    slope_usd_per_hour: float = 0.1664
    time_weight: float = 1.0
    energy_weight: float = 0.0
    price_weight: float = 1.0
    turns: Turns = Turns.sequential
    share: float = 0.3
    most_rounds: int = 100

    def __post_init__(self) -> None:
        prices = ("game.base_usd_per_hour", "game.slope_usd_per_hour")
        weights = ("game.time_weight", "game.energy_weight", "game.price_weight")
        check_at_least(0, self, *prices, *weights)
        check_over_zero(self, "game.rate_hz", "game.share")
        check_share(self, "game.share")
        check_at_least(1, self, "game.most_rounds")
