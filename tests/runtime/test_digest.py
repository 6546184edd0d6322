"""The digest: any change of the content changes it, nothing else does, and two contents never share their bytes."""

from __future__ import annotations

import math
import struct
import warnings
from collections import OrderedDict
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from uniformer_video.runtime.digest import SCHEME, chunks, content_digest, is_digest

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = draw(st.lists(st.integers(0, 255), min_size=math.prod(shape), max_size=math.prod(shape)))
    return torch.tensor(values).reshape(shape).to(draw(st.sampled_from(DTYPES)))


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.binary(max_size=6), tensors()
)
keys = st.one_of(st.text(max_size=3), st.integers(-3, 3), st.booleans(), st.none())
contents = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)


def stream(content) -> bytes:
    return b"".join(bytes(chunk) for chunk in chunks(content))


class Decoder:
    """Reads a stream back: that it can be done proves that no two contents have the same one."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data)
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        return struct.unpack(">Q", self.take(8))[0]

    def text(self) -> bytes:
        return self.take(self.number())

    def value(self):
        letter = self.take(1).decode()
        if letter in "N10":
            return {"N": None, "1": True, "0": False}[letter]
        if letter == "f":
            return struct.unpack(">d", self.take(8))[0]
        if letter in "isb":
            read = {"i": int, "s": lambda data: data.decode("utf-8", "surrogatepass"), "b": bytes}[letter]
            return read(self.text())
        if letter in "lt":
            return (list if letter == "l" else tuple)([self.value() for _ in range(self.number())])
        if letter == "d":
            return {self.value(): self.value() for _ in range(self.number())}
        assert letter == "T"
        dtype = getattr(torch, self.text().decode().removeprefix("torch."))
        shape = [self.number() for _ in range(self.number())]
        data = bytearray(self.text())
        return torch.frombuffer(data, dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)


def same(one, other) -> bool:
    """Tell whether two contents are the same in kind and value: unlike ``==``, for which 1, 1.0 and True are."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    return one == other


@given(contents)
def test_the_stream_can_be_read_back(content):
    decoder = Decoder(stream(content))
    assert same(decoder.value(), content)
    assert decoder.at == len(decoder.data)


@given(contents, contents)
def test_two_contents_share_a_digest_only_where_they_are_the_same(one, other):
    assert (content_digest(one) == content_digest(other)) == same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (0.0, -0.0),
        ("1", 1),
        ("a", b"a"),
        ([1], (1,)),
        ([], {}),
        ({}, None),
        (["ab", "c"], ["a", "bc"]),
        ([[1], 2], [[1, 2]]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(0, 3), torch.zeros(3, 0)),
        (torch.zeros(1), torch.zeros(())),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16)),
        (torch.zeros(2), [0.0, 0.0]),
        (torch.tensor([0.0]), torch.tensor([-0.0])),
    ],
)
def test_what_looks_alike_is_told_apart(one, other):
    assert content_digest(one) != content_digest(other)


def test_one_bit_is_enough():
    weights = {"a": torch.randn(50, 40), "b": [torch.arange(7)]}
    before = content_digest(weights)
    weights["a"].view(torch.int32)[49, 39] ^= 1
    assert content_digest(weights) != before
    weights["a"].view(torch.int32)[49, 39] ^= 1
    assert content_digest(weights) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.complex64])
def test_how_a_tensor_lies_in_memory_does_not_matter(dtype):
    base = (torch.arange(48) % 5).reshape(4, 12)
    plain = base[:, ::2].to(dtype).contiguous()
    wide = base.to(dtype)[:, ::2]
    turned = plain.t().contiguous().t()
    assert not wide.is_contiguous() and not turned.is_contiguous()
    assert content_digest(wide) == content_digest(turned) == content_digest(plain)
    assert content_digest(plain.t()) != content_digest(plain)


def test_views_that_only_promise_their_values():
    z = torch.tensor([1 + 2j, 3 - 1j])
    assert content_digest(z.conj()) == content_digest(torch.tensor([1 - 2j, 3 + 1j]))
    assert content_digest(z.conj().imag) == content_digest(torch.tensor([-2.0, 1.0]))


def test_parameters_and_ordered_dicts_are_what_they_hold():
    model = nn.Linear(2, 2)
    state = model.state_dict()
    assert isinstance(state, OrderedDict)
    assert content_digest(state) == content_digest({name: value.clone() for name, value in model.named_parameters()})


def test_the_digest_is_that_of_the_first_version():
    # Files of earlier versions must stay readable: another digest for the same content would call them damaged.
    content = {"a": [None, True, -3, 0.5, "ä", b"\0", (torch.tensor([[1.0, 2.0]]),)]}
    digest = "8d4368c7920c9e41b4d708cf5bd91c960040e9e262923a66e0c5bc3e275c4ae9"
    assert content_digest(content).removeprefix(SCHEME) == digest


def test_what_a_checkpoint_cannot_hold_is_named_with_its_place():
    for content, message in (
        ({"history": [{"top1": np.float64(1)}]}, "content['history'][0]['top1'] is a numpy.float64"),
        ([1, (Fraction(1), 2)], "content[1][0] is a fractions.Fraction"),
        ({Fraction(1): 2}, "a key of content is a fractions.Fraction"),
        ({1, 2}, "content is a builtins.set"),
    ):
        with pytest.raises(TypeError) as error:
            content_digest(content)
        assert str(error.value) == f"{message}, which a checkpoint cannot hold"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse = torch.zeros(2, 2).to_sparse()
    for content in (sparse, torch.empty(2, device="meta")):
        with pytest.raises(TypeError, match="content is a tensor without plain values"):
            content_digest(content)


def test_what_is_a_digest():
    assert is_digest(content_digest(None)) and len(content_digest(None)) == len(SCHEME) + 64
    assert not any(map(is_digest, ("d41d8cd98f00b204", "", None, 3, b"sha256-v1:", {"sha256-v1:": 1})))
