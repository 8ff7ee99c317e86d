"""Requests that nobody should send: valid ones with something broken in body, JSON, sizes, headers or framing."""

from __future__ import annotations

import json
import random
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

HEAD_LENGTH = "Inference-Header-Content-Length"
NUMBERS = (-1, 0, 1, 2, 3, 2**31, 2**32, 2**53, 2**60 + 2, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 0.5, -0.0, 1e308)
WORDS = ("", "0", "raw", "int8", "zstd", "base64", "FP32", "FP16", "BF16", "BYTES", "UINT8", "BOOL", "\x00", "é" * 300)
SHAPES: tuple[list[Any], ...] = (
    [],
    [0],
    [-1],
    [2**31, 2**33],
    [2**4, 2**60 + 2],
    [1] * 40,
    [1.5],
    ["1"],
    [1, 1, 28, 28],
    [2, 1, 28, 28],
)
# What JSON libraries differ on: written as they stand.
RAW_JSON = (b"NaN", b"Infinity", b"1e999", b"-0", b"[" * 100_000, b'{"a":' * 50_000, b'"\\ud800"', b"\xff", b"'a'", b"")
BOMB = zlib.compress(bytes(1_000_000))
METHODS = (
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "PO ST",
    "",
    "\x00",
    "A" * 9000,
)


@dataclass(frozen=True)
class Sample:
    """A valid request.

    Attributes:
        head_bytes: length of the JSON at the start of the body; 0 where there is none.
    """

    path: str
    headers: dict[str, str]
    body: bytes
    head_bytes: int = 0


