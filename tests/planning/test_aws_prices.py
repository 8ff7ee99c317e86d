"""Price files of AWS: the bulk offer file nests by SKU, GetProducts has JSON in strings and no such level."""

from __future__ import annotations

import json

import pytest

from midcut.cli.verbs.prices import main
from midcut.component import Kind
from midcut.config.build import build
from midcut.config.composition import compose
from midcut.errors import ConfigError, FileError
from midcut.planning.aws_prices import PLAIN_MACHINE, find_price, read_prices
from midcut.planning.pricing import request_usd
from midcut.types import Observation, Usage

NEW_YORK = "US East (Verizon) - New York"


def _product(sku, family="Compute Instance", **attributes):
    return {"sku": sku, "productFamily": family, "attributes": attributes}


def _machine(sku, **other):
    plain = {"instanceType": "t3.xlarge", "location": NEW_YORK, "usagetype": "USE1WL1NYC1-BoxUsage:t3.xlarge"}
    return _product(sku, **PLAIN_MACHINE | plain | other)


def _term(sku, usd, unit="Hrs", begin="0"):
    step = {
        "unit": unit,
        "beginRange": begin,
        "endRange": "Inf",
        "description": f"${usd} per {unit}",
        "pricePerUnit": {"USD": usd},
        "appliesTo": [],
    }
    return {f"{sku}.JRTCKXETXF": {"sku": sku, "priceDimensions": {f"{sku}.JRTCKXETXF.6YS6EN2CT7{begin}": step}}}


PRODUCTS = {
    "PLAIN": _machine("PLAIN"),
    "WINDOWS": _machine("WINDOWS", operatingSystem="Windows"),
    "RESERVED": _machine("RESERVED", capacitystatus="UnusedCapacityReservation"),
    "LARGE": _machine("LARGE", instanceType="r5.2xlarge"),
    "OUT": _product(
        "OUT", "Data Transfer", fromLocation="US East (N. Virginia)", transferType="AWS Outbound", toLocation="External"
    ),
}
TERMS = {
    "PLAIN": _term("PLAIN", "0.2240000000"),
    "WINDOWS": _term("WINDOWS", "0.2976000000"),
    "RESERVED": _term("RESERVED", "0.0000000000"),
    "LARGE": _term("LARGE", "0.6800000000"),
    "OUT": {
        "OUT.JRTCKXETXF": {
            "priceDimensions": {
                "b": _term("OUT", "0.0850000000", "GB", "10240")["OUT.JRTCKXETXF"]["priceDimensions"].popitem()[1],
                "a": _term("OUT", "0.0900000000", "GB", "1")["OUT.JRTCKXETXF"]["priceDimensions"].popitem()[1],
                "free": _term("OUT", "0.0000000000", "GB", "0")["OUT.JRTCKXETXF"]["priceDimensions"].popitem()[1],
            }
        }
    },
}


@pytest.fixture
def bulk(tmp_path):
    path = tmp_path / "index.json"
    content = {
        "formatVersion": "v1.0",
        "publicationDate": "2025-05-01T00:00:00Z",
        "products": PRODUCTS,
        "terms": {"OnDemand": TERMS, "Reserved": {"PLAIN": {"x": {"other": 1}}}},
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def answer(tmp_path):
    path = tmp_path / "answer.json"
    entries = [
        json.dumps({"product": product, "terms": {"OnDemand": TERMS[sku]}, "publicationDate": "2025-05-01T00:00:00Z"})
        for sku, product in PRODUCTS.items()
    ]
    path.write_text(json.dumps({"FormatVersion": "aws_v1", "PriceList": entries}))
    return path


@pytest.mark.parametrize("kind", ["bulk", "answer"])
def test_the_one_machine_on_demand_is_found_in_both_kinds_of_file(kind, request):
    prices = read_prices(request.getfixturevalue(kind))
    found = find_price(prices, PLAIN_MACHINE | {"instanceType": "t3.xlarge", "location": NEW_YORK})
    assert (found.sku, found.usd, found.unit) == ("PLAIN", 0.224, "hour")
    assert found.published == "2025-05-01T00:00:00Z"
    assert "RESERVED" not in {price.sku for price in prices}  # it costs nothing: it is paid already


def test_traffic_costs_its_first_paid_step(bulk):
    found = find_price(read_prices(bulk), {"productFamily": "Data Transfer"})
    assert (found.sku, found.usd, found.unit) == ("OUT", 0.09, "GB")


def test_several_are_listed_by_what_differs(bulk):
    with pytest.raises(ConfigError, match=r"2 prices have instanceType=t3\.xlarge; choose with --where:\n") as caught:
        find_price(read_prices(bulk), {"instanceType": "t3.xlarge"})
    lines = str(caught.value).splitlines()[1:]
    assert lines == ["  PLAIN 0.224 $/hour: operatingSystem=Linux", "  WINDOWS 0.2976 $/hour: operatingSystem=Windows"]


def test_none_names_what_there_is(bulk):
    with pytest.raises(ConfigError, match=r"has instanceType=t9\.nano; there is: instanceType r5\.2xlarge, t3\.xlarge"):
        find_price(read_prices(bulk), {"instanceType": "t9.nano"})
    with pytest.raises(ConfigError, match="no price has the attribute colour"):
        find_price(read_prices(bulk), {"colour": "red"})


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", "Expected `object`"), ('{"products": {}}', "missing required field `terms`")],
)
def test_another_file_is_one_line(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        read_prices(tmp_path / "x.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match="No such file"):
        read_prices(tmp_path / "none.json")


def test_the_verb_prints_a_setting(bulk, capsys):
    place = ["--location", NEW_YORK]
    assert main([str(bulk), "--type", "t3.xlarge", *place, "--for", "edge"]) == 0
    assert capsys.readouterr().out == (
        "# PLAIN: $0.2240000000 per Hrs, published 2025-05-01T00:00:00Z\ncost=billed cost.edge_usd_per_hour=0.224\n"
    )
    assert main([str(bulk), "--type", "t3.xlarge"]) == 0
    assert "cost=billed cost.cloud_usd_per_busy_hour=0 cost.cloud_usd_per_hour=0.224\n" in capsys.readouterr().out
    assert main([str(bulk), "--for", "down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["setting"] == "cost.usd_per_gb_down"
    assert main([str(bulk), "--type", "t3.xlarge", "--where", "nothing"]) == 1
    assert capsys.readouterr().err == "midcut prices: --where takes NAME=VALUE, got 'nothing'\n"


@pytest.mark.parametrize("preset", ["aws", "aws_lambda", "aws_wavelength", "azure", "gcp", "gcp_run"])
def test_presets_price_a_request(preset):
    cfg = compose("plan", [f"cost={preset}"])
    cost = build(Kind.COST, cfg.cost)
    seconds = Usage(1.0, 0.5, 1.0, 10**9, 10**9, 3, "raw", Observation(others={"rate_hz": 2.0}))
    assert float(request_usd(cost, seconds)) > 0.08  # the gigabyte down alone
