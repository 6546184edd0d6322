from __future__ import annotations

import pytest

from uniformer_video.models.mismatch import Mismatch, Shapes


def mismatch(**kwargs) -> Mismatch:
    nothing = {"where": "it", "matched": 5, "missing": [], "unexpected": [], "misshaped": {}, "inflating": False}
    return Mismatch(**{**nothing, **kwargs})


def test_is_2d_wants_the_same_kernel():
    assert Shapes((8, 1, 5, 5), (8, 1, 3, 5, 5)).is_2d()
    assert not Shapes((8, 1, 5, 5), (8, 1, 3, 7, 7)).is_2d()
    assert not Shapes((8, 1, 5, 5), (8, 2, 3, 5, 5)).is_2d()
    assert not Shapes((8, 1, 3, 5, 5), (8, 1, 3, 5, 5)).is_2d()
    assert not Shapes((8, 1), (8, 1, 1)).is_2d()


def test_message_counts_and_shortens():
    fault = mismatch(missing=["a", "b", "c"], unexpected=["d", "e", "f", "g"], misshaped={"h": Shapes((1,), (2,))})
    assert fault.message() == (
        "it does not fit this network: 3 missing (a, b, c), 4 unexpected (d, e, f, ...), "
        "1 of another shape (h [1], here [2]); nothing was loaded"
    )


@pytest.mark.parametrize(
    ("fault", "hints"),
    [
        ({"missing": ["norm.weight"]}, []),
        ({"missing": ["norm.weight"], "matched": 0}, ["nothing in it fits, it is of another kind of network"]),
        (
            {"unexpected": ["blocks3.0.t_attn.qkv.weight"]},
            ["temporal attention is on one side only, see UNIFORMER.SPLIT"],
        ),
        ({"missing": ["blocks2.4.norm1.weight"]}, ["blocks are on one side only, see UNIFORMER.DEPTH"]),
        (
            {"misshaped": {"blocks2.1.attn.weight": Shapes((8, 1, 5, 5, 5), (8, 1, 3, 5, 5))}},
            ["the local kernel is 5x5x5 in the file and 3x5x5 here, see UNIFORMER.LOCAL_KERNEL"],
        ),
        # Another width, same kernel: no word of kernels.
        ({"misshaped": {"blocks2.1.attn.weight": Shapes((9, 1, 3, 5, 5), (8, 1, 3, 5, 5))}}, []),
        # Stage 3's attention is no kernel.
        ({"misshaped": {"blocks3.1.attn.weight": Shapes((8, 1, 5, 5, 5), (8, 1, 3, 5, 5))}}, []),
        (
            {"misshaped": {"patch_embed3.proj.weight": Shapes((8, 4, 3, 2, 2), (8, 4, 1, 2, 2))}},
            ["strided kernels differ, see UNIFORMER.STD"],
        ),
        ({"misshaped": {"patch_embed3.proj.weight": Shapes((9, 4, 1, 2, 2), (8, 4, 1, 2, 2))}}, []),
        (
            {"misshaped": {"patch_embed1.proj.weight": Shapes((8, 3, 4, 4), (8, 3, 3, 4, 4))}, "matched": 0},
            ["2D weights need TRAIN.CHECKPOINT_INFLATE average or center"],
        ),
        (
            {"misshaped": {"head.bias": Shapes((7,), (5,))}},
            ["the head has 7 classes in the file and 5 in MODEL.NUM_CLASSES"],
        ),
    ],
)
def test_hints(fault, hints):
    assert mismatch(**fault).hints() == hints


def test_no_advice_to_inflate_while_inflating():
    shapes = {"patch_embed1.proj.weight": Shapes((8, 3, 4, 4), (8, 3, 3, 4, 4))}
    assert mismatch(misshaped=shapes, inflating=True).hints() == []
