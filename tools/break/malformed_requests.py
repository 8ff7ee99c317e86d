"""Malformed requests: valid ones with something broken in body, JSON, sizes, headers or framing."""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import dataclass, field
from typing import Any

HEADER_LENGTH = "Inference-Header-Content-Length"
NUMBERS = (-1, 0, 1, 2, 3, 2**31, 2**32, 2**53, 2**60 + 2, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 0.5, -0.0, 1e308)
WORDS = ("", "0", "raw", "int8", "zstd", "base64", "FP32", "FP16", "BF16", "BYTES", "UINT8", "BOOL", "\x00", "é" * 300)
SHAPES: tuple[list[Any], ...] = (
    [], [0], [-1], [2**31, 2**33], [2**4, 2**60 + 2], [1] * 40, [1.5], ["1"], [1, 1, 28, 28], [2, 1, 28, 28],
)  # fmt: skip
# JSON on which libraries differ, sent as these bytes.
RAW_JSON = (b"NaN", b"Infinity", b"1e999", b"-0", b"[" * 100_000, b'{"a":' * 50_000, b'"\\ud800"', b"\xff", b"'a'", b"")
BOMB = zlib.compress(bytes(1_000_000))
METHODS = (
    "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "PO ST", "", "\x00", "A" * 9000,
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A valid request.

    Attributes:
        header_bytes: length of the JSON at the start of the body; 0 where there is none.
    """

    path: str
    headers: dict[str, str]
    body: bytes
    header_bytes: int = 0


@dataclass
class Request:
    """A request, not necessarily a valid one.

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


class RequestBreaker:
    """Makes malformed requests out of valid ones, the same for the same seed."""

    def __init__(self, samples: list[Sample], seed: int) -> None:
        self._samples = samples
        self._rng = random.Random(seed)
        self._breakers = [
            (4, self._break_bytes), (6, self._break_json), (3, self._break_sizes), (2, self._random_body),
            (2, self._break_headers), (1, self._break_framing), (1, self._break_request_line),
        ]  # fmt: skip

    def request(self) -> Request:
        weights, breakers = zip(*self._breakers, strict=True)
        (breaker,) = self._rng.choices(breakers, weights)
        request: Request = breaker(self._rng.choice(self._samples))
        return request

    def _request(
        self,
        kind: str,
        sample: Sample,
        body: bytes,
        header_bytes: int | None = None,
        changes: dict[str, str] | None = None,
    ) -> Request:
        headers = {"Host": "x", **sample.headers, "Content-Length": str(len(body))}
        if header_bytes is not None and HEADER_LENGTH in headers:
            headers[HEADER_LENGTH] = str(header_bytes)
        return Request(kind, sample.path, list((headers | (changes or {})).items()), body)

    def _break_bytes(self, sample: Sample) -> Request:
        """Flip, drop, repeat or insert bytes; mostly in the JSON, since any bytes make a valid tensor."""
        body, rng = bytearray(sample.body), self._rng
        end = sample.header_bytes if sample.header_bytes and rng.random() < 0.9 else len(body)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            at = rng.randrange(max(min(end, len(body)), 1))
            change = rng.randrange(4)
            if change == 0 and at < len(body):
                body[at] ^= 1 << rng.randrange(8)
            elif change == 1:
                del body[at : at + rng.choice((1, 2, 100, 10_000))]
            elif change == 2:
                body[at:at] = body[at : at + rng.choice((1, 10, 300))]
            else:
                body[at:at] = rng.randbytes(rng.choice((1, 4, 50)))
        return self._request("bytes", sample, bytes(body), sample.header_bytes)

    def _random_body(self, sample: Sample) -> Request:
        body = self._rng.randbytes(self._rng.choice((0, 1, 10, 300, 5000)))
        if self._rng.random() < 0.3:
            body = self._rng.choice(RAW_JSON)
        return self._request("noise", sample, body, min(sample.header_bytes, len(body)))

    def _break_json(self, sample: Sample) -> Request:
        """Change or delete a value of the JSON, at one to three places."""
        if not sample.header_bytes:
            return self._random_body(sample)
        tree = json.loads(sample.body[: sample.header_bytes])
        for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
            self._break_node(tree)
        header = json.dumps(tree).encode()
        if self._rng.random() < 0.1:
            header = header.replace(b"1", self._rng.choice(RAW_JSON), 1)
        return self._request("JSON", sample, header + sample.body[sample.header_bytes :], len(header))

    def _break_node(self, tree: Any) -> None:
        places = [
            (node, key) for node in _nodes(tree) for key in (node if isinstance(node, dict) else range(len(node)))
        ]
        if not places:  # an earlier change deleted everything
            return
        node, key = self._rng.choice(places)
        change = self._rng.randrange(10)
        if change == 0:
            del node[key]
        elif change == 1 and isinstance(node, dict):
            node[self._rng.choice(WORDS)] = self._random_value()
        elif change == 2 and isinstance(node, list):
            node *= self._rng.choice((2, 3, max(3000 // len(node), 2)))
        elif key == "shape":
            node[key] = list(self._rng.choice(SHAPES))
        else:
            node[key] = self._random_value()

    def _random_value(self) -> Any:
        rng = self._rng
        return rng.choice((
            None, True, [], {}, rng.choice(NUMBERS), rng.choice(NUMBERS), rng.choice(WORDS),
            list(rng.choice(SHAPES)), "a" * rng.choice((1, 500, 20_000)), [[[[]]]], {"a": {"b": [None]}}, [0.1] * 300,
        ))  # fmt: skip

    def _break_sizes(self, sample: Sample) -> Request:
        """Bodies longer or shorter than their stated length, and invalid lengths of the JSON."""
        rng = self._rng
        if HEADER_LENGTH in sample.headers and rng.random() < 0.7:
            length = rng.choice(("-1", "0", "1", "99999999999", "abc", "", "+5", "1_0", "٣", "0x10", "1e2", "9" * 400))
            return self._request("header length", sample, sample.body, changes={HEADER_LENGTH: length})
        body = (
            sample.body + rng.randbytes(rng.choice((1, 4, 4096)))
            if rng.random() < 0.5
            else sample.body[: -rng.choice((1, 4, 40))]
        )
        return self._request("size", sample, body, sample.header_bytes)

    def _break_headers(self, sample: Sample) -> Request:
        rng = self._rng
        name, value = rng.choice((
            ("Content-Encoding", "gzip"), ("Content-Encoding", "deflate"), ("Content-Encoding", "br, gzip"),
            ("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked, gzip"), ("Transfer-Encoding", "identity"),
            ("Content-Length", "-5"), ("Content-Length", "abc"), ("Content-Length", "1, 2"),
            ("Content-Length", "9" * 30), ("X", "a" * 100_000), ("Bad Name", "x"), ("X\x00", "x"), ("X", "a\x00b"),
            ("Expect", "200-nothing"),
        ))  # fmt: skip
        body = BOMB if name == "Content-Encoding" else sample.body
        request = self._request("header", sample, body, sample.header_bytes, {name: value})
        request.framed = not name.startswith(("Content-L", "Transfer"))
        return request

    def _break_framing(self, sample: Sample) -> Request:
        """Two lengths, a length and chunks, invalid chunks, and bodies that end too soon."""
        rng = self._rng
        request = self._request("framing", sample, sample.body, sample.header_bytes)
        request.framed = False
        change = rng.randrange(4)
        if change == 0:
            request.headers.append(("Content-Length", str(len(sample.body) + 1)))
        elif change == 1:
            request.headers.append(("Transfer-Encoding", "chunked"))
        elif change == 2:
            request.headers = [(name, value) for name, value in request.headers if name != "Content-Length"]
            request.headers.append(("Transfer-Encoding", "chunked"))
            request.body = rng.choice(
                (b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"5;" + b"a" * 70_000, b"2\r\n{}x\r\n")
            )
        else:
            request.body = sample.body[: rng.randrange(len(sample.body) + 1)]
        return request

    def _break_request_line(self, sample: Sample) -> Request:
        """Methods, paths and versions that do not exist."""
        rng = self._rng
        request = self._request("request line", sample, b"")
        change = rng.randrange(3)
        if change == 0:
            request.method = rng.choice(METHODS)
        elif change == 1:
            request.path = rng.choice((
                "/v3", sample.path + "/x", sample.path + "%00", "/v2/models/none/infer", "/v2/models/%ff/infer",
                "/v2/models/mnist@99/infer", "/v2/models/mnist@-1/infer", "/v2/models/mnist@a/infer", "x", "",
                "/" + "a" * 20_000,
                "/v2/models/mnist/versions/x/infer", "/../../etc/passwd", "http://[::1", "/\x00", "/é",
            ))  # fmt: skip
        else:
            request.version = rng.choice(("HTTP/9.9", "HTTP/1", "HTTP/", "", "SIP/2.0", "HTTP/1.1 x"))
        request.framed = False
        return request


def largest(sample: Sample, most_bytes: int) -> Request | None:
    """The sample with its values repeated until the JSON is nearly `most_bytes` long; None without values to repeat."""
    tree = json.loads(sample.body[: sample.header_bytes]) if sample.header_bytes else {}
    values = tree.get("values") or tree.get("inputs")
    if not values:
        return None
    values *= max(int(0.9 * most_bytes) // (len(sample.body) // len(values) + 100), 1)
    body = json.dumps(tree).encode()
    headers = {"Host": "x", **sample.headers, "Content-Length": str(len(body))}
    if HEADER_LENGTH in headers:
        headers[HEADER_LENGTH] = str(len(body))
    return Request("largest", sample.path, list(headers.items()), body)


def _nodes(tree: Any) -> list[Any]:
    """All dicts and lists of a tree that are not empty."""
    if not isinstance(tree, dict | list) or not tree:
        return []
    inner = tree.values() if isinstance(tree, dict) else tree
    return [tree, *(node for child in inner for node in _nodes(child))]
