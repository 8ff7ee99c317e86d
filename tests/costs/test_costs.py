"""Eq. 4 with the prices of Table 2, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midcut.errors import ConfigError
from midcut.testing import CostModelSuite
from midcut_costs.busy_seconds import Owned, Rented
from midcut_costs.config import BillTransfer, OwnedConfig, RentedConfig


def test_rented_by_hand():
    # 9 s on the edge at 0.224 $/h = 0.224 * 9 / 3600 = 0.00056 $;
    # 18 s in the cloud at 0.1664 $/h = 0.1664 * 18 / 3600 = 0.000832 $; together 0.001392 $.
    cost = Rented(RentedConfig.edge_usd_per_hour, RentedConfig.cloud_usd_per_hour)
    assert cost.cost_usd(9.0, 5.0, 18.0) == pytest.approx(0.001392, rel=1e-15)


def test_owned_by_hand():
    cost = Owned(OwnedConfig.cloud_usd_per_hour)
    assert cost.cost_usd(9.0, 5.0, 18.0) == pytest.approx(0.000832, rel=1e-15)
    assert cost.cost_usd(9.0, 5.0, 0.0) == 0.0, "an owned edge that does everything costs nothing"


@pytest.mark.parametrize(
    ("bill", "usd_per_hour"),
    [("none", 0.0), ("edge", 0.224), ("cloud", 0.1664), ("both", 0.3904)],
)
def test_transfer_is_billed_to_whom_is_named(bill, usd_per_hour):
    # One hour on the link alone costs the price of an hour of whoever is paid meanwhile.
    assert Rented(0.224, 0.1664, BillTransfer(bill)).cost_usd(0.0, 3600.0, 0.0) == pytest.approx(
        usd_per_hour, rel=1e-15
    )
    owned = 0.1664 if bill in ("cloud", "both") else 0.0
    assert Owned(0.1664, bill).cost_usd(0.0, 3600.0, 0.0) == pytest.approx(owned, rel=1e-15)


def test_arrays_broadcast():
    edge_s = np.linspace(0, 1, 5)
    cloud_s = np.linspace(1, 0, 3)[:, None]
    for cost in (Owned(0.1664), Rented(0.224, 0.1664, BillTransfer.both)):
        usd = cost.cost_usd(edge_s, 0.5, cloud_s)
        assert usd.shape == (3, 5)
        assert usd[2, 4] == cost.cost_usd(1.0, 0.5, 0.0)


@pytest.mark.parametrize("price", [-0.01, math.nan, math.inf])
def test_prices_refused(price):
    with pytest.raises(ConfigError, match=r"cost\.cloud_usd_per_hour must be a finite price"):
        Owned(price)
    with pytest.raises(ConfigError, match=r"cost\.edge_usd_per_hour must be a finite price"):
        Rented(price, 0.1664)


class TestOwned(CostModelSuite):
    def make(self):
        return Owned(0.1664, BillTransfer.cloud)


class TestRented(CostModelSuite):
    def make(self):
        return Rented(0.224, 0.1664, BillTransfer.both)
