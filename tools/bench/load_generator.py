"""Clients that request one tail over and over, each on a connection of its own, and check every answer."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import torch

from midcut.types import TailRequest
from midcut.wire import oip
from midcut.wire.oip_tensors import encode_infer

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.graph import Partition
    from midcut.types import LoadedModel

TOLERANCE = 1e-5  # requests computed together differ in the last bits


@dataclass
class LoadResult:
    """The answers that clients got.

    Attributes:
        latencies_s: of right answers.
        wrong: number of answers that are not the unsplit model's.
        failures: reason why there was no answer -> how often.
        busy: answers with status 503, which `failures` counts too.
        asleep_s: how long patient clients slept, added up.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    wrong: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    busy: int = 0
    asleep_s: float = 0.0

    def figures(self) -> dict[str, float]:
        """Requests per second, latencies, and how many answers failed or were wrong."""
        p50, p99 = np.quantile(self.latencies_s, (0.5, 0.99)) * 1e3 if self.latencies_s else (np.nan, np.nan)
        return {
            "rate": len(self.latencies_s) / self.seconds,
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "answers": len(self.latencies_s),
            "failed": sum(self.failures.values()),
            "wrong": self.wrong,
            "busy": self.busy,
            "asleep": self.asleep_s / self.seconds,
        }


@dataclass(frozen=True)
class LoadGenerator:
    """One request as bytes, and the scores that the answer must have.

    Attributes:
        header_bytes: length of the JSON header at the start of the request's body.
        patient: clients wait as long as a refusal asks for (Retry-After), and up to half as long again; others come
            back at once.
    """

    path: str
    request: bytes
    header_bytes: int
    expected: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    patient: bool = False

    async def run(
        self, url: str, clients: int, seconds: float, halfway: Callable[[], object] | None = None
    ) -> LoadResult:
        """Let clients send requests for that long; `halfway` is called in the middle."""
        result, address = LoadResult(), urlsplit(url)
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: {oip.BINARY_TYPE}\r\n"
            f"{oip.HEADER_LENGTH}: {self.header_bytes}\r\nContent-Length: {len(self.request)}\r\n\r\n"
        )
        message = head.encode() + self.request
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(
                    self._client(address.hostname or "", address.port or 80, message, began + seconds, result)
                )
            if halfway is not None:
                await asyncio.sleep(seconds / 2)
                halfway()
        result.seconds = time.perf_counter() - began
        return result

    async def _client(self, host: str, port: int, message: bytes, until: float, result: LoadResult) -> None:
        while time.perf_counter() < until:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError as error:
                result.failures[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.01)
                continue
            try:
                while time.perf_counter() < until:
                    await self._exchange(reader, writer, message, until, result)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                result.failures[f"{type(error).__name__}: {error}"] += 1
            finally:
                writer.close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        message: bytes,
        until: float,
        result: LoadResult,
    ) -> None:
        sent = time.perf_counter()
        writer.write(message)
        async with asyncio.timeout(120):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        latency_s = time.perf_counter() - sent
        if not head.startswith(b"HTTP/1.1 200"):
            result.failures[f"{head[9:12].decode()} {body[:100].decode(errors='replace')}"] += 1
            await self._after_refusal(head, until, result)
            return
        scores = np.frombuffer(body[-self.expected.nbytes :], dtype="<f4")
        if np.abs(scores - self.expected).max() <= TOLERANCE * np.abs(self.expected).max():
            result.latencies_s.append(latency_s)
        else:
            result.wrong += 1

    async def _after_refusal(self, head: bytes, until: float, result: LoadResult) -> None:
        """Sleep where the client is patient, but not beyond the end, which would count as time without answers."""
        result.busy += head.startswith(b"HTTP/1.1 503")
        if self.patient and (asked := re.search(rb"(?i)\r\nretry-after: (\d+)", head)):
            asleep_s = min(int(asked[1]) * random.uniform(1.0, 1.5), until - time.perf_counter())
            result.asleep_s += max(asleep_s, 0.0)
            await asyncio.sleep(asleep_s)


def example_load(model: LoadedModel, parts: Partition, cut: int) -> LoadGenerator:
    """Requests of the model's own example at a cut."""
    values = parts.head(cut, model.example)
    names = [spec.name for spec in parts.table.cuts[cut].values]
    message = encode_infer(TailRequest(model.name, cut, parts.table.fingerprint, values, "bench", names=names))
    body = b"".join((message.header, *message.pieces))
    with torch.inference_mode():
        expected = model.module(*model.example).flatten().numpy()
    return LoadGenerator(oip.infer_path(model.name), body, len(message.header), expected)
