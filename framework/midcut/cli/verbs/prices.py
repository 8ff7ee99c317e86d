"""`midcut prices`: the price of a machine or of traffic out of a price file of AWS, as settings of `cost=billed`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from midcut.errors import ConfigError, MidcutError
from midcut.planning.aws_prices import PLAIN_MACHINE, find_price, read_prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.planning.aws_prices import Price

_SETTINGS: Final = {
    "edge": {"hour": "edge_usd_per_hour"},
    "cloud": {"hour": "cloud_usd_per_hour"},
    "up": {"GB": "usd_per_gb_up"},
    "down": {"GB": "usd_per_gb_down"},
}


def main(arguments: Sequence[str]) -> int:
    """Print one price; the exit status is 1 when there is none, or more than one."""
    options = _parser().parse_args(arguments)
    try:
        price = find_price(read_prices(Path(options.file).expanduser()), _wanted(options))
        setting = _SETTINGS[options.use].get(price.unit)
        if setting is None:
            raise ConfigError(f"--for {options.use}: the price of {price.sku} is per {price.unit}: {price.description}")
    except MidcutError as error:
        sys.stderr.write(f"midcut prices: {error}\n")
        return 1
    sys.stdout.write(_as_json(price, setting) if options.json else _as_text(price, setting))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="midcut prices",
        description="Find one price on demand in a price file that was downloaded from AWS (the bulk offer file of a "
        "region, or what GetProducts returns), and print it as a setting of cost=billed. A machine is Linux, shared, "
        "without licences, unless --where says otherwise.",
        epilog="example: midcut prices index.json --type t3.xlarge --location 'US East (Ohio)' --for cloud",
    )
    parser.add_argument("file", metavar="FILE", help="JSON")
    parser.add_argument("--type", metavar="NAME", help="of the machine, such as t3.xlarge (instanceType)")
    parser.add_argument("--location", metavar="TEXT", help="as the file writes it, such as 'US East (N. Virginia)'")
    parser.add_argument(
        "--for", dest="use", choices=_SETTINGS, default="cloud",
        help="what is paid: the edge's or the cloud's machine by the hour, traffic up or down by the gigabyte "
        "(default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--where", action="append", default=[], metavar="NAME=VALUE", help="a further attribute; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _wanted(options: argparse.Namespace) -> dict[str, str]:
    wanted = dict(PLAIN_MACHINE) if options.use in ("edge", "cloud") else {"productFamily": "Data Transfer"}
    named = {"instanceType": options.type}
    named["location" if options.use in ("edge", "cloud") else "fromLocation"] = options.location
    wanted |= {name: value for name, value in named.items() if value is not None}
    for text in options.where:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"--where takes NAME=VALUE, got {text!r}")
        wanted[name] = value
    return wanted


def _as_text(price: Price, setting: str) -> str:
    published = f", published {price.published}" if price.published else ""
    # By the hour takes the place of the default by busy seconds.
    by_hour = "cost.cloud_usd_per_busy_hour=0 " if setting == "cloud_usd_per_hour" else ""
    return f"# {price.sku}: {price.description}{published}\ncost=billed {by_hour}cost.{setting}={price.usd:g}\n"


def _as_json(price: Price, setting: str) -> str:
    fields = {
        "setting": f"cost.{setting}",
        "usd": price.usd,
        "per": price.unit,
        "sku": price.sku,
        "published": price.published,
        "attributes": price.attributes,
    }
    return msgspec.json.encode(fields).decode() + "\n"
