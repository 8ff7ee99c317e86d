"""An execution order in which the minimum cuts of a graph are positions (Hu et al. 2019, DADS, find such cuts by flow).

Which nodes are best run at the edge depends on one number: the edge's extra seconds for an amount of work, against the
link's seconds per byte. As it grows, the best sets of nodes are nested (Gallo, Grigoriadis, Tarjan 1989, for parametric
minimum cuts). So nodes in the order in which they enter these sets make every best set a position. Seconds are unknown
when a graph is captured: work is estimated from multiply-adds and bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from midcut.planning.work import estimated_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from midcut.graph.program import Program
    from midcut.graph.verify import Examination
    from midcut.types import Node

# scipy's capacities are 32-bit: all finite ones add up to less than an infinite one, and that twice still fits.
_FINITE: Final = 1 << 29
_INFINITE: Final = 1 << 30
_MOST_FLOWS: Final = 400
_SOURCE, _SINK, _FIRST = 0, 1, 2


@dataclass
class Dag:
    """A graph for ordering. Values are numbered: first the inputs, then the outputs of the nodes.

    Attributes:
        work: of each node, N of them.
        reads: values that each node reads.
        size_bytes: of each value, inputs and N outputs.
        before: pairs of nodes of which the first must come before the second, beside those that `reads` implies.
    """

    work: Sequence[float]
    reads: Sequence[Sequence[int]]
    size_bytes: Sequence[float]
    before: Sequence[tuple[int, int]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return len(self.size_bytes) - len(self.work)

    def crossing_bytes(self, edge: NDArray[np.bool_]) -> float:
        """Bytes that are sent when the nodes of `edge`, shape (N,), run before the others; the reply is not counted."""
        present = np.concatenate([np.ones(self.inputs, dtype=np.bool_), edge])
        sent = {value for node in np.flatnonzero(~edge).tolist() for value in self.reads[node] if present[value]}
        return float(sum(self.size_bytes[value] for value in sent))


def narrow_order(dag: Dag) -> list[int]:
    """The nodes in an order in which every set that is best at some ratio of work to bytes is a position."""
    work = np.array(dag.work, dtype=np.float64)
    nothing, everything = np.zeros(len(work), dtype=np.bool_), np.ones(len(work), dtype=np.bool_)
    found = {everything.tobytes(): everything, nothing.tobytes(): nothing}
    open_pairs = [(everything, nothing)]
    for _ in range(_MOST_FLOWS):
        if not open_pairs:
            break
        larger, smaller = open_pairs.pop()
        more_work = float(work[larger].sum() - work[smaller].sum())
        fewer_bytes = dag.crossing_bytes(smaller) - dag.crossing_bytes(larger)
        if more_work <= 0.0 or fewer_bytes <= 0.0:
            continue
        price = fewer_bytes / more_work  # at which both sets are equally good
        middle = smallest_set(dag, price)
        if middle.tobytes() not in found:
            found[middle.tobytes()] = middle
            open_pairs += [(larger, middle), (middle, smaller)]
    entered = np.full(len(work), len(found))
    inside = nothing.copy()
    for number, nodes in enumerate(sorted(found.values(), key=lambda nodes: (int(nodes.sum()), nodes.tobytes()))):
        entered[nodes & ~inside] = number
        inside |= nodes
    return sorted(range(len(work)), key=lambda node: (entered[node], node))


def smallest_set(dag: Dag, price: float) -> NDArray[np.bool_]:
    """The smallest set of nodes with the least price * work + bytes sent, by a minimum cut; shape (N,).

    A node in the set has all that it needs in it. A value that several nodes read is sent once.
    """
    nodes = len(dag.work)
    outputs = _FIRST + nodes  # the flow network's number of value 0
    arcs: dict[tuple[int, int], float] = {}
    for node, work in enumerate(dag.work):
        arcs[_FIRST + node, _SINK] = price * work
    for value, size in enumerate(dag.size_bytes):
        maker = value - dag.inputs
        arcs[_SOURCE if maker < 0 else _FIRST + maker, outputs + value] = size
    for node, reads in enumerate(dag.reads):
        for value in reads:
            arcs[outputs + value, _FIRST + node] = np.inf
            if value >= dag.inputs:
                arcs[_FIRST + node, _FIRST + value - dag.inputs] = np.inf
    for first, then in dag.before:
        arcs[_FIRST + then, _FIRST + first] = np.inf
    reached = _source_side(arcs, outputs + len(dag.size_bytes))
    return reached[_FIRST : _FIRST + nodes]


def _source_side(arcs: dict[tuple[int, int], float], size: int) -> NDArray[np.bool_]:
    """What a minimum cut leaves with the source, as little as possible; shape (size,)."""
    ends = np.array(list(arcs), dtype=np.int32)
    capacity = np.array(list(arcs.values()))
    finite = np.isfinite(capacity)
    scale = _FINITE / max(float(capacity[finite].sum()), 1e-300)
    whole = np.where(finite, np.rint(np.where(finite, capacity, 0.0) * scale), _INFINITE).astype(np.int32)
    network = csr_matrix((whole, (ends[:, 0], ends[:, 1])), shape=(size, size))
    residual = network - maximum_flow(network, _SOURCE, _SINK).flow
    residual.data = np.maximum(residual.data, 0)
    residual.eliminate_zeros()
    reached = np.zeros(size, dtype=np.bool_)
    reached[breadth_first_order(residual, _SOURCE, return_predecessors=False)] = True
    return reached


def reorder(program: Program, examination: Examination, nodes: Sequence[Node]) -> Program:
    """The same program in a narrow order.

    Args:
        examination, nodes: of the program as captured.
    """
    inputs = list(range(len(program.inputs)))
    number = {register: index for index, register in enumerate([*inputs, *(step.out for step in program.steps)])}
    sizes = [_bytes_of(examination, register) for register in inputs] + [float(node.out_bytes) for node in nodes]
    dag = Dag(
        work=[estimated_s(node) for node in nodes],
        reads=[[number[register] for register in step.reads if register in number] for step in program.steps],
        size_bytes=sizes,
        before=list(_memory_order(program, examination)),
    )
    return program.reordered(narrow_order(dag))


def _memory_order(program: Program, examination: Examination) -> Iterable[tuple[int, int]]:
    """Pairs of steps that must stay in order because the one writes into memory that the other reads or writes."""
    for group, writes in examination.writes.items():
        touching = [
            index
            for index, step in enumerate(program.steps)
            if any(examination.group.get(register) == group for register in step.reads)
        ]
        for write in writes:
            for other in touching:
                if other != write:
                    yield min(write, other), max(write, other)


def _bytes_of(examination: Examination, register: int) -> float:
    """Bytes of an input that crosses cuts; they only matter in comparison."""
    parts = examination.parts.get(register, ())
    return float(sum(4 * np.prod(sizes) for dtype, sizes in parts if dtype != "int"))
