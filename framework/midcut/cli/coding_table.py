"""The table of `midcut profile agreement=FOLDER`: what each codec does at the cuts where little crosses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from midcut.profiles.coding_rows import coded_cuts, narrowing_cuts

if TYPE_CHECKING:
    from rich.console import Console

    from midcut.profiles import Profile
    from midcut.profiles.coding_rows import CodedCut


def print_codings(profile: Profile, console: Console) -> None:
    """Print a table by cut and codec; nothing for a profile without measurements on pictures."""
    by_codec = coded_cuts(profile)
    if not by_codec:
        return
    rows = {(row.cut, codec): row for codec, coded in by_codec.items() for row in coded}
    cuts = narrowing_cuts(profile.table, sorted({cut for cut, _ in rows}))
    table = Table("cut", "after", "raw kB", *by_codec, box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for cut in cuts:
        found = [rows.get((cut, codec)) for codec in by_codec]
        any_row = next(row for row in found if row is not None)
        cells = ("" if row is None else _cell(row) for row in found)
        table.add_row(str(cut), any_row.after, f"{any_row.raw_bytes / 1e3:.1f}", *cells)
    pictures = max(coding.pictures for coding in profile.codings or ())
    title = f"bytes to raw, top-1 agreement and output error on {pictures} pictures, where less crosses than before"
    console.print(title, highlight=False, soft_wrap=True)
    console.print(table)


def _cell(row: CodedCut) -> str:
    error = "0" if row.error == 0.0 else f"{row.error:.0e}"
    return f"{row.share:.3f} {row.agreement:.1%} {error}"
