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
NO_HEAD = (
    "the file has no {}, so it cannot score classes: train from it first (TRAIN.CHECKPOINT_FILE_PATH), which starts one"
)
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
        # Every decimal of it counts: fewer build another network.
        (
            {
                "file": replace(BUILD, mlp_ratios=(3.3330078125, 2.0, 2.0, 2.0)),
                "misshaped": {"blocks1.0.mlp.fc1.bias": Shapes((26,), (32,))},
            },
            [
                "the MLPs are [3.3330078125, 2, 2, 2] times as wide as their stage in the file and 4 times here: "
                "set UNIFORMER.MLP_RATIO [3.3330078125, 2, 2, 2]"
            ],
        ),
        # A video network's kernel and an image network's, which has a temporal extent of 1 whatever is set.
        (
            {
                "own": replace(BUILD, image=True, local_kernel=(1, 5, 5)),
                "misshaped": {AFFINITY: Shapes((8, 1, 3, 5, 5), (8, 1, 1, 5, 5))},
            },
            ["its kernels have a temporal extent, it is of a video network: set UNIFORMER.IMAGE False"],
        ),
        (
            {
                "file": replace(BUILD, local_kernel=(3, 7, 7)),
                "own": replace(BUILD, image=True, local_kernel=(1, 5, 5)),
                "misshaped": {AFFINITY: Shapes((8, 1, 3, 7, 7), (8, 1, 1, 5, 5))},
            },
            [
                "its kernels have a temporal extent, it is of a video network: set UNIFORMER.IMAGE False",
                "the local kernel is 3x7x7 in the file and 1x5x5 here: set UNIFORMER.LOCAL_KERNEL [3, 7, 7]",
            ],
        ),
        (
            {"file": replace(BUILD, qkv_bias=False), "missing": ["blocks3.0.attn.qkv.bias"]},
            ["attention's qkv has a bias here only: set UNIFORMER.QKV_BIAS False"],
        ),
        (
            {"own": replace(BUILD, qkv_bias=False), "unexpected": ["blocks3.0.attn.qkv.bias"]},
            ["attention's qkv has a bias in the file only: set UNIFORMER.QKV_BIAS True"],
        ),
        ({"file": replace(BUILD, qkv_bias=None), "missing": ["blocks3.0.attn.qkv.bias"]}, []),
        ({"missing": ["head.weight", "head.bias"]}, [NO_HEAD.format("head")]),
        ({"missing": ["head.bias"]}, []),
        (
            {
                "file": replace(BUILD, kind="Hourglass"),
                "own": replace(BUILD, kind="Hourglass"),
                "missing": ["head_cls.weight", "head_cls.bias"],
            },
            [NO_HEAD.format("head_cls")],
        ),
        # Of a network with one head, a second head is not what it lacks.
        (
            {"own": replace(BUILD, kind="Hourglass"), "missing": ["cls_token", "head_cls.weight", "head_cls.bias"]},
            ["the file has no class token, it is of another network: set MODEL.MODEL_NAME Uniformer"],
        ),
        (
            {"file": replace(BUILD, kind=None), "missing": ["head.weight", "head.bias"], "unexpected": ["fc.bias"]},
            [],
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


@pytest.mark.parametrize(
    ("file", "missing", "hint"),
    [
        (
            {"depths": (1, 0, 0, 0), "split": True, "layer_scale": (True, False, False, False), "qkv_bias": None},
            ["blocks2.0.norm1.weight", "head.weight", "head.bias"],
            "the file is incomplete, it has no block of stages 2, 3, 4: fetch or write it again",
        ),
        (
            {"depths": (1, 2, 0, 1)},
            ["blocks3.0.norm1.weight"],
            "the file is incomplete, it has no block of stage 3: fetch or write it again",
        ),
        (
            {"depths": (1, 3, 2, 1), "lacking": ("blocks2.1.norm1.weight", "blocks2.1.norm2.weight")},
            ["blocks2.1.norm1.weight"],
            "the file is incomplete, its blocks2.1 has no norm1.weight, which other blocks have: fetch or write it "
            "again",
        ),
        # In a block that this network does not have.
        (
            {"depths": (1, 5, 2, 1), "lacking": ("blocks2.4.attn.bias",)},
            [],
            "the file is incomplete, its blocks2.4 has no attn.bias, which other blocks have: fetch or write it again",
        ),
    ],
)
def test_a_file_with_blocks_missing_is_incomplete_and_says_nothing_of_depth_and_form(file, missing, hint):
    assert mismatch(file=replace(BUILD, **file), missing=missing).hints() == [hint]


def test_an_incomplete_file_may_still_be_of_another_network():
    fault = mismatch(
        file=replace(BUILD, kind="Hourglass", depths=(1, 0, 0, 0), widths=(9, 16, 24, 32)),
        misshaped={"patch_embed1.proj.0.bias": Shapes((5,), (4,))},
    )
    assert [hint.split(",")[0] for hint in fault.hints()] == [
        "the file has a class token",
        "the file is incomplete",
        "the first tensor of another width is patch_embed1.proj.0.bias",
    ]


@pytest.mark.parametrize("unexpected", [[], ["fc.bias"]])
def test_the_end_of_a_file_that_was_cut(unexpected):
    fault = mismatch(file=replace(BUILD, kind=None, depths=(0, 0, 1, 1)), missing=["a"], unexpected=unexpected)
    hint = "the file is incomplete, it has no block of stages 1, 2: fetch or write it again"
    assert fault.hints() == ([] if unexpected else [hint])


def test_what_is_lacking_beside_a_strange_tensor_is_none_of_this_network():
    """Were it not for the network's own names, one tensor too many in a block would make all others incomplete."""
    fault = mismatch(file=replace(BUILD, lacking=("blocks2.0.extra",)), unexpected=["blocks2.1.extra"])
    assert fault.hints() == []


@pytest.mark.parametrize(
    ("scaled", "own_scaled", "advice"),
    [
        ((True,) * 4, (False,) * 4, "MODEL.MODEL_NAME Uniformer_light_ls_fp32"),
        ((True,) * 4, (True,) * 4, "MODEL.MODEL_NAME Uniformer_light_ls_fp32"),
        # This name refuses a word for each stage.
        (
            (True,) * 4,
            (False, False, True, True),
            "MODEL.MODEL_NAME Uniformer_light_ls_fp32 and UNIFORMER.LAYER_SCALE True",
        ),
        ((False,) * 4, (False,) * 4, "MODEL.MODEL_NAME Uniformer_light"),
        ((False,) * 4, (True,) * 4, "MODEL.MODEL_NAME Uniformer_light and UNIFORMER.LAYER_SCALE False"),
        (
            (False, False, True, True),
            (False,) * 4,
            "MODEL.MODEL_NAME Uniformer_light and UNIFORMER.LAYER_SCALE [False, False, True, True]",
        ),
        ((False, False, True, True), (False, False, True, True), "MODEL.MODEL_NAME Uniformer_light"),
    ],
)
def test_the_name_of_a_light_network_comes_with_the_layer_scale_it_does_not_say(scaled, own_scaled, advice):
    fault = mismatch(
        file=replace(BUILD, kind="Hourglass", layer_scale=scaled), own=replace(BUILD, layer_scale=own_scaled)
    )
    assert fault.hints() == [f"the file has a class token, it is of another network: set {advice}"]
