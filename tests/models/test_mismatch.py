from __future__ import annotations

from dataclasses import replace

import pytest

from tests.models.published import tiny
from uniformer_video.models.anatomy import Anatomy
from uniformer_video.models.mismatch import Mismatch, Shapes

BUILD = Anatomy.of({name: tuple(tensor.shape) for name, tensor in tiny().state_dict().items()})
NOTHING = {
    "where": "it",
    "matched": 5,
    "missing": [],
    "unexpected": [],
    "misshaped": {},
    "inflating": False,
    "file": BUILD,
    "own": BUILD,
}
AFFINITY = "blocks2.1.attn.weight"
STEM = "patch_embed1.proj.weight"
IMAGE = replace(BUILD, image=True, local_kernel=(5, 5))


def mismatch(**kwargs) -> Mismatch:
    return Mismatch(**{**NOTHING, **kwargs})


def test_is_2d_wants_the_same_kernel():
    assert Shapes((8, 1, 5, 5), (8, 1, 3, 5, 5)).is_2d()
    assert Shapes((8, 1, 1, 5, 5), (8, 1, 3, 5, 5)).is_2d()
    assert not Shapes((8, 1, 5, 5), (8, 1, 3, 7, 7)).is_2d()
    assert not Shapes((8, 1, 1, 5, 5), (8, 1, 3, 7, 7)).is_2d()
    assert not Shapes((8, 1, 5, 5), (8, 2, 3, 5, 5)).is_2d()
    assert not Shapes((8, 1, 3, 5, 5), (8, 1, 3, 5, 5)).is_2d()
    assert not Shapes((8, 1, 1, 5, 5), (8, 1, 1, 5, 5)).is_2d()
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
            {
                "file": replace(BUILD, split=True),
                "unexpected": ["blocks3.0.t_attn.qkv.weight"],
            },
            ["temporal attention is in the file only: set UNIFORMER.SPLIT True"],
        ),
        (
            {"file": replace(BUILD, depths=(1, 1, 2, 1)), "missing": ["blocks2.1.norm1.weight"]},
            ["the stages have [1, 1, 2, 1] blocks in the file and [1, 2, 2, 1] here: set UNIFORMER.DEPTH [1, 1, 2, 1]"],
        ),
        # A file of no known kind: its blocks are no advice.
        ({"file": replace(BUILD, kind=None, depths=(0, 0, 0, 0)), "missing": ["blocks2.1.norm1.weight"]}, []),
        (
            {
                "file": replace(BUILD, local_kernel=(5, 5, 5)),
                "misshaped": {AFFINITY: Shapes((8, 1, 5, 5, 5), (8, 1, 3, 5, 5))},
            },
            ["the local kernel is 5x5x5 in the file and 3x5x5 here: set UNIFORMER.LOCAL_KERNEL [5, 5, 5]"],
        ),
        # Another width, same kernel: no word of kernels.
        ({"misshaped": {AFFINITY: Shapes((9, 1, 3, 5, 5), (8, 1, 3, 5, 5))}}, []),
        (
            {
                "file": replace(BUILD, widths=(9, 16, 24, 32)),
                "misshaped": {"a": Shapes((9,), (8,)), "b": Shapes((9, 9), (8, 8))},
            },
            [
                "the first tensor of another width is a, [9] in the file and [8] here: "
                "set UNIFORMER.EMBED_DIM [9, 16, 24, 32]"
            ],
        ),
        # 2D kernels, where the first tensor that differs is one that would fit.
        (
            {
                "file": replace(IMAGE, widths=(8, 16, 24, 40)),
                "misshaped": {STEM: Shapes((8, 3, 4, 4), (8, 3, 3, 4, 4)), "b": Shapes((40,), (32,))},
                "inflating": True,
            },
            [
                "the first tensor of another width is b, [40] in the file and [32] here: "
                "set UNIFORMER.EMBED_DIM [8, 16, 24, 40]"
            ],
        ),
        (
            {
                "file": replace(BUILD, std=True),
                "misshaped": {"patch_embed3.proj.weight": Shapes((8, 4, 3, 2, 2), (8, 4, 1, 2, 2))},
            },
            ["strided convolutions see three frames in the file and one frame here: set UNIFORMER.STD True"],
        ),
        (
            {"file": IMAGE, "misshaped": {STEM: Shapes((8, 3, 4, 4), (8, 3, 3, 4, 4))}, "matched": 0},
            ["2D weights need TRAIN.CHECKPOINT_INFLATE average or center, or an image network (UNIFORMER.IMAGE True)"],
        ),
        ({"file": IMAGE, "misshaped": {STEM: Shapes((8, 3, 4, 4), (8, 3, 3, 4, 4))}, "inflating": True}, []),
        (
            {"own": replace(BUILD, image=True), "misshaped": {STEM: Shapes((8, 3, 3, 4, 4), (8, 3, 1, 4, 4))}},
            ["its kernels have a temporal extent, it is of a video network: set UNIFORMER.IMAGE False"],
        ),
        (
            {"misshaped": {"head.bias": Shapes((7,), (5,))}},
            ["the head has 7 classes in the file and 5 in MODEL.NUM_CLASSES"],
        ),
        (
            {"file": replace(BUILD, kind=None), "misshaped": {"head.bias": Shapes((7,), (5,))}},
            ["the head has 7 classes in the file and 5 in MODEL.NUM_CLASSES"],
        ),
        (
            {"file": replace(BUILD, layer_scale=(False, True, False, False)), "unexpected": ["blocks2.0.gamma_1"]},
            [
                "layer scale is in stage 2 in the file and in no stage here: "
                "set UNIFORMER.LAYER_SCALE [False, True, False, False]"
            ],
        ),
        (
            {
                "file": replace(BUILD, mlp_ratios=(2.0,) * 4),
                "misshaped": {"blocks1.0.mlp.fc1.bias": Shapes((16,), (32,))},
            },
            ["the MLPs are 2 times as wide as their stage in the file and 4 times here: set UNIFORMER.MLP_RATIO 2"],
        ),
    ],
)
def test_hints(fault, hints):
    assert mismatch(**fault).hints() == hints


def test_three_hints_at_most_and_the_kind_of_network_first():
    fault = mismatch(
        file=replace(
            BUILD,
            kind="Hourglass",
            depths=(1, 1, 1, 1),
            widths=(9, 9, 9, 9),
            mlp_ratios=(3.0,) * 4,
            std=True,
            split=True,
        ),
        misshaped={"blocks1.0.mlp.fc1.bias": Shapes((27,), (32,)), "head.bias": Shapes((7,), (5,))},
    )
    hints = fault.hints()
    assert [hint.split(": set ")[1].split()[0] for hint in hints] == [
        "MODEL.MODEL_NAME",
        "UNIFORMER.DEPTH",
        "UNIFORMER.EMBED_DIM",
    ]
    assert hints[0] == "the file has a class token, it is of another network: set MODEL.MODEL_NAME Uniformer_light"
