"""Texts in two arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets.packed_texts import PackedTexts, encoded, narrow_ends, unpacked


def test_texts():
    texts = ["", "é", "a b", "\udcff"]
    data = "".join(texts).encode("utf-8", "surrogatepass")
    packed = PackedTexts(np.frombuffer(data, np.uint8), np.array([0, 0, 2, 5, 8], np.uint32))
    assert (len(packed), list(packed), packed[-1], packed[1:3]) == (4, texts, "\udcff", ["é", "a b"])
    assert packed.block(1, 4) == texts[1:]
    with pytest.raises(IndexError):
        packed[4]


@given(st.text(st.characters(exclude_categories=[]), max_size=20))
def test_every_text_comes_back(text):
    assert unpacked(encoded(text)) == text


def test_ends_are_as_narrow_as_they_can_be():
    assert narrow_ends(np.array([0, (1 << 32) - 1])).dtype == np.uint32
    wide = narrow_ends(np.array([0, 1 << 32]))
    assert wide.dtype == np.uint64 and wide.tolist() == [0, 1 << 32]
