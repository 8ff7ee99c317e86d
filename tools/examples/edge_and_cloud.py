#!/usr/bin/env python3
"""Starts a cloud and an edge in this program, classifies the digits that ship, and asks the edge over HTTP too.

usage: python tools/examples/edge_and_cloud.py
"""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from pathlib import Path

import midcut
import midcut_models

DIGITS = Path(midcut_models.__file__).parent / "digits"
COUNT = 20


async def main() -> None:
    """Print how many digits were right, and where each was finished."""
    with (DIGITS / "labels.csv").open() as file:
        expected = {row["file"]: row["label"] for row in csv.DictReader(file)}
    names = sorted(expected)[:COUNT]

    async with (
        midcut.Cloud("model=mnist", "server.port=0") as cloud,
        midcut.Edge("model=mnist", f"cloud_url={cloud.url}", "planner.w=0.2", "input.port=0", serve=True) as edge,
        midcut.Client(edge.url) as client,
    ):
        finished: Counter[str] = Counter()
        right = 0
        for name in names:
            answer = await edge.classify(DIGITS / name)
            right += answer["label"] == expected[name]
            finished[f"cut {answer['result'].cut}, finished by the {answer['result'].finished_by}"] += 1
        print(f"{right} of {COUNT} digits right; {dict(finished)}")

        over_http = await client.classify(DIGITS / names[0])
        timings = {part: f"{seconds * 1e3:.2f} ms" for part, seconds in over_http.fields["timings"].items()}
        print(f"over HTTP: {names[0]} is a {over_http.fields['label']}, {timings}")
        print(f"because: {(await client.decision())['reason']}")


if __name__ == "__main__":
    asyncio.run(main())
