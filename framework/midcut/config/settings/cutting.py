"""How a model is captured, and which of its cuts are on offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Capture(Enum):
    """The tracer that captures the model's graph."""

    fx = "fx"
    export = "export"


class Order(Enum):
    """The execution order, in which each position is a cut."""

    captured = "captured"
    narrow = "narrow"


@dataclass
class CutSettings:
    """How the model is captured and which of its cuts are on offer.

    Attributes:
        capture: the tracer; the other one is tried where it fails.
        order: `captured` is the model's own order; `narrow` moves branches so that the sets of nodes that are best at
            the edge are positions (DADS's minimum cuts). Edge, cloud and profiles must have the same.
        cache: folder where captured models are kept, so that the next start need not capture again; null keeps none.
        verify: compare every cut with the whole model once, at load.
        single_tensor: offer only cuts that one tensor crosses.
        modules: offer one cut per leaf module (as the paper counts), and cut 0.
        first_cut, last_cut: inclusive bounds of the cuts; a negative number counts from the end, null is no bound.
        keep_on_edge: names of nodes or modules that must run at the edge.
        keep_in_cloud: names of nodes or modules that must run in the cloud.
    """

    capture: Capture = Capture.fx
    order: Order = Order.captured
    cache: str | None = None
    verify: bool = True
    single_tensor: bool = False
    modules: bool = False
    first_cut: int | None = None
    last_cut: int | None = None
    keep_on_edge: list[str] = field(default_factory=list)
    keep_in_cloud: list[str] = field(default_factory=list)
