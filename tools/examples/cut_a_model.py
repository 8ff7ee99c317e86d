#!/usr/bin/env python3
"""Cuts a network of your own, checks every cut against the whole, and plans for three links.

usage: python tools/examples/cut_a_model.py
"""

from __future__ import annotations

import torch
from torch import nn

import midcut

LINKS = {"DSL": (5_000, 30), "LTE": (20_000, 50), "fibre": (200_000, 5)}


def make_network() -> nn.Module:
    """A small image classifier; any `torch.nn.Module` that keeps nothing between calls will do."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    ).eval()


def main() -> None:
    """Print what crosses each cut, and where to cut on each link."""
    model, picture = make_network(), torch.rand(1, 3, 224, 224)
    net = midcut.cut(model, picture, name="small")

    with torch.inference_mode():
        whole = model(picture)
        for cut in net.cuts:
            payload = net.head(cut)(picture)  # at the edge
            output = net.tail(cut)(payload)  # in the cloud
            same = torch.equal(output, whole)
            size = sum(value.nbytes for value in payload if isinstance(value, torch.Tensor))
            print(f"cut {cut}: {size / 1e3:7.1f} kB cross it, {'the same bits' if same else 'OTHER BITS'} as the whole")

    for name, (bandwidth_kbps, ping_ms) in LINKS.items():
        for w in (0.0, 1.0):
            plan = net.plan(clock_mhz=1500, bandwidth_kbps=bandwidth_kbps, ping_ms=ping_ms, w=w)
            row = next(row for row in plan.rows if row["cut"] == plan.cut)
            aim = "fastest" if w == 0.0 else "cheapest"
            print(f"{name:5} {aim:8}: cut {plan.cut}, {row['latency_s'] * 1e3:.1f} ms, {row['cost_usd'] * 1e6:.3f} µ$")


if __name__ == "__main__":
    main()
