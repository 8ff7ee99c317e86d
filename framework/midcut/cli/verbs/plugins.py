"""`midcut plugins`: every component with kind, name, distribution, version and hook; and every problem."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table

from midcut.component import Kind
from midcut.config.registry import DISABLE_ENV, registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.config.offers import Registry


def main(arguments: Sequence[str]) -> int:
    """Print the list; the exit status is 1 when a plugin has a problem."""
    parser = argparse.ArgumentParser(
        prog="midcut plugins",
        description="List every component and plugin that is installed, and name what is wrong with one.",
        epilog=f"{DISABLE_ENV}=all leaves out third-party plugins; a comma list of names leaves out those.",
    )
    parser.add_argument("--kind", choices=[kind.value for kind in Kind], help="only this kind")
    parser.add_argument("--json", action="store_true", help="for scripts")
    options = parser.parse_args(arguments)
    found = registry()
    rows = [
        {
            "kind": kind.value,
            "name": name,
            "distribution": offer.source.distribution,
            "version": offer.source.version,
            "plugin": offer.source.plugin,
            "hook": offer.hook,
            "summary": offer.component.summary,
        }
        for (kind, name), offer in sorted(found.offers.items())
        if options.kind in (None, kind.value)
    ]
    if options.json:
        plugins = [msgspec.to_builtins(source) for source in found.sources]
        answer = {"components": rows, "plugins": plugins, "problems": found.problems}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(answer), indent=1).decode() + "\n")
    else:
        _print(found, rows)
    return 1 if found.problems else 0


def _print(found: Registry, rows: list[dict[str, str]]) -> None:
    console = Console()
    table = Table("kind", "name", "distribution", "hook", "what it is", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row["kind"], row["name"], f"{row['distribution']} {row['version']}", row["hook"], row["summary"])
    console.print(table)
    plugins = Table("plugin", "distribution", "hooks", box=None, pad_edge=False)
    for source in found.sources:
        plugins.add_row(source.plugin, f"{source.distribution} {source.version}", ", ".join(source.hooks))
    console.print()
    console.print(plugins)
    for problem in found.problems:
        console.print(f"problem: {problem}", style="red", highlight=False, markup=False)
