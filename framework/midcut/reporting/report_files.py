"""Writes the files of a report: the page, figures, tables in Markdown, numbers in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from midcut.errors import FileError
from midcut.reporting.style import inline_svg, save_figure
from midcut.results.files import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from midcut.reporting.report_model import Report, Section, Table

PAGE, TABLES, NUMBERS, FIGURES = "report.html", "report.md", "report.json", "figures"
FORMAT = "midcut-report/1"


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write all files of a report into a folder, which is created.

    Returns:
        their paths, the page first.

    Raises:
        FileError: the folder or a file cannot be written.
    """
    files = [folder / PAGE, folder / TABLES, folder / NUMBERS]
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        svg_by_name = {}
        for picture in report.pictures():
            png, svg = (folder / FIGURES / f"{picture.name}.{suffix}" for suffix in ("png", "svg"))
            save_figure(picture.figure, png, svg)
            svg_by_name[picture.name] = inline_svg(svg.read_text(encoding="utf-8"), picture.name)
            files += [png, svg]
        texts = (html_page(report, svg_by_name), markdown_text(report), json_numbers(report))
        for path, text in zip(files, texts, strict=False):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(f"{folder}: cannot write the report: {error.strerror or error}") from None
    return files


def html_page(report: Report, svg: Mapping[str, str]) -> str:
    """One HTML file that needs nothing else.

    Args:
        svg: name -> figure, inserted as it is; all other text is escaped.
    """
    environment = Environment(
        loader=PackageLoader("midcut.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(report=report, svg=svg) + "\n"


def markdown_text(report: Report) -> str:
    """The report in Markdown, with links to the figures as PNG."""
    lines = [f"# {_escape(report.title)}", "", _escape(report.lead), ""]
    for section in report.sections:
        lines += _section_lines(section, 2)
    return "\n".join(lines).rstrip() + "\n"


def _section_lines(section: Section, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {_escape(section.title)}", "")
    for paragraph in section.text:
        yield from (_escape(paragraph), "")
    for name, value in section.facts.items():
        yield f"- {_escape(name)}: {_escape(value)}"
    if section.facts:
        yield ""
    for table in section.tables:
        yield from _table_lines(table)
    for picture in section.pictures:
        yield from (f"![{_escape(picture.caption)}]({FIGURES}/{picture.name}.png)", "")
    for note in section.notes:
        yield f"- {_escape(note)}"
    if section.notes:
        yield ""
    for inside in section.sections:
        yield from _section_lines(inside, level + 1)


def _table_lines(table: Table) -> Iterator[str]:
    if table.caption:
        yield from (_escape(table.caption), "")
    yield _table_row([column.title for column in table.columns])
    yield "|" + "|".join("--:" if column.number else "---" for column in table.columns) + "|"
    yield from map(_table_row, table.cells())
    yield ""


def _table_row(cells: list[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    """Text on one line, in which Markdown finds no markup."""
    flat = " ".join(text.split())
    for character in ("\\", "|", "<", ">", "*", "_", "`", "[", "]", "#"):
        flat = flat.replace(character, f"\\{character}")
    return flat


def json_numbers(report: Report) -> str:
    """All numbers, unrounded, for scripts."""
    value = {
        "format": FORMAT,
        "title": report.title,
        "verdicts": report.verdicts,
        "sections": [_section_numbers(section) for section in report.sections],
    }
    return json_text(value).decode()


def _section_numbers(section: Section) -> dict[str, Any]:
    return {
        "key": section.key,
        "title": section.title,
        "facts": section.facts,
        "tables": {table.key: table.records() for table in section.tables},
        "figures": [picture.name for picture in section.pictures],
        "sections": [_section_numbers(inside) for inside in section.sections],
    }
