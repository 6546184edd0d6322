"""The depthwise convolution for CPUs against torch's own in float64."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from uniformer_video.models.cpu_depthwise import cpu_depthwise_conv3d, kernel_gradient

EXTENTS = st.sampled_from([1, 3, 5, 7, 9])


def reference(x, weight, bias, upward):
    """Result and gradients of torch's convolution in float64."""
    x, weight, bias = (part.double().requires_grad_() for part in (x, weight, bias))
    padding = [extent // 2 for extent in weight.shape[2:]]
    volume = F.conv3d(x.movedim(-1, 1), weight, bias, padding=padding, groups=len(weight))
    out = volume.movedim(1, -1)
    return [out.detach(), *torch.autograd.grad(out, (x, weight, bias), upward.double())]


def ours(x, weight, bias, upward):
    x, weight, bias = (part.clone().requires_grad_() for part in (x, weight, bias))
    out = cpu_depthwise_conv3d(x, weight, bias)
    return [out.detach(), *torch.autograd.grad(out, (x, weight, bias), upward)]


def draw(shape, kernel, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(shape) + sum(kernel))
    x, upward = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    channels = shape[-1]
    weight = torch.randn((channels, 1, *kernel), generator=generator)
    return x, weight, torch.randn(channels, generator=generator), upward


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*(st.integers(1, high) for high in (3, 6, 9, 9, 20))),
    st.tuples(EXTENTS, EXTENTS, EXTENTS),
)
def test_result_and_gradients_for_any_shape_and_kernel(shape, kernel):
    given_parts = draw(shape, kernel)
    for got, wanted in zip(ours(*given_parts), reference(*given_parts), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 5, 5), (5, 5, 5)])
@pytest.mark.parametrize("shape", [(2, 4, 14, 14, 32), (1, 8, 7, 7, 64), (2, 2, 28, 28, 16)])
def test_the_shapes_of_the_network(shape, kernel):
    given_parts = draw(shape, kernel)
    for got, wanted in zip(ours(*given_parts), reference(*given_parts), strict=True):
        assert (got.double() - wanted).norm() < 1e-6 * wanted.norm()


def test_bf16_gives_its_dtype_and_a_weight_gradient_summed_in_float32():
    x, weight, bias, upward = draw((2, 4, 12, 12, 16), (5, 5, 5), torch.bfloat16)
    out, by_x, by_weight, by_bias = ours(x, weight, bias, upward)
    assert (out.dtype, by_x.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (by_weight.dtype, by_bias.dtype) == (torch.float32, torch.float32)
    wanted = reference(x, weight.bfloat16().float(), bias.bfloat16().float(), upward)
    for got, right, tolerance in zip((out, by_x, by_weight, by_bias), wanted, (4e-3, 4e-3, 1e-6, 4e-3), strict=True):
        assert (got.double() - right).norm() < tolerance * right.norm()


def test_only_what_is_asked_for():
    x, weight, bias, upward = draw((1, 2, 5, 5, 4), (3, 3, 3))
    wanted = reference(x, weight, bias, upward)
    frozen = cpu_depthwise_conv3d(x.clone().requires_grad_(), weight, bias)
    assert not weight.requires_grad
    assert frozen.requires_grad
    learned = weight.clone().requires_grad_()
    out = cpu_depthwise_conv3d(x, learned, None)
    torch.testing.assert_close(torch.autograd.grad(out, learned, upward)[0].double(), wanted[2], rtol=1e-5, atol=1e-5)
    assert not cpu_depthwise_conv3d(x, weight, bias).requires_grad


def test_a_gradient_with_any_strides():
    x, weight, bias, upward = draw((2, 3, 6, 5, 8), (3, 5, 5))
    turned = upward.movedim(-1, 1).contiguous().movedim(1, -1)
    assert not turned.is_contiguous()
    for got, wanted in zip(ours(x, weight, bias, turned), ours(x, weight, bias, upward), strict=True):
        assert torch.equal(got, wanted)


def test_the_gradient_lies_in_memory_as_the_weight_does():
    x, weight, bias, upward = draw((1, 2, 5, 5, 4), (3, 3, 3))
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        own = weight.contiguous(memory_format=layout)
        assert ours(x, own, bias, upward)[2].stride() == own.stride()


def test_the_same_bits_twice():
    given_parts = draw((2, 4, 14, 14, 32), (5, 5, 5))
    for first, second in zip(ours(*given_parts), ours(*given_parts), strict=True):
        assert torch.equal(first, second)


def test_taps_beyond_the_clip_have_no_gradient():
    x, _, _, upward = draw((2, 1, 6, 6, 4), (5, 3, 3))
    gradient = kernel_gradient(x, upward, (5, 3, 3))
    assert gradient[:, :, [0, 1, 3, 4]].eq(0).all()
    assert gradient[:, :, 2].ne(0).all()


def test_gradients_once_only():
    x, weight, bias, _ = draw((1, 2, 4, 4, 4), (3, 3, 3))
    weight.requires_grad_()
    out = cpu_depthwise_conv3d(x, weight, bias).square().sum()
    (first,) = torch.autograd.grad(out, weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
