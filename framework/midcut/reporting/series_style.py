"""Colour, marker and dashes of every series of an evaluation: the same name looks the same in all its figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from midcut.reporting.formatting import LABELS
from midcut.reporting.style import BLACK, BLUE, COLOURS, CYAN, DASHES, MARKERS, PALETTE, SIZES, YELLOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midcut.results.evaluation import Figure

_COLOURS = {"edge": BLUE, "link": YELLOW, "cloud": CYAN, "published": BLACK} | COLOURS
_SYNONYMS = {label.replace("-", "_").replace(" ", "_"): name for name, label in LABELS.items()} | {
    "best_static": "static_best",
    "edge_alone": "edge_only",
    "per_step_oracle": "oracle",
}
_DASHED = {"cloud_only": DASHES[1], "static_best": DASHES[2]}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_HATCHES = ("", "////", "....", "xxxx")


@dataclass(frozen=True)
class SeriesStyle:
    """How a series is drawn. `hollow`: markers are not filled; `hatch`: pattern on bars."""

    colour: str
    marker: str
    dash: Any
    hollow: bool = False
    hatch: str = ""

    @property
    def size(self) -> float:
        """Points the marker needs to look as large as a dot of 6."""
        return SIZES.get(self.marker, 6.0)


def split_name(name: str) -> tuple[str, str]:
    """Split `alexnet, paper` at its last comma; the second part is empty if there is no comma."""
    first, _, second = name.rpartition(", ")
    return (first, second) if first else (name, "")


class SeriesStyles:
    """Styles of all names in some figures: names in one figure differ in colour and marker as long as there are any.

    The two parts of a name have styles of their own: if both parts differ in a figure, only the first gives the colour.
    """

    def __init__(self, figures: Iterable[Figure]) -> None:
        neighbours: dict[str, set[str]] = {}
        for figure in figures:
            pairs = [split_name(series.name) for series in figure.series]
            for names in ([first for first, _ in pairs], [second for _, second in pairs if second]):
                for name in names:
                    neighbours.setdefault(name, set()).update(names)
        self._styles: dict[str, SeriesStyle] = {name: style for name in neighbours if (style := _known_style(name))}
        for name, others in neighbours.items():
            if name not in self._styles:
                self._styles[name] = _distinct_style([self._styles[other] for other in others if other in self._styles])

    def of_part(self, name: str) -> SeriesStyle:
        """The style of one part of a name."""
        return self._styles[name]

    def of_series(self, name: str, figure: Figure) -> SeriesStyle:
        """The style of a series named `this, that`: the part that differs between the figure's series gives the colour.

        If both parts differ, the first gives the colour, and the second the dashes and the filling.
        """
        first, second = split_name(name)
        pairs = [split_name(series.name) for series in figure.series]
        firsts, seconds = (list(dict.fromkeys(pair[part] for pair in pairs)) for part in (0, 1))
        if not second or len(firsts) == len(pairs):
            return self.of_part(first)
        if len(firsts) == 1:
            return self.of_part(second)
        place = list(filter(None, seconds)).index(second)
        return replace(
            self.of_part(first), dash=DASHES[place % len(DASHES)], hollow=bool(place % 2),
            hatch=_HATCHES[place % len(_HATCHES)],
        )  # fmt: skip


def _distinct_style(neighbours: Sequence[SeriesStyle]) -> SeriesStyle:
    """A style unlike those of names in the same figures; when no colour is left, they come again with other dashes."""
    colours, markers = [style.colour for style in neighbours], [style.marker for style in neighbours]
    colour = min(PALETTE, key=colours.count)
    return SeriesStyle(colour, min(_MARKERS, key=markers.count), DASHES[colours.count(colour) % len(DASHES)])


def _known_style(name: str) -> SeriesStyle | None:
    """The style of a name that looks the same in all reports, such as a planner or a part of the latency."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    known = _SYNONYMS.get(plain, plain)
    if known not in _COLOURS:
        return None
    published = known == "published"
    marker = "D" if published else MARKERS.get(known, "o")
    return SeriesStyle(_COLOURS[known], marker, _DASHED.get(known, "-"), published)
