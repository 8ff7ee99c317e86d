"""How what an evaluation names looks in all its figures: colour, marker, dashes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from midcut.reporting.style import BLACK, BLUE, COLOURS, CYAN, DASHES, MARKERS, PALETTE, SIZES, YELLOW
from midcut.reporting.texts import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midcut.results.evaluation import Figure

_COLOURS = {"edge": BLUE, "link": YELLOW, "cloud": CYAN, "published": BLACK} | COLOURS
_ALIKE = {label.replace("-", "_").replace(" ", "_"): name for name, label in LABELS.items()} | {
    "best_static": "static_best",
    "edge_alone": "edge_only",
    "per_step_oracle": "oracle",
}
_DASHED = {"cloud_only": DASHES[1], "static_best": DASHES[2]}
_SHAPES = ("o", "s", "^", "D", "v", "P", "X", "p")
_HATCHES = ("", "////", "....", "xxxx")


@dataclass(frozen=True)
class Look:
    """What a series is drawn with; `hollow` are dots without a filling, `hatch` is on bars."""

    colour: str
    marker: str
    dash: Any
    hollow: bool = False
    hatch: str = ""

    @property
    def size(self) -> float:
        """Points its marker needs to look as large as a dot of 6."""
        return SIZES.get(self.marker, 6.0)


def split(name: str) -> tuple[str, str]:
    """`alexnet, paper` into its halves; what has no comma has no second half."""
    head, _, tail = name.rpartition(", ")
    return (head, tail) if head else (name, "")


class Looks:
    """Looks of all names in some figures: names in one figure differ in colour and in shape, as long as there are any.

    The two halves of names count apart: where both tell series apart, only one of them gives colours.
    """

    def __init__(self, figures: Iterable[Figure]) -> None:
        beside: dict[str, set[str]] = {}
        for figure in figures:
            for half in zip(*(split(series.name) for series in figure.series), strict=True):
                for name in filter(None, half):
                    beside.setdefault(name, set()).update(half)
        self._looks: dict[str, Look] = {name: look for name in beside if (look := _known(name))}
        for name, others in beside.items():
            if name not in self._looks:
                self._looks[name] = _new([self._looks[other] for other in others if other in self._looks])

    def one(self, name: str) -> Look:
        """The look of one half of a name."""
        return self._looks[name]

    def of(self, name: str, figure: Figure) -> Look:
        """The look of a whole name in a figure: the half that tells its series apart gives the colour.

        Where both halves do, the first gives the colour, and the second the dashes and the filling.
        """
        head, tail = split(name)
        halves = [split(series.name) for series in figure.series]
        heads, tails = (list(dict.fromkeys(half[part] for half in halves)) for part in (0, 1))
        if not tail or len(heads) == len(halves):
            return self.one(head)
        if len(heads) == 1:
            return self.one(tail)
        place = [one for one in tails if one].index(tail)
        return replace(
            self.one(head), dash=DASHES[place % len(DASHES)], hollow=bool(place % 2),
            hatch=_HATCHES[place % len(_HATCHES)],
        )  # fmt: skip


def _new(near: Sequence[Look]) -> Look:
    """A look that none beside it has; when the colours are used up, they come again with other dashes."""
    colours, shapes = [look.colour for look in near], [look.marker for look in near]
    colour = min(PALETTE, key=colours.count)
    return Look(colour, min(_SHAPES, key=shapes.count), DASHES[colours.count(colour) % len(DASHES)])


def _known(name: str) -> Look | None:
    """Of what looks the same in all reports."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    found = _ALIKE.get(plain, plain)
    if found not in _COLOURS:
        return None
    published = found == "published"
    return Look(_COLOURS[found], "D" if published else MARKERS.get(found, "o"), _DASHED.get(found, "-"), published)
