"""Bodies of the Open Inference Protocol, made by hand: what is read, what is refused, and that nothing else happens."""

from __future__ import annotations

import itertools
import json
import struct
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from midcut.errors import MalformedError, TooLargeError, WireError
from midcut.types import TailRequest, ValueSpec
from midcut.wire import oip, oip_read
from midcut.wire.body import Body
from midcut.wire.oip_tensors import encode_infer, request_values

SPECS = (ValueSpec("a", "float32", (1, 2, 3)), ValueSpec("n", "int"))


def read(header, data=b"", *, length=None, specs=SPECS[:1], max_batch=1, cuts=()):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = header + data
    edges = [0, *sorted(at for at in cuts if 0 < at < len(whole)), len(whole)]
    chunks = [whole[a:b] for a, b in itertools.pairwise(edges) if b > a]
    call = oip_read.read_infer(Body(chunks), str(len(header)) if length is None else length)
    return call, request_values(call, specs, {}, max_batch, "here")


def tensor(size=24, **changes):
    header = {"name": "a", "shape": [1, 2, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    return {"inputs": [header | changes]}


SIX = struct.pack("<6f", *range(6))
NUMBERS = torch.arange(6.0).reshape(1, 2, 3)


@pytest.mark.parametrize("cuts", [(), (1,), (10, 11, 12), range(400)])
def test_a_binary_tensor_is_read_however_the_body_came(cuts):
    call, (value,) = read(tensor() | {"id": "q", "parameters": {"cut": 3, "timeout": 1500}}, SIX, cuts=cuts)
    assert (call.id, call.cut, call.fingerprint, call.codec, call.timeout_s) == ("q", 3, None, "raw", 0.0015)
    assert torch.equal(value, NUMBERS)


@pytest.mark.parametrize("data", [[0, 1, 2, 3, 4, 5], [[[0, 1, 2], [3.0, 4, 5]]]])
def test_json_data_is_read_flat_or_nested(data):
    header = {"inputs": [{"name": "a", "shape": [1, 2, 3], "datatype": "FP32", "data": data}]}
    assert torch.equal(read(header)[1][0], NUMBERS)
    assert torch.equal(oip_values(json.dumps(header).encode(), None), NUMBERS)


def oip_values(body, length):
    return request_values(oip_read.read_infer(Body([body]), length), SPECS[:1], {}, 1, "here")[0]


def test_a_body_without_a_head_is_the_one_input():
    assert torch.equal(oip_values(SIX, "0"), NUMBERS)
    call = oip_read.read_infer(Body([SIX * 2]), "0")
    assert request_values(call, SPECS[:1], {}, 2, "here")[0].shape == (2, 2, 3)
    with pytest.raises(TooLargeError, match="over a batch of 1"):
        oip_values(SIX * 2, "0")
    with pytest.raises(MalformedError, match="takes 24 bytes"):
        oip_values(SIX[:-1], "0")


def test_a_dim_order_restores_the_strides():
    data = NUMBERS.permute(0, 2, 1).contiguous().numpy().tobytes()
    parameters = {"binary_data_size": 24, "dim_order": "0,2,1"}
    value = read(tensor(parameters=parameters), data)[1][0]
    assert torch.equal(value, NUMBERS)
    assert value.stride() == (6, 1, 2)


def test_names_may_be_positions_and_ints_may_be_json_or_binary():
    entry = {"name": "1", "shape": [1], "datatype": "INT64"}
    named = tensor(name="0")["inputs"]
    for extra, data in (({"data": [-7]}, b""), ({"parameters": {"binary_data_size": 8}}, struct.pack("<q", -7))):
        values = read({"inputs": [*named, entry | extra]}, SIX + data, specs=SPECS)[1]
        assert values[1] == -7
    swapped = {"inputs": [entry | {"name": "n", "data": [5]}, tensor()["inputs"][0]]}
    assert read(swapped, SIX, specs=SPECS)[1][1] == 5


NESTED = b'{"inputs":[{"name":"a","shape":[1,2,3],"datatype":"FP32","data":' + b"[" * 250_000


@pytest.mark.parametrize(
    ("header", "data", "part"),
    [
        (tensor(), SIX[:-1], "24 bytes announced, 23 are left"),
        (tensor(), SIX + b"x", "1 bytes more than its tensors"),
        (tensor(23), SIX[:-1], "takes 24 bytes, got 23"),
        (tensor(-1), SIX, "announced"),
        (tensor(2**70), SIX, "bytes announced, 24 are left"),
        (tensor(24.0), SIX, "must be int"),
        (tensor(parameters={"binary_data_size": True}), SIX, "must be int"),
        (tensor(parameters={}), SIX, "neither data nor binary_data_size"),
        (tensor(data=[1]), SIX, "a binary_data_size and data"),
        (tensor(shape=[1, 2, 4]), SIX, "over a batch of 1"),
        (tensor(shape=[2**31, 2**31, 2**31]), SIX, "over a batch of 1"),
        (tensor(shape=[16, 2**60 + 2]), SIX, "not an Open Inference Protocol message"),
        (tensor(shape=[1, -2, -3]), SIX, "not an Open Inference Protocol message"),
        (tensor(shape=[1, 6]), SIX, "has 2 dimensions"),
        (tensor(shape=[0, 2, 3]), SIX, "takes 0 bytes, got 24"),
        (tensor(shape=[1] * 17), SIX, "not an Open Inference Protocol message"),
        (tensor(shape="1,2,3"), SIX, "not an Open Inference Protocol message"),
        (tensor(datatype="FP64"), SIX, "must be float32, got 'float64'"),
        (tensor(datatype="BYTES"), SIX, "must be float32, got 'BYTES'"),
        (tensor(datatype=["FP32"]), SIX, "not an Open Inference Protocol message"),
        (tensor(name="b"), SIX, "takes inputs 'a', got 'b'"),
        (tensor(parameters={"binary_data_size": 24, "dim_order": "0,1"}), SIX, "not a permutation"),
        (tensor(parameters={"binary_data_size": 24, "dim_order": "0,0,1"}), SIX, "not a permutation"),
        (tensor(parameters={"binary_data_size": 24, "dim_order": "0,-1,2"}), SIX, "sizes separated by commas"),
        (tensor(parameters={"binary_data_size": 24, "dim_order": 3}), SIX, "sizes separated by commas"),
        ({"inputs": []}, b"", "takes 1 inputs, got 0"),
        ({}, b"", "missing required field `inputs`"),
        ([], b"", "not an Open Inference Protocol message"),
        (b"", b"", "takes 24 bytes of float32"),
        (b"{", b"", "not an Open Inference Protocol message"),
        (b"\xff\xfe{}", b"", "not an Open Inference Protocol message"),
        (NESTED, b"", "not an Open Inference Protocol message"),
        (NESTED + b"]" * 250_000 + b"}]}", b"", "not an Open Inference Protocol message"),
        (tensor() | {"parameters": {"cut": "3"}}, SIX, "got `str` - at `$.parameters.cut`"),
        (tensor() | {"parameters": {"cut": True}}, SIX, "got `bool` - at `$.parameters.cut`"),
        (tensor() | {"parameters": {"fingerprint": 3}}, SIX, "got `int` - at `$.parameters.fingerprint`"),
        (tensor() | {"parameters": {"timeout": -1}}, SIX, "Expected `int` >= 0 - at `$.parameters.timeout`"),
        (tensor() | {"parameters": {"timeout": "soon"}}, SIX, "got `str` - at `$.parameters.timeout`"),
        (tensor() | {"parameters": {"codec": "mp3"}}, SIX, "codec 'mp3' is not accepted here; accepted: raw"),
        (tensor() | {"id": "x" * 129}, SIX, "not an Open Inference Protocol message"),
        (tensor() | {"outputs": {"name": "y"}}, SIX, "not an Open Inference Protocol message"),
        (tensor() | {"outputs": [{"name": "y"}, {"name": "y"}]}, SIX, "requested twice"),
        (tensor() | {"outputs": [{"name": "y", "parameters": {"classification": 2}}]}, SIX, "classification"),
        (tensor(parameters={}, data=[1, 2, 3]), b"", "takes 6 numbers"),
        (tensor(parameters={}, data=[1] * 7), b"", "takes 6 numbers"),
        (tensor(parameters={}, data=["a"] * 6), b"", "not all FP32"),
        (tensor(parameters={}, data=[None] * 6), b"", "not all FP32"),
        (tensor(parameters={}, data=[True] * 6), b"", "not all FP32"),
        (tensor(parameters={}, data=[1e39] * 6), b"", "does not fit FP32"),
        (tensor(parameters={}, data=[10**400] * 6), b"", "data"),
        (tensor(parameters={}, data=[[[1, 2], [3, 4], [5, 6]]]), b"", "not nested as shape"),
        (tensor(parameters={}, data=[[[1, 2, 3], [4, 5]], 6]), b"", "data"),
        (tensor(parameters={}, data={"a": 1}), b"", "takes 6 numbers"),
        (tensor(parameters={}, datatype="FP16", data=[1] * 6), b"", "must be float32"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(header, data, part):
    with pytest.raises(WireError) as caught:
        read(header, data)
    assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_a_parameter_that_is_null_is_none_and_an_unknown_one_may_be_anything():
    names = ("binary_data_output", "cut", "fingerprint", "codec", "reply_codec", "route", "hops", "input_shapes")
    plain, _ = read(tensor(), SIX)
    call, _ = read(tensor() | {"parameters": dict.fromkeys((*names, "timeout")) | {"x" * 500: [{"y": None}]}}, SIX)
    assert replace(call, tensors=()) == replace(plain, tensors=())


@pytest.mark.parametrize("place", ["parameters", "tensor", "unknown"])
def test_a_head_of_nothing_but_words_is_refused_before_it_is_made_into_objects(place):
    words = {f"{number}": 1 for number in range(20_000)}
    header = tensor(parameters={"binary_data_size": 24} | words) if place == "tensor" else tensor() | {place: words}
    with pytest.raises(MalformedError, match="over 16384 strings"):
        read(header, SIX)


def test_as_many_tensors_as_there_may_be_are_read():
    parameters = {"binary_data_size": 1, "dtype": "uint8", "shape": "1", "dim_order": "0", "codec_a": 1, "codec_b": "x"}
    headers = [{"name": f"{i}", "shape": [1], "datatype": "UINT8", "parameters": parameters} for i in range(256)]
    outputs = [{"name": f"{i}", "parameters": {"binary_data": True}} for i in range(256)]
    specs = tuple(ValueSpec(f"{i}", "uint8", (1,)) for i in range(256))
    call, values = read({"inputs": headers, "outputs": outputs}, bytes(range(256)), specs=specs)
    assert torch.equal(torch.cat(values), torch.arange(256, dtype=torch.uint8))
    assert len(call.outputs) == 256


@pytest.mark.parametrize("length", ["-1", "+3", "99999999999", "1e3", "abc", "0x10", "", " 5", "1_0", "٣", "9" * 5000])
def test_a_head_length_that_is_none_is_refused(length):
    with pytest.raises(MalformedError, match="Inference-Header-Content-Length must be 0 to the body's"):
        read(tensor(), SIX, length=length)


def test_half_precision_does_not_travel_as_json():
    header = {"inputs": [{"name": "a", "shape": [1], "datatype": "FP16", "data": [1]}]}
    with pytest.raises(MalformedError, match="cannot be sent as JSON"):
        read(header, specs=(ValueSpec("a", "float16", (1,)),))


dtypes = st.sampled_from(["float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool"])


@settings(max_examples=200)
@given(
    dtype=dtypes,
    shape=st.lists(st.integers(1, 4), max_size=4),
    seed=st.integers(0, 99),
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.integers(1, 2000), max_size=6),
)
def test_what_is_written_is_read_bit_for_bit_strides_included(dtype, shape, seed, order, cuts):
    bits = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed))
    value = bits.to(getattr(torch, dtype)) if shape else torch.ones((), dtype=getattr(torch, dtype))
    dims = list(range(len(shape)))
    order.shuffle(dims)
    value = value.permute(dims).contiguous().permute(tuple(sorted(range(len(dims)), key=dims.__getitem__)))
    request = TailRequest("m", 2, "f", [value, 41, value], "id", names=["x", "i", "y"])
    message = encode_infer(request, timeout_s=1.0)
    whole = message.header + b"".join(message.pieces)
    assert len(whole) == message.size_bytes
    specs = (ValueSpec("x", dtype, tuple(shape)), ValueSpec("i", "int"), ValueSpec("y", dtype, tuple(shape)))
    call, (first, number, second) = read(
        whole[: len(message.header)], whole[len(message.header) :], specs=specs, cuts=cuts
    )
    assert (call.cut, call.fingerprint, number) == (2, "f", 41)
    for got in (first, second):
        assert torch.equal(got, value)
        assert got.permute(dims).is_contiguous()


def test_a_timeout_of_any_length_is_read():
    request = TailRequest("m", 2, "f", [torch.zeros(1)], "id", names=["x"])
    for timeout_s in (1e300, float("inf")):
        header = json.loads(encode_infer(request, timeout_s=timeout_s).header)
        assert header["parameters"]["timeout"] == 2**62


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
PLACES = ["name", "shape", "datatype", "parameters", "data", "inputs", "outputs", "id", "timeout", "dim_order"]


@settings(max_examples=400)
@given(place=st.sampled_from(PLACES), value=json_like, data=st.binary(max_size=40), length=st.none() | st.text())
def test_no_body_does_anything_but_be_read_or_refused(place, value, data, length):
    header = tensor()
    if place in ("inputs", "outputs", "id"):
        header[place] = value
    elif place in ("timeout", "dim_order"):
        header["parameters"] = {place: value}
        header["inputs"][0]["parameters"][place] = value
    else:
        header["inputs"][0][place] = value
    try:
        read(header, data, length=length)
    except WireError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - or it is read


@pytest.mark.parametrize(("size", "refused"), [(24, False), (65_000, False), (70_000, True)])
def test_what_is_far_larger_encoded_than_decoded_never_reaches_a_codec(size, refused):
    class Packed:
        name = "packed"

        def decode(self, *_):
            return NUMBERS

    parameters = {"binary_data_size": size, "dtype": "float32", "shape": "1,2,3"}
    tensors = [{"name": "a", "shape": [size], "datatype": "UINT8", "parameters": parameters}]
    header = json.dumps({"inputs": tensors, "parameters": {"codec": "packed"}}).encode()
    call = oip_read.read_infer(Body([header + bytes(size)]), str(len(header)))
    if refused:
        with pytest.raises(TooLargeError, match="'a' takes 70000 bytes in codec packed, over the limit of 65584"):
            request_values(call, SPECS[:1], {"packed": Packed()}, 1, "here")
    else:
        assert request_values(call, SPECS[:1], {"packed": Packed()}, 1, "here")[0] is NUMBERS


def test_the_checksum_is_that_of_zlib_whatever_computes_it():
    pieces = [bytes(range(256)) * 40, b"", memoryview(bytearray(b"abc" * 999))]
    assert oip.checksum(pieces) == f"{zlib.crc32(b''.join(pieces)):08x}"
    checksum = oip.RequestChecksum("mnist", "12")
    for piece in pieces:
        checksum.add(piece)
    assert checksum.text == f"{zlib.crc32(b'mnist' + bytes([10]) + b'12' + bytes([10]) + b''.join(pieces)):08x}"
