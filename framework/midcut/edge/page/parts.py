"""What the page of an edge shows and changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midcut.edge.page.live import LiveRecord
    from midcut.edge.steering import Steering


@dataclass(frozen=True)
class PageParts:
    """What the page of an edge shows and changes.

    Attributes:
        live: the latest decisions and answers.
        steering: changes the planner while the edge runs.
    """

    live: LiveRecord
    steering: Steering
