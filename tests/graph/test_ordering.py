"""The narrow order against brute force over all sets, and against a minimum cut by flow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from midcut.config.settings import CutSettings, Order
from midcut.graph import partition
from midcut.graph.ordering import Dag, narrow_order, smallest_set
from midcut.types import LoadedModel

# a; r1, h1; r2, h2; j. Milliseconds at the edge, a tenth in the cloud; 1 kB takes 1 ms.
EDGE_MS = np.array([10.0, 5, 60, 5, 60, 1])
CLOUD_MS = EDGE_MS / 10
WORKED = Dag(
    work=EDGE_MS - CLOUD_MS,
    reads=[[0], [1], [2], [1], [4], [3, 5]],
    size_bytes=[600, 400, 20, 40, 20, 40, 0],
)


def total(dag, edge_s, cloud_s, nodes, s_per_byte=1.0):
    inside = np.zeros(len(dag.work), dtype=bool)
    inside[list(nodes)] = True
    return edge_s[inside].sum() + cloud_s[~inside].sum() + s_per_byte * dag.crossing_bytes(inside)


def positions(dag, edge_s, cloud_s, order, s_per_byte=1.0):
    return [total(dag, edge_s, cloud_s, order[:cut], s_per_byte) for cut in range(len(order) + 1)]


def test_the_worked_example():
    captured = positions(WORKED, EDGE_MS, CLOUD_MS, range(6))
    np.testing.assert_allclose(captured, [614.1, 423.1, 447.6, 521.6, 146.1, 220.1, 141.0], atol=1e-9)
    assert total(WORKED, EDGE_MS, CLOUD_MS, {0, 1, 3}) == pytest.approx(72.1, abs=1e-9)
    order = narrow_order(WORKED)
    assert set(order[:3]) == {0, 1, 3}
    narrow = positions(WORKED, EDGE_MS, CLOUD_MS, order)
    assert narrow[3] == min(narrow) == pytest.approx(72.1, abs=1e-9)


def random_dag(rng, nodes):
    reads = []
    for node in range(nodes):
        earlier = rng.permutation(node + 1)[: rng.integers(1, 3)]
        reads.append(sorted(earlier.tolist()))
    return Dag(rng.integers(1, 50, nodes).astype(float), reads, rng.integers(1, 100, nodes + 1).astype(float))


def closed_sets(dag):
    for bits in itertools.product([False, True], repeat=len(dag.work)):
        inside = np.array(bits)
        if all(
            value < dag.inputs or inside[value - dag.inputs]
            for node in np.flatnonzero(inside)
            for value in dag.reads[node]
        ):
            yield inside


def test_a_minimum_cut_is_what_brute_force_over_all_sets_finds():
    rng = np.random.default_rng(0)
    for _ in range(400):
        dag, price = random_dag(rng, int(rng.integers(3, 9))), float(rng.choice([0.1, 0.5, 1.0, 2.0, 7.0]))
        work = np.array(dag.work)
        best = min(price * work[inside].sum() + dag.crossing_bytes(inside) for inside in closed_sets(dag))
        found = smallest_set(dag, price)
        assert price * work[found].sum() + dag.crossing_bytes(found) == pytest.approx(best, rel=1e-6)


def test_every_best_set_is_a_position_whatever_the_price():
    rng = np.random.default_rng(1)
    for _ in range(100):
        dag = random_dag(rng, 8)
        order, work = narrow_order(dag), np.array(dag.work)
        seen = set()
        for node in order:  # nothing comes before what it needs
            assert all(value < dag.inputs or value - dag.inputs in seen for value in dag.reads[node])
            seen.add(node)
        sets = list(closed_sets(dag))
        at_positions = [np.isin(np.arange(8), order[:cut]) for cut in range(9)]
        for price in np.geomspace(0.05, 20, 15):
            cost = [[price * work[s].sum() + dag.crossing_bytes(s) for s in group] for group in (sets, at_positions)]
            assert min(cost[1]) == pytest.approx(min(cost[0]), rel=1e-6)


def test_what_must_stay_in_order_does():
    rng = np.random.default_rng(2)
    for _ in range(100):
        dag = random_dag(rng, 8)
        dag.before = [(first, then) for first, then in rng.integers(0, 8, (4, 2)).tolist() if first < then]
        place = {node: index for index, node in enumerate(narrow_order(dag))}
        assert all(place[first] < place[then] for first, then in dag.before)


class Branches(nn.Module):
    """Two branches that widen; in the captured order each runs to its end before the other starts."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.narrow1, self.wide1 = nn.Conv2d(16, 1, 1), nn.Conv2d(1, 32, 3, padding=1)
        self.narrow2, self.wide2 = nn.Conv2d(16, 1, 1), nn.Conv2d(1, 32, 3, padding=1)
        self.join = nn.Conv2d(64, 4, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.stem(x))
        first = self.act(self.wide1(self.narrow1(x)))
        second = self.act(self.wide2(self.narrow2(x)))
        return self.join(torch.cat([first, second], 1))


def loaded(module):
    torch.manual_seed(0)
    return LoadedModel("branches", module().eval(), (torch.rand(1, 3, 32, 32),), lambda image: image)


def test_a_network_of_branches_is_bit_identical_in_every_cut_and_narrower():
    model = loaded(Branches)
    captured, narrow = (partition(model, CutSettings(order=order)) for order in Order)
    expected = model.module(*model.example)
    assert {node.name for node in narrow.table.nodes} == {node.name for node in captured.table.nodes}
    assert narrow.table.graph != captured.table.graph, "edge and cloud must have the same order"
    for cut in narrow.legal:
        (out,) = narrow.tail(cut, narrow.head(cut, model.example))
        assert torch.equal(out, expected)
    smallest = [min(cut.payload_bytes for cut in each.table.cuts[2:-2]) for each in (captured, narrow)]
    assert smallest[1] < smallest[0]


def test_a_chain_stays_as_it_is(tiny_model):
    assert (
        partition(tiny_model, CutSettings(order=Order.narrow)).table.graph
        == partition(tiny_model, CutSettings()).table.graph
    )
