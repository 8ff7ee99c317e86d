"""Prices out of a price file that was downloaded from AWS: the bulk offer file, or what GetProducts returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from midcut.errors import ConfigError, FileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

PLAIN_MACHINE: Final = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "preInstalledSw": "NA",
}
"""What a machine is unless something else is asked for: on demand, without licences."""
_HINT = (
    "download an offer file, .../offers/v1.0/aws/AmazonEC2/current/REGION/index.json, or save what GetProducts returns"
)
_UNITS: Final = {"Hrs": "hour", "GB": "GB"}


class _Dimension(msgspec.Struct):
    unit: str
    pricePerUnit: dict[str, str]  # noqa: N815 - as the file has it
    description: str = ""
    beginRange: str = "0"  # noqa: N815


class _Term(msgspec.Struct):
    priceDimensions: dict[str, _Dimension]  # noqa: N815


class _Product(msgspec.Struct):
    attributes: dict[str, str]
    sku: str = ""
    productFamily: str = ""  # noqa: N815


class _BulkTerms(msgspec.Struct):
    OnDemand: dict[str, dict[str, _Term]] = {}


class _Bulk(msgspec.Struct):
    products: dict[str, _Product]
    terms: _BulkTerms
    publicationDate: str = ""  # noqa: N815


class _EntryTerms(msgspec.Struct):
    OnDemand: dict[str, _Term] = {}


class _Entry(msgspec.Struct):
    product: _Product
    terms: _EntryTerms
    publicationDate: str = ""  # noqa: N815


class _Answer(msgspec.Struct):
    PriceList: list[str | _Entry]


@dataclass(frozen=True)
class Price:
    """One product on demand.

    Attributes:
        sku: the product's name at AWS.
        usd: per `unit`; of a price in steps, the first that is not free.
        unit: `hour` or `GB`.
        attributes: what the file says of it.
        description: likewise, in words.
        published: when the file was published, as it says; `""` if it does not.
    """

    sku: str
    usd: float
    unit: str
    attributes: Mapping[str, str]
    description: str
    published: str


def read_prices(path: Path) -> list[Price]:
    """All prices on demand by the hour or gigabyte that are not zero.

    Raises:
        FileError: missing, or neither kind of file.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FileError(f"price file {path}: {error.strerror or error}; {_HINT}") from None
    try:
        keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys()
        prices = list(_of_answer(text) if "PriceList" in keys else _of_bulk(text))
    except msgspec.ValidationError as error:
        raise FileError(f"price file {path}: {error}; {_HINT}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(f"price file {path}: not JSON ({error}); {_HINT}") from None
    return [price for price in prices if 0.0 < price.usd < math.inf]


def find_price(prices: Sequence[Price], wanted: Mapping[str, str]) -> Price:
    """The only price whose attributes are those that are wanted.

    Args:
        wanted: attribute -> its value, without regard to case.

    Raises:
        ConfigError: there is none, or several: the message lists what there is, or how they differ.
    """
    found = [price for price in prices if _fits(price, wanted)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"no price has {_text(wanted)}; {_nearest(prices, wanted)}")
    differ = sorted({name for price in found for name in price.attributes if len(_values(found, name)) > 1})
    lines = [
        f"  {price.sku} {price.usd:g} $/{price.unit}: {_text({n: price.attributes.get(n, '-') for n in differ[:6]})}"
        for price in found[:20]
    ]
    more = "" if len(found) <= 20 else f"\n  and {len(found) - 20} more"
    raise ConfigError(f"{len(found)} prices have {_text(wanted)}; choose with --where:\n" + "\n".join(lines) + more)


def _of_bulk(text: bytes) -> Iterable[Price]:
    bulk = msgspec.json.decode(text, type=_Bulk)
    for sku, product in bulk.products.items():
        yield from _prices(sku, product, bulk.terms.OnDemand.get(sku, {}), bulk.publicationDate)


def _of_answer(text: bytes) -> Iterable[Price]:
    for given in msgspec.json.decode(text, type=_Answer).PriceList:
        # Each entry is JSON in a string; some tools unpack it before they save.
        entry = msgspec.json.decode(given, type=_Entry) if isinstance(given, str) else given
        yield from _prices(entry.product.sku, entry.product, entry.terms.OnDemand, entry.publicationDate)


def _prices(sku: str, product: _Product, terms: Mapping[str, _Term], published: str) -> Iterable[Price]:
    attributes = product.attributes | {"productFamily": product.productFamily}
    for term in terms.values():
        steps = [step for step in term.priceDimensions.values() if step.unit in _UNITS and "USD" in step.pricePerUnit]
        steps.sort(key=lambda step: _number(step.beginRange))
        paid = next((step for step in steps if _number(step.pricePerUnit["USD"]) > 0.0), None)
        if paid is not None:
            usd = _number(paid.pricePerUnit["USD"])
            yield Price(sku, usd, _UNITS[paid.unit], attributes, paid.description, published)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _fits(price: Price, wanted: Mapping[str, str]) -> bool:
    return all(price.attributes.get(name, "").lower() == value.lower() for name, value in wanted.items())


def _nearest(prices: Sequence[Price], wanted: Mapping[str, str]) -> str:
    """What there is instead, for the first attribute that rules out all prices that were left."""
    left, so_far = list(prices), dict[str, str]()
    for name, value in wanted.items():
        fitting = [price for price in left if _fits(price, {name: value})]
        if not fitting:
            values = sorted(_values(left, name) - {""})
            if not values:
                return f"no price has the attribute {name}"
            among = f"with {_text(so_far)} there is" if so_far else "there is"
            return f"{among}: {name} {', '.join(values[:12])}{', ...' if len(values) > 12 else ''}"
        left, so_far[name] = fitting, value
    return "there is none"


def _values(prices: Iterable[Price], name: str) -> set[str]:
    return {price.attributes.get(name, "") for price in prices}


def _text(attributes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in attributes.items())
