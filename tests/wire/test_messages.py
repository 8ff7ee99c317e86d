from __future__ import annotations

import base64
import contextlib
import json

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut import wire
from midcut.errors import MalformedError
from midcut.types import TailRequest

DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def value(**changes):
    """Two float32, 1.0 and -2.0, encoded by hand."""
    plain = {"dtype": "float32", "shape": [2], "dim_order": None, "data": "AACAPwAAAMA="}
    return plain | changes


def request(**changes):
    plain = {"model": "m", "cut": 3, "fingerprint": "g-w", "request_id": "r1", "values": [value(), 7]}
    return json.dumps(plain | changes).encode()


def decoded(body):
    return wire.decode_values(wire.read_request(body).values)


def test_a_request_written_by_hand_is_read():
    message = wire.read_request(request())
    assert (message.model, message.cut, message.fingerprint, message.request_id) == ("m", 3, "g-w", "r1")
    tensor, number = wire.decode_values(message.values)
    assert torch.equal(tensor, torch.tensor([1.0, -2.0]))
    assert number == 7


def test_a_request_is_plain_json_that_others_can_read():
    values = (torch.tensor([[1.5, 2.5]]), 4)
    body = json.loads(wire.encode_request(TailRequest("m", 2, "g-w", values, "id-1")))
    assert list(body) == ["model", "cut", "fingerprint", "request_id", "values"]
    assert body["values"][1] == 4
    assert body["values"][0]["shape"] == [1, 2]
    assert base64.b64decode(body["values"][0]["data"]) == b"\x00\x00\xc0\x3f\x00\x00\x20\x40"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "permuted", "channels_last", "expanded", "sliced", "scalar", "empty"])
def test_every_dtype_and_layout_comes_back_with_its_bits_and_strides(dtype, layout):
    base = (torch.arange(2 * 3 * 4 * 5) % 2).reshape(2, 3, 4, 5).to(getattr(torch, dtype))
    tensor = {
        "contiguous": base,
        "permuted": base.permute(3, 1, 0, 2),
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "expanded": base[:1].expand(4, 3, 4, 5),
        "sliced": base[:, ::2, 1:, 1::3],
        "scalar": base[0, 0, 0, 1],
        "empty": base[:0],
    }[layout]
    reply = wire.read_reply(wire.encode_reply("id", [tensor], 0.25, 0.0))
    (back,) = wire.decode_values(reply.values)
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor)
    assert back.data_ptr() % 64 == 0 or not back.numel()
    if layout in ("permuted", "channels_last"):
        assert back.stride() == tensor.stride()


