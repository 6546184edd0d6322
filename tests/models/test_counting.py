"""Counted multiply-adds against formulas written by hand, against fvcore, and the same for every attention kernel."""

from __future__ import annotations

from collections import Counter
from math import prod

import pytest
import torch
import torch.nn.functional as F
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.fill import clip
from tests.models.plain import plain_uniformer
from tests.models.published import TINY, tiny
from uniformer_video.models import attention
from uniformer_video.models.counting import (
    ATTENTION,
    DEPTHWISE,
    KINDS,
    LINEAR,
    NORM,
    PATCH,
    count_multiply_adds,
)
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.kernels import plain_kernels
from uniformer_video.runtime.errors import UserError

SHAPES = [(1, 3, 4, 64, 64), (2, 3, 5, 39, 50), (1, 3, 1, 32, 33)]


def by_kind(model: nn.Module, *inputs: torch.Tensor) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for (_, kind), number in count_multiply_adds(model, lambda: model(*inputs)).items():
        kinds[kind] += number
    return kinds


def grids(shape):
    """(T, H, W) of the four stages of a network whose convolutions tile the frame."""
    _, _, time, height, width = shape
    time = (time + 1) // 2
    return [(time, height // 4 // n, width // 4 // n) for n in (1, 2, 4, 8)]


def uniformer_by_hand(shape, *, depths, widths, num_classes, head_dim, local_kernel=(3, 5, 5), mlp_ratio=4, std=False):
    """Multiply-adds by kind of a network with joint attention, from its settings alone. Head width plays no part."""
    linear = depthwise = patch = products = norm = 0
    before = 3
    for stage, (grid, depth, width) in enumerate(zip(grids(shape), depths, widths, strict=True)):
        tokens = prod(grid)
        kernel = (3 * 4 * 4) if stage == 0 else (3 if std else 1) * 2 * 2
        patch += tokens * kernel * before * width
        norm += 5 * tokens * width
        before = width
        mlp = 2 * tokens * width * int(width * mlp_ratio)
        depthwise += depth * tokens * width * 27
        if stage < 2:
            depthwise += depth * tokens * width * prod(local_kernel)
            linear += depth * (2 * tokens * width**2 + mlp)
            norm += depth * 2 * 2 * tokens * width
        else:
            linear += depth * (4 * tokens * width**2 + mlp)
            products += depth * 2 * tokens**2 * width
            norm += depth * 2 * 5 * tokens * width
    norm += 2 * prod(grids(shape)[-1]) * widths[-1]
    linear += widths[-1] * num_classes
    kinds = {LINEAR: linear, DEPTHWISE: depthwise, PATCH: patch, ATTENTION: products, NORM: norm}
    return {kind: shape[0] * number for kind, number in kinds.items()}


class TestByHand:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize(
        "options",
        [{}, {"std": True}, {"local_kernel": (5, 3, 7)}, {"mlp_ratio": 2.5, "head_dim": 4}],
        ids=["joint", "std", "kernel", "ratio"],
    )
    def test_uniformer(self, options, shape):
        model = tiny(**options).eval()
        assert by_kind(model, clip(shape)) == uniformer_by_hand(shape, **{**TINY, **options})

    @pytest.mark.parametrize("bias", [True, False])
    def test_biases_are_not_counted(self, bias):
        model = tiny(qkv_bias=bias).eval()
        assert by_kind(model, clip(SHAPES[1])) == uniformer_by_hand(SHAPES[1], **TINY)

    def test_layer_scale_and_dropouts_are_not_counted(self):
        model = tiny(layer_scale=True, dropout=0.5, drop_path_rate=0.5).eval()
        assert by_kind(model, clip(SHAPES[0])) == uniformer_by_hand(SHAPES[0], **TINY)

    def test_split_attention_is_two_small_ones(self):
        shape = (2, 3, 6, 64, 96)
        joint, split = uniformer_by_hand(shape, **TINY), by_kind(tiny(split=True).eval(), clip(shape))
        products = linear = norm = 0
        stages = zip(grids(shape)[2:], TINY["depths"][2:], TINY["widths"][2:], strict=True)
        for (time, height, width), depth, channels in stages:
            frame = height * width
            products += depth * 2 * channels * (frame * time**2 + time * frame**2)
            linear += depth * 4 * time * frame * channels**2
            norm += depth * 5 * time * frame * channels
        assert split[ATTENTION] == 2 * products
        assert split[LINEAR] == joint[LINEAR] + 2 * linear
        assert split[NORM] == joint[NORM] + 2 * norm
        assert (split[DEPTHWISE], split[PATCH]) == (joint[DEPTHWISE], joint[PATCH])

    @pytest.mark.parametrize("frames", [4, 5])
    def test_hourglass(self, frames):
        depths, widths, ratio, classes, side = (1, 1, 3, 2), (8, 16, 24, 32), 3, 5, 64
        model = Hourglass(num_classes=classes, depths=depths, widths=widths, head_dim=8, mlp_ratio=ratio).eval()
        kinds = by_kind(model, clip((1, 3, frames, side, side)))
        time = (frames + 1) // 2
        # The stem is two 3x3x3 convolutions, of which the second halves the frames.
        patch = 27 * (frames * (side // 2) ** 2 * 3 * 4 + time * (side // 4) ** 2 * 4 * 8)
        linear = depthwise = products = extra = 0
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            tokens = time * (side // 4 // 2**stage) ** 2
            patch += tokens * 4 * widths[stage - 1] * width if stage else 0
            depthwise += depth * tokens * width * (27 if stage > 1 else 27 + 3 * 5 * 5)
            for block in range(depth):
                if stage < 2:
                    linear += (2 + 2 * ratio) * tokens * width**2
                    continue
                run = tokens + 1 if (stage, block) == (2, 0) else tokens // 2 + 2
                linear += (4 + 2 * ratio) * run * width**2
                products += 2 * run**2 * width
                # The class token's row of attention weights, and the mean of the merged tokens.
                extra += (run + tokens) * width
        linear += widths[2] * widths[3] + widths[3] * classes
        assert (kinds[PATCH], kinds[DEPTHWISE], kinds[LINEAR]) == (patch, depthwise, linear)
        assert products < kinds[ATTENTION] <= products + extra

    def test_module_names(self):
        shape = (1, 3, 2, 32, 32)
        model = tiny().eval()
        counts = count_multiply_adds(model, lambda: model(clip(shape)))
        assert counts["head", LINEAR] == 32 * 5
        assert counts["patch_embed1.proj", PATCH] == 8 * 8 * 3 * 16 * 3 * 8
        assert counts["blocks1.0.conv1", LINEAR] == 8 * 8 * 8 * 8
        assert counts["blocks3.1.attn", ATTENTION] == 2 * (2 * 2) ** 2 * 24
        assert counts["blocks3.1.attn.qkv", LINEAR] == 2 * 2 * 24 * 72
        assert counts["norm", NORM] == 2 * 32
        assert {kind for _, kind in counts} == set(KINDS)
        assert all(isinstance(number, int) and number > 0 for number in counts.values())


class TestAgainstFvcore:
    def test_products_and_norms(self):
        # fvcore traces the independent network, whose attention is written as matrix products.
        model = tiny().eval()
        state, shape = model.state_dict(), (1, 3, 4, 64, 64)
        options = {"depths": TINY["depths"], "head_dim": TINY["head_dim"], "split": False}

        class Plain(nn.Module):
            def forward(self, clips):
                return plain_uniformer(clips, state, **options)[0]

        analysis = (
            FlopCountAnalysis(Plain(), clip(shape)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        )
        theirs, ours = analysis.by_operator(), by_kind(model, clip(shape))
        assert theirs["batch_norm"] + theirs["layer_norm"] == ours[NORM]
        assert theirs["conv"] + theirs["linear"] + theirs["matmul"] == sum(ours.values()) - ours[NORM]
        assert sum(theirs.values()) == sum(ours.values())


KERNELS = {
    "flash": lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention(q, k, v),
    "efficient": lambda q, k, v: torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, False),
    "cudnn": lambda q, k, v: torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False),
    "cpu": lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v),
    "math": F.scaled_dot_product_attention,
    "products": lambda q, k, v: (q @ k.transpose(-2, -1)).softmax(-1) @ v,
    "einsum": lambda q, k, v: torch.einsum("bhij,bhjd->bhid", torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1), v),
}


class Kernel(nn.Module):
    """A network that is one attention kernel."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def forward(self, query, key, value):
        return self.kernel(query, key, value)


class TestAttentionKernels:
    @pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
    def test_every_kernel_is_its_two_products(self, kernel):
        query, key, value = (torch.empty(2, 3, n, 16, device="meta", dtype=torch.bfloat16) for n in (5, 7, 7))
        assert by_kind(Kernel(kernel), query, key, value) == {ATTENTION: 2 * (2 * 3 * 5 * 7 * 16)}

    def test_the_same_network_with_attention_as_matrix_products(self, monkeypatch):
        model = tiny().eval()
        clips = clip((2, 3, 4, 64, 64))
        fused = count_multiply_adds(model, lambda: model(clips))

        def attend(query, key, value, *, scale, dropout=0.0):
            return (query @ key.transpose(-2, -1) * scale).softmax(-1) @ value

        monkeypatch.setattr(attention, "attend", attend)
        assert count_multiply_adds(model, lambda: model(clips)) == fused

    def test_a_counter_that_does_not_know_the_kernel_counts_less(self):
        model = tiny().eval()
        clips = clip((1, 3, 4, 64, 64))
        ours = by_kind(model, clips)
        with torch.no_grad(), plain_kernels(), FlopCounterMode(display=False) as counter:
            model(clips)
        assert counter.get_total_flops() // 2 == sum(ours.values()) - ours[NORM] - ours[ATTENTION]


class TestAnyWayOfCalling:
    def test_real_and_meta_and_inference_mode_count_the_same(self):
        model, clips = tiny().eval(), clip((1, 3, 4, 64, 64))
        real = count_multiply_adds(model, lambda: model(clips))
        with torch.inference_mode():
            assert count_multiply_adds(model, lambda: model(clips)) == real
        model.to("meta")
        assert count_multiply_adds(model, lambda: model(clips.to("meta"))) == real

    def test_under_automatic_mixed_precision(self):
        model, clips = tiny().eval(), clip((1, 3, 4, 64, 64))

        def forward():
            with torch.autocast("cpu", torch.bfloat16):
                model(clips)

        assert count_multiply_adds(model, forward) == count_multiply_adds(model, lambda: model(clips))

    def test_without_gradients_and_without_a_trace(self):
        model = tiny().eval()
        seen = []
        count_multiply_adds(model, lambda: seen.append(model(clip((1, 3, 2, 32, 32)))))
        assert not seen[0].requires_grad
        assert torch.is_grad_enabled()
        again = model(clip((1, 3, 2, 32, 32)))
        torch.testing.assert_close(again, seen[0])

    def test_hooks_are_gone_after_an_error(self):
        model = tiny().eval()
        hooks = torch.nn.modules.module
        before = len(hooks._global_forward_pre_hooks), len(hooks._global_forward_hooks)
        with pytest.raises(ValueError, match="must be"):
            count_multiply_adds(model, lambda: model(torch.zeros(1, 1, 1)))
        assert (len(hooks._global_forward_pre_hooks), len(hooks._global_forward_hooks)) == before

    def test_an_error_that_the_network_catches_leaves_names_right(self):
        class Picky(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = nn.Linear(3, 3), nn.Linear(4, 5)

            def forward(self, x):
                try:
                    self.first(x)
                except RuntimeError:
                    return self.second(x)

        model = Picky()
        counts = count_multiply_adds(model, lambda: model(torch.zeros(2, 4)))
        assert counts == {("second", LINEAR): 2 * 4 * 5}

    def test_modules_of_others_count_to_the_one_that_calls_them(self):
        other = nn.Linear(4, 6, bias=False)

        class Caller(nn.Module):
            def forward(self, x):
                return other(x)

        model = nn.Sequential(nn.Linear(4, 4), Caller())
        counts = count_multiply_adds(model, lambda: model(torch.zeros(3, 4)))
        assert counts == {("0", LINEAR): 3 * 4 * 4, ("1", LINEAR): 3 * 4 * 6}


class TestKinds:
    @pytest.mark.parametrize(
        ("layer", "shape", "kind", "number"),
        [
            (nn.Linear(4, 6), (2, 3, 5, 4), LINEAR, 30 * 24),
            (nn.Linear(4, 6, bias=False), (2, 3, 5, 4), LINEAR, 30 * 24),
            (nn.Conv3d(4, 6, 1), (2, 4, 3, 5, 7), LINEAR, 2 * 105 * 24),
            (nn.Conv1d(4, 6, 1), (2, 4, 9), LINEAR, 2 * 9 * 24),
            (nn.Conv3d(4, 4, 3, padding=1, groups=4), (2, 4, 3, 5, 7), DEPTHWISE, 2 * 105 * 4 * 27),
            (nn.Conv2d(4, 8, 1, groups=4), (2, 4, 5, 7), DEPTHWISE, 2 * 35 * 8),
            (nn.Conv3d(4, 6, (1, 2, 2), (1, 2, 2)), (2, 4, 3, 4, 6), PATCH, 2 * 3 * 2 * 3 * 4 * 24),
            (nn.Conv2d(1, 6, 3), (2, 1, 5, 5), PATCH, 2 * 9 * 9 * 6),
            (nn.Conv2d(4, 6, 3, groups=2, stride=2), (2, 4, 7, 7), PATCH, 2 * 9 * 9 * 2 * 6),
            (nn.BatchNorm3d(4).eval(), (2, 4, 3, 5, 7), NORM, 2 * 4 * 105 * 2),
            (nn.LayerNorm(4), (2, 3, 4), NORM, 24 * 5),
            (nn.GroupNorm(2, 4), (2, 4, 3), NORM, 24 * 5),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_layers(self, layer, shape, kind, number):
        assert by_kind(layer, torch.zeros(shape)) == {kind: number}

    @pytest.mark.parametrize(
        "layer", [nn.GELU(), nn.Softmax(-1), nn.AvgPool1d(2), nn.Dropout(), nn.Upsample(scale_factor=2)], ids=str
    )
    def test_what_is_not_counted(self, layer):
        assert by_kind(layer, torch.ones(2, 3, 4)) == {}

    def test_an_operation_without_a_formula_is_refused_not_passed_over(self):
        class Vectors(nn.Module):
            def forward(self, x):
                return torch.dot(x, x)

        model = Vectors()
        with pytest.raises(UserError, match=r"^no formula for the multiply-adds of aten\.dot\.default; give one with "):
            count_multiply_adds(model, lambda: model(torch.ones(4)))
