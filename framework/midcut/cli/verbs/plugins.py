"""`midcut plugins`: lists every component, every plugin and every problem with one."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from midcut.cli.tables import table_console
from midcut.component import Kind
from midcut.config.registry import DISABLE_ENV, registry
from midcut.results.files import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.config.offers import Registry


def main(arguments: Sequence[str]) -> int:
    """Print the list; the exit status is 1 when a plugin has a problem."""
    parser = argparse.ArgumentParser(
        prog="midcut plugins",
        description="List every installed component and plugin, and every problem with one.",
        epilog=f"{DISABLE_ENV}=all disables all third-party plugins; a comma-separated list of names disables those.",
    )
    parser.add_argument("--kind", choices=[kind.value for kind in Kind], help="list only this kind of component")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options = parser.parse_args(arguments)
    loaded = registry()
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
        for (kind, name), offer in sorted(loaded.offers.items())
        if options.kind in (None, kind.value)
    ]
    if options.json:
        plugins = [msgspec.to_builtins(source) for source in loaded.sources]
        answer = {"components": rows, "plugins": plugins, "problems": loaded.problems}
        sys.stdout.write(json_text(answer).decode())
    else:
        _print_tables(loaded, rows)
    return 1 if loaded.problems else 0


def _print_tables(loaded: Registry, rows: list[dict[str, str]]) -> None:
    console = table_console()
    table = Table("kind", "name", "distribution", "hook", "description", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row["kind"], row["name"], f"{row['distribution']} {row['version']}", row["hook"], row["summary"])
    console.print(table)
    plugins = Table("plugin", "distribution", "hooks", box=None, pad_edge=False)
    for source in loaded.sources:
        plugins.add_row(source.plugin, f"{source.distribution} {source.version}", ", ".join(source.hooks))
    console.print()
    console.print(plugins)
    for problem in loaded.problems:
        console.print(f"problem: {problem}", style="red", highlight=False, markup=False)