def test_nan_and_infinities_travel_as_they_are():
    tensor = torch.tensor([float("nan"), float("inf"), -0.0])
    (back,) = wire.decode_values(wire.read_reply(wire.encode_reply("id", [tensor], 0.0, 0.0)).values)
    assert torch.equal(back.view(torch.int32), tensor.view(torch.int32))


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "truncated"),
        (b"null", "Expected `object`"),
        (b"[1]", "Expected `object`"),
        (request()[:-1], "truncated"),
        (request() + b"x", "trailing"),
        (request().replace(b'"r1"', b'"\xff\xfe"'), "JSON"),
        (b"[" * 300_000, "Expected `object`"),
        (b'{"a":' * 16_000, "unknown field"),
        (b'{"a":' * 300_000, "over 16384 strings"),
        (request(values=[value() for _ in range(3000)]), "over 16384 strings"),
        (b'{"values":' + b"[" * 300_000, "Expected"),
        (request(model=5), "$.model"),
        (request(model=""), "$.model"),
        (request(cut="3"), "$.cut"),
        (request(cut=3.0), "$.cut"),
        (request(cut=True), "$.cut"),
        (request(cut=None), "$.cut"),
        (request(cut=10**40), "$.cut"),
        (request().replace(b'"cut": 3', b'"cut": NaN'), "malformed"),
        (request().replace(b'"cut": 3', b'"cut": 1e999'), "out of range"),
        (request(request_id="a b"), "$.request_id"),
        (request(request_id="a\nb"), "$.request_id"),
        (request(request_id="r" * 129), "$.request_id"),
        (request(values={}), "$.values"),
        (request(values=[1.5]), "$.values[0]"),
        (request(values=[True]), "$.values[0]"),
        (request(values=["x"]), "$.values[0]"),
        (request(values=[None]), "$.values[0]"),
        (request(values=[2**63]), "$.values[0]"),
        (request(values=[value(shape="2")]), "$.values[0].shape"),
        (request(values=[value(shape=[True])]), "$.values[0].shape"),
        (request(values=[value(shape=[2.0])]), "$.values[0].shape"),
        (request(values=[value(dim_order=[0.0])]), "dim_order"),
        (request(values=[value(data=5)]), "$.values[0].data"),
        (request(values=[value(extra=1)]), "unknown field"),
        (request(pickle="gASV"), "unknown field"),
        (json.dumps({"model": "m"}).encode(), "missing required field"),
    ],
)
def test_what_is_not_the_message_is_refused_where_it_is_wrong(body, part):
    with pytest.raises(MalformedError) as caught:
        wire.read_request(body)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"dtype": "complex64"}, "unknown dtype"),
        ({"dtype": "int"}, "unknown dtype"),
        ({"dtype": "__class__"}, "unknown dtype"),
        ({"shape": [3]}, "takes 12 bytes"),
        ({"shape": []}, "takes 4 bytes"),
        ({"shape": [-2]}, "impossible shape"),
        ({"shape": [-1, -2]}, "impossible shape"),
        ({"shape": [2**48]}, "impossible shape"),
        ({"shape": [2**32, 2**32, 2]}, "bytes"),
        ({"shape": [2**40, 2**24], "data": ""}, "bytes"),
        ({"shape": [2**16, 2**16, 2**16, 2**16], "data": ""}, "takes 73786976294838206464 bytes"),
        ({"shape": [1] * 17 + [2]}, "impossible shape"),
        ({"shape": [0, 2**47, 2**47], "data": ""}, "no tensor"),
        ({"dim_order": [1]}, "not an order"),
        ({"dim_order": [0, 0]}, "not an order"),
        ({"dim_order": [-1]}, "not an order"),
        ({"dim_order": []}, "not an order"),
        ({"data": ""}, "takes 8 bytes"),
        ({"data": "AACAPwAAAMA"}, "takes 8 bytes"),
        ({"data": "AACAPwAAAM=="}, "takes 8 bytes"),
        ({"data": "AACAPwAAAMAA"}, "takes 8 bytes, got 9"),
        ({"data": "AACAPwAA-MA="}, "not base64"),
        ({"data": "AACA\nwAAAMA="}, "not base64"),
        ({"data": "AACAPwAAAMé="}, "not base64"),
        ({"dtype": "bool", "shape": [8]}, "bool"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused_before_it_is_made(changes, part):
    with pytest.raises(MalformedError) as caught:
        decoded(request(values=[value(**changes)]))
    assert part in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_cloud_seconds_of_a_reply_cannot_be_negative():
    body = {"request_id": "r", "values": [], "compute_s": -1.0, "server_s": 0.0}
    with pytest.raises(MalformedError, match="compute_s"):
        wire.read_reply(json.dumps(body).encode())


def test_a_refusal_is_one_line_and_is_read_back():
    body = wire.encode_error("first\nsecond  third")
    assert json.loads(body) == {"error": "first second third"}
    assert wire.read_error(body) == "first second third"
    assert wire.read_error(b"<html>\n502") == r"'<html>\n502'"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["model", "cut", "fingerprint", "request_id", "values"]), json_like))
def test_any_json_is_read_or_refused(changes):
    plain = json.loads(request())
    with contextlib.suppress(MalformedError):
        wire.decode_values(wire.read_request(json.dumps(plain | changes).encode()).values)


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {}, optional={"dtype": json_like, "shape": json_like, "dim_order": json_like, "data": json_like}
    )
)
def test_any_tensor_is_read_or_refused(changes):
    with contextlib.suppress(MalformedError):
        decoded(request(values=[value(**changes)]))


@settings(max_examples=200)
@given(st.lists(st.integers(-3, 2**70), max_size=6), st.text("AB+/=", max_size=16), st.sampled_from(DTYPES))
def test_any_shape_and_data_is_read_or_refused(shape, data, dtype):
    try:
        (tensor,) = decoded(request(values=[value(shape=shape, data=data, dtype=dtype)]))
    except MalformedError:
        return
    assert list(tensor.shape) == shape
    assert tensor.numel() * tensor.element_size() <= 12


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    with pytest.raises(MalformedError):
        wire.read_request(body)


def test_importing_the_format_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, midcut.wire; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0


def test_encoding_an_unsendable_dtype_is_refused():
    with pytest.raises(MalformedError, match="complex64"):
        wire.encode_values([torch.zeros(2, dtype=torch.complex64)])


def test_a_message_survives_its_own_encoding():
    message = wire.read_request(request())
    assert msgspec.json.decode(msgspec.json.encode(message)) == json.loads(request())
