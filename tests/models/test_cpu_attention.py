"""Attention for CPUs against the plain one in float64, over blocks of all sizes."""

from __future__ import annotations

import pytest
import torch

from uniformer_video.models import cpu_attention as module
from uniformer_video.models.cpu_attention import cpu_attend

# (B, heads, N, D); the third extent of keys may be another.
SHAPES = [((2, 3, 10, 8), 10), ((1, 2, 130, 16), 130), ((2, 1, 7, 4), 33), ((1, 4, 1, 8), 1)]


def plain(query, key, value, scale):
    return (query @ key.transpose(-2, -1) * scale).softmax(-1) @ value


@pytest.fixture(params=[1, 40 * 130 * 2, 2**30], ids=["smallest blocks", "some rows", "all at once"])
def _blocks_of(request, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", request.param)


def draw(shape, others, dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(1)
    batch, heads, _, width = shape
    query, upward = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    key, value = (torch.randn((batch, heads, others, width), generator=generator).to(dtype) for _ in range(2))
    return query, key, value, upward


def gradients(function, query, key, value, upward, dtype):
    parts = [part.to(dtype, copy=True).requires_grad_() for part in (query, key, value)]
    out = function(*parts, 0.4)
    return [out.detach(), *torch.autograd.grad(out, parts, upward.to(dtype))]


@pytest.mark.parametrize(("shape", "others"), SHAPES)
def test_result_and_gradients_in_float32_are_exact(_blocks_of, shape, others):
    given = draw(shape, others, torch.float32)
    got = gradients(cpu_attend, *given, torch.float32)
    for one, other in zip(got, gradients(plain, *given, torch.float64), strict=True):
        assert one.shape == other.shape
        assert (one.double() - other).norm() <= 2e-6 * other.norm() + 1e-6


@pytest.mark.parametrize(("shape", "others"), SHAPES[:3])
def test_bf16_is_as_near_as_the_plain_way(_blocks_of, shape, others):
    given = draw(shape, others)
    exact = gradients(plain, *given, torch.float64)
    rivals = gradients(plain, *given, torch.bfloat16)
    for one, rival, other in zip(gradients(cpu_attend, *given, torch.bfloat16), rivals, exact, strict=True):
        assert one.dtype == torch.bfloat16
        error, its_error = ((part.double() - other).norm() / other.norm() for part in (one, rival))
        assert error < max(1.5 * its_error, 8e-3)


def test_heads_lie_side_by_side_in_memory():
    query, key, value, _ = draw((2, 3, 10, 8), 10)
    out = cpu_attend(query, key, value, 1.0)
    assert out.transpose(1, 2).is_contiguous(), "joining the heads copies nothing"


def test_views_of_one_projection():
    qkv = torch.randn(2, 12, 3, 4, 8)
    wanted = plain(*qkv.permute(2, 0, 3, 1, 4).unbind(0), 0.3)
    torch.testing.assert_close(cpu_attend(*qkv.permute(2, 0, 3, 1, 4).unbind(0), 0.3), wanted)


def test_large_scores_do_not_overflow():
    query = torch.full((1, 1, 3, 4), 100.0).bfloat16()
    out = cpu_attend(query, query, torch.ones(1, 1, 3, 4).bfloat16(), 1.0)
    assert torch.equal(out, torch.ones(1, 1, 3, 4).bfloat16())


def test_no_more_than_inputs_and_result_is_kept():
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    query, key, value, _ = draw((2, 3, 10, 8), 10)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        cpu_attend(query.requires_grad_(), key, value, 1.0)
    assert kept == [480] * 4


@pytest.mark.parametrize("heads", [1, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 31, 100, 1000])
@pytest.mark.parametrize("row_bytes", [2, 6272, 10**7])
def test_blocks_cover_every_row_of_every_head_once(heads, count, row_bytes):
    seen = torch.zeros(heads, count)
    for some, rows in module._blocks(heads, count, row_bytes):
        seen[some, rows] += 1
        assert seen[some, rows].numel() * row_bytes <= max(module.BLOCK_BYTES, 32 * row_bytes)
    assert seen.eq(1).all()
