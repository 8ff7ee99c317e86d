"""Many users of one cloud whose price rises with its load, and the best responses that end in an equilibrium.

Gao et al. (2021, IEEE TMC) let users weigh delay, energy and a price that depends on the load. Their equations are not
public: this is a stand-in. A user i at a cut loads the cloud with x_i = requests a second * cloud seconds, pays
x_i * (p0 + a * X) with X the load of all, its own included, and weighs J_i = w_t T_i + w_e E_i + w_p pay_i. With one
w_p for all there is an exact potential, so that best responses, one user after the other, end (Monderer, Shapley 1996).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midcut.types import Floats, Ints

MAX_COMBINATIONS = 1_000_000
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Game:
    """Users that each choose a cut.

    Attributes:
        own: the part of J that depends on the user's own choice only, w_t T + w_e E, in the unit of J, shape (U, K).
        load: busy seconds of the cloud a second, shape (U, K). A load of 1 is one processor that is always busy.
        base_price: p0, US dollars an hour for a load of 1, before it rises by `slope`.
        slope: a, by how many US dollars an hour that price rises for each load of 1 of all users together.
        price_weight: w_p, the weight of money in J, in units of J for one US dollar an hour.
    """

    own: Floats
    load: Floats
    base_price: float
    slope: float
    price_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("base_price", "slope", "price_weight"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"users: {name} must be a finite number, 0 or more, got {getattr(self, name)}")

    @property
    def users(self) -> int:
        return len(self.own)

    def costs(self, user: int, others_load: float) -> Floats:
        """J of each choice of one user, given the load of the others, shape (K,)."""
        x = self.load[user]
        costs: Floats = self.own[user] + self.price_weight * x * (self.base_price + self.slope * (others_load + x))
        return costs

    def loads(self, choices: Ints) -> Floats:
        """Load of every user, shape (U,)."""
        loads: Floats = self.load[np.arange(self.users), choices]
        return loads

    def pay(self, choices: Ints) -> Floats:
        """What every user pays, US dollars an hour, shape (U,)."""
        loads = self.loads(choices)
        paid: Floats = loads * (self.base_price + self.slope * loads.sum())
        return paid

    def total(self, choices: Ints) -> float:
        """Sum of J over all users."""
        return float(self.own[np.arange(self.users), choices].sum() + self.price_weight * self.pay(choices).sum())

    def potential(self, choices: Ints) -> float:
        """The potential: it falls by what a user gains who changes its choice alone."""
        loads = self.loads(choices)
        own = self.own[np.arange(self.users), choices].sum()
        shared = self.base_price * loads.sum() + self.slope / 2.0 * (loads.sum() ** 2 + (loads**2).sum())
        return float(own + self.price_weight * shared)

    def best_response(self, user: int, choices: Ints) -> int:
        """The user's best choice beside the others'; its present one where nothing is better."""
        costs = self.costs(user, float(self.loads(choices).sum() - self.load[user, choices[user]]))
        best = int(costs.argmin())
        better = costs[best] < costs[choices[user]] - _TOLERANCE * max(abs(costs[best]), 1.0)
        return best if better else int(choices[user])

    def is_equilibrium(self, choices: Ints) -> bool:
        """Whether no user gains by changing alone."""
        return all(self.best_response(user, choices) == choices[user] for user in range(self.users))

    def optimum(self) -> Ints | None:
        """The choices with the smallest total, by trying all; None where these are more than a million."""
        if self.own.shape[1] ** self.users > MAX_COMBINATIONS:
            return None
        every = (np.array(each) for each in itertools.product(range(self.own.shape[1]), repeat=self.users))
        return min(every, key=self.total)


@dataclass(frozen=True)
class Course:
    """How best responses went.

    Attributes:
        choices: the choice of every user at the end, shape (U,).
        rounds: in which every user had a turn, the last one without a change included where it settled.
        settled: whether nobody wanted to change any more.
    """

    choices: Ints
    rounds: int
    settled: bool


def best_responses(game: Game, start: Ints, turns: Iterator[list[list[int]]], most_rounds: int) -> Course:
    """Let users answer one another in rounds.

    Args:
        turns: for every round groups of users that answer at once, one group after the other; see `sequential`,
            `simultaneous` and `random_turns`.
    """
    choices = start.copy()
    for number in range(1, most_rounds + 1):
        before = choices.copy()
        for group in next(turns):
            choices[group] = [game.best_response(user, choices) for user in group]
        if (choices == before).all() and game.is_equilibrium(choices):
            return Course(choices, number, settled=True)
    return Course(choices, most_rounds, settled=False)


def sequential(users: int) -> Iterator[list[list[int]]]:
    """One user after the other: this settles."""
    return itertools.repeat([[user] for user in range(users)])


def simultaneous(users: int) -> Iterator[list[list[int]]]:
    """All at once, as users that poll one price do: this may go on for ever."""
    return itertools.repeat([list(range(users))])


def random_turns(users: int, share: float, seed: int) -> Iterator[list[list[int]]]:
    """At once, but in each round only some, drawn at random: so held back, polling settles too."""
    rng = np.random.default_rng(seed)
    while True:
        yield [np.flatnonzero(rng.random(users) < share).tolist()]