@dataclass
class Request:
    """What goes to the socket.

    Attributes:
        framed: False where the server cannot know where the request ends.
    """

    kind: str
    path: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    method: str = "POST"
    version: str = "HTTP/1.1"
    framed: bool = True

    def encoded(self) -> bytes:
        lines = [f"{self.method} {self.path} {self.version}", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + self.body


class Hostile:
    """Makes broken requests out of valid ones, the same for the same seed."""

    def __init__(self, samples: list[Sample], seed: int) -> None:
        self._samples = samples
        self._dice = random.Random(seed)
        self._ways = [
            (4, self._bytes), (6, self._json), (3, self._sizes), (2, self._noise), (2, self._headers),
            (1, self._framing), (1, self._line),
        ]  # fmt: skip

    def request(self) -> Request:
        way = self._dice.choices([way for _, way in self._ways], [weight for weight, _ in self._ways])[0]
        return way(self._dice.choice(self._samples))

    def _made(
        self,
        kind: str,
        sample: Sample,
        body: bytes,
        head_bytes: int | None = None,
        changes: dict[str, str] | None = None,
    ) -> Request:
        headers = {"Host": "x", **sample.headers, "Content-Length": str(len(body))}
        if head_bytes is not None and HEAD_LENGTH in headers:
            headers[HEAD_LENGTH] = str(head_bytes)
        return Request(kind, sample.path, list((headers | (changes or {})).items()), body)

    def _bytes(self, sample: Sample) -> Request:
        """Flip, drop, double or insert bytes. In a tensor that would be harmless: mostly in what describes it."""
        body, dice = bytearray(sample.body), self._dice
        end = sample.head_bytes if sample.head_bytes and dice.random() < 0.9 else len(body)
        for _ in range(dice.choice((1, 1, 2, 5, 20))):
            at = dice.randrange(max(min(end, len(body)), 1))
            change = dice.randrange(4)
            if change == 0 and at < len(body):
                body[at] ^= 1 << dice.randrange(8)
            elif change == 1:
                del body[at : at + dice.choice((1, 2, 100, 10_000))]
            elif change == 2:
                body[at:at] = body[at : at + dice.choice((1, 10, 300))]
            else:
                body[at:at] = dice.randbytes(dice.choice((1, 4, 50)))
        return self._made("bytes", sample, bytes(body), sample.head_bytes)

    def _noise(self, sample: Sample) -> Request:
        body = self._dice.randbytes(self._dice.choice((0, 1, 10, 300, 5000)))
        if self._dice.random() < 0.3:
            body = self._dice.choice(RAW_JSON)
        return self._made("noise", sample, body, min(sample.head_bytes, len(body)))

    def _json(self, sample: Sample) -> Request:
        """Put something else in one place of the JSON, or take it away."""
        if not sample.head_bytes:
            return self._noise(sample)
        tree = json.loads(sample.body[: sample.head_bytes])
        for _ in range(self._dice.choice((1, 1, 1, 2, 3))):
            self._spoil(tree)
        head = json.dumps(tree).encode()
        if self._dice.random() < 0.1:
            head = head.replace(b"1", self._dice.choice(RAW_JSON), 1)
        return self._made("JSON", sample, head + sample.body[sample.head_bytes :], len(head))

    def _spoil(self, tree: Any) -> None:
        places = [
            (node, key) for node in _nodes(tree) for key in (node if isinstance(node, dict) else range(len(node)))
        ]
        if not places:  # what was there is gone
            return
        node, key = self._dice.choice(places)
        change = self._dice.randrange(10)
        if change == 0:
            del node[key]
        elif change == 1 and isinstance(node, dict):
            node[self._dice.choice(WORDS)] = self._value()
        elif change == 2 and isinstance(node, list):
            node *= self._dice.choice((2, 3, max(3000 // len(node), 2)))
        elif key == "shape":
            node[key] = list(self._dice.choice(SHAPES))
        else:
            node[key] = self._value()

    def _value(self) -> Any:
        dice = self._dice
        return dice.choice((
            None, True, [], {}, dice.choice(NUMBERS), dice.choice(NUMBERS), dice.choice(WORDS),
            list(dice.choice(SHAPES)), "a" * dice.choice((1, 500, 20_000)), [[[[]]]], {"a": {"b": [None]}}, [0.1] * 300,
        ))  # fmt: skip

    def _sizes(self, sample: Sample) -> Request:
        """Bodies longer or shorter than they say, and head lengths that are none."""
        dice = self._dice
        if HEAD_LENGTH in sample.headers and dice.random() < 0.7:
            told = dice.choice(("-1", "0", "1", "99999999999", "abc", "", "+5", "1_0", "٣", "0x10", "1e2", "9" * 400))
            return self._made("head length", sample, sample.body, changes={HEAD_LENGTH: told})
        body = (
            sample.body + dice.randbytes(dice.choice((1, 4, 4096)))
            if dice.random() < 0.5
            else sample.body[: -dice.choice((1, 4, 40))]
        )
        return self._made("size", sample, body, sample.head_bytes)

    def _headers(self, sample: Sample) -> Request:
        dice = self._dice
        name, value = dice.choice((
            ("Content-Encoding", "gzip"), ("Content-Encoding", "deflate"), ("Content-Encoding", "br, gzip"),
            ("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked, gzip"), ("Transfer-Encoding", "identity"),
            ("Content-Length", "-5"), ("Content-Length", "abc"), ("Content-Length", "1, 2"),
            ("Content-Length", "9" * 30), ("X", "a" * 100_000), ("Bad Name", "x"), ("X\x00", "x"), ("X", "a\x00b"),
            ("Expect", "200-nothing"),
        ))  # fmt: skip
        body = BOMB if name == "Content-Encoding" else sample.body
        made = self._made("header", sample, body, sample.head_bytes, {name: value})
        made.framed = not name.startswith(("Content-L", "Transfer"))
        return made

    def _framing(self, sample: Sample) -> Request:
        """Two lengths, a length and chunks, chunks that are none, and an end too soon."""
        dice = self._dice
        made = self._made("framing", sample, sample.body, sample.head_bytes)
        made.framed = False
        change = dice.randrange(4)
        if change == 0:
            made.headers.append(("Content-Length", str(len(sample.body) + 1)))
        elif change == 1:
            made.headers.append(("Transfer-Encoding", "chunked"))
        elif change == 2:
            made.headers = [(name, value) for name, value in made.headers if name != "Content-Length"]
            made.headers.append(("Transfer-Encoding", "chunked"))
            made.body = dice.choice(
                (b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"5;" + b"a" * 70_000, b"2\r\n{}x\r\n")
            )
        else:
            made.body = sample.body[: dice.randrange(len(sample.body) + 1)]
        return made

    def _line(self, sample: Sample) -> Request:
        """Methods, paths and versions that there are not."""
        dice = self._dice
        made = self._made("request line", sample, b"")
        change = dice.randrange(3)
        if change == 0:
            made.method = dice.choice(METHODS)
        elif change == 1:
            made.path = dice.choice((
                "/v3", sample.path + "/x", sample.path + "%00", "/v2/models/none/infer", "/v2/models/%ff/infer",
                "/v2/models/mnist@99/infer", "/v2/models/mnist@-1/infer", "/v2/models/mnist@a/infer", "x", "",
                "/" + "a" * 20_000,
                "/v2/models/mnist/versions/x/infer", "/../../etc/passwd", "http://[::1", "/\x00", "/é",
            ))  # fmt: skip
        else:
            made.version = dice.choice(("HTTP/9.9", "HTTP/1", "HTTP/", "", "SIP/2.0", "HTTP/1.1 x"))
        made.framed = False
        return made


def largest(sample: Sample, most_bytes: int) -> Request | None:
    """The sample with its values so often that the JSON is nearly that long; None where there is none to repeat."""
    tree = json.loads(sample.body[: sample.head_bytes]) if sample.head_bytes else {}
    values = tree.get("values") or tree.get("inputs")
    if not values:
        return None
    values *= max(int(0.9 * most_bytes) // (len(sample.body) // len(values) + 100), 1)
    body = json.dumps(tree).encode()
    headers = {"Host": "x", **sample.headers, "Content-Length": str(len(body))}
    if HEAD_LENGTH in headers:
        headers[HEAD_LENGTH] = str(len(body))
    return Request("largest", sample.path, list(headers.items()), body)


def _nodes(tree: Any) -> list[Any]:
    """All dicts and lists of a tree that have something in them."""
    if not isinstance(tree, dict | list) or not tree:
        return []
    inner = tree.values() if isinstance(tree, dict) else tree
    return [tree, *(node for child in inner for node in _nodes(child))]


def png_bomb(side: int) -> bytes:
    """A small PNG of side x side black pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((side // 8 + 1) * min(side, 20_000)), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
