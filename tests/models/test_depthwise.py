"""The depthwise convolution as an operation: values, gradients, and all that torch wants to know of an operation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from uniformer_video.models import depthwise
from uniformer_video.models.counting import DEPTHWISE, count_multiply_adds
from uniformer_video.models.depthwise import depthwise_conv3d, depthwise_gradients, use_triton
from uniformer_video.models.recompute import recompute

KERNELS = [(3, 3, 3), (3, 5, 5), (5, 5, 5), (1, 3, 3)]


def tensors(kernel, *, dtype=torch.float32, shape=(2, 3, 5, 4, 6)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=generator, dtype=dtype)
    weight = torch.randn(shape[-1], 1, *kernel, generator=generator, dtype=dtype)
    return x, weight, torch.randn(shape[-1], generator=generator, dtype=dtype)


def plain(x, weight, bias=None) -> torch.Tensor:
    """The same in torch's own words."""
    padding = [extent // 2 for extent in weight.shape[2:]]
    y = F.conv3d(x.permute(0, 4, 1, 2, 3), weight, bias, padding=padding, groups=len(weight))
    return y.permute(0, 2, 3, 4, 1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_torchs_convolution_with_all_gradients(kernel):
    ours, theirs = ([t.requires_grad_() for t in tensors(kernel, dtype=torch.float64)] for _ in range(2))
    y, wanted = depthwise_conv3d(*ours), plain(*theirs)
    assert y.is_contiguous() and y.shape == ours[0].shape
    torch.testing.assert_close(y, wanted)
    grad = torch.randn(y.shape, dtype=y.dtype)
    y.backward(grad)
    wanted.backward(grad)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_gradients_without_a_bias_and_of_some_inputs_only():
    x, weight, _ = tensors((3, 3, 3), dtype=torch.float64, shape=(1, 2, 3, 2, 2))
    assert torch.autograd.gradcheck(depthwise_conv3d, (x.requires_grad_(), weight.requires_grad_()))
    assert torch.autograd.gradcheck(depthwise_conv3d, (x.detach(), weight))
    assert torch.autograd.gradcheck(depthwise_conv3d, (x, weight.detach()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.filterwarnings("ignore")  # torch's own, about a name that it left
def test_torch_finds_nothing_wrong_with_the_operation(bias):
    x, weight, start = (t.requires_grad_() for t in tensors((3, 3, 3), shape=(1, 2, 3, 2, 4)))
    torch.library.opcheck(depthwise._convolution, (x, weight, start if bias else None, False))
    torch.library.opcheck(depthwise._weight_gradient, (x.detach(), x.detach() * 2, weight.detach()))


def test_the_kernel_turned_round_is_the_gradient_of_the_input():
    x, weight, _ = tensors((3, 5, 5), dtype=torch.float64)
    (wanted,) = torch.autograd.grad(plain(x.requires_grad_(), weight), x, torch.ones_like(x))
    torch.testing.assert_close(depthwise._convolution(torch.ones_like(x), weight, None, True), wanted)


def test_gradients_of_the_weight_are_float32_for_half_precision():
    x, weight, _ = tensors((3, 3, 3))
    half = x.to(torch.bfloat16)
    of_weight, of_bias = depthwise_gradients(half, half, weight)
    assert (of_weight.dtype, of_bias.dtype) == (torch.float32, torch.float32)
    exact = weight.double().requires_grad_()
    plain(half.double(), exact).backward(half.double())
    torch.testing.assert_close(of_weight.double(), exact.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(of_bias, half.float().sum((0, 1, 2, 3)))


def test_autocast_and_the_dtypes_of_gradients():
    x, weight, bias = (t.requires_grad_() for t in tensors((3, 3, 3)))
    with torch.autocast("cpu", torch.bfloat16):
        y = depthwise_conv3d(x, weight, bias)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), plain(x, weight, bias), rtol=5e-2, atol=5e-2)
    y.float().sum().backward()
    assert {t.grad.dtype for t in (x, weight, bias)} == {torch.float32}


def test_it_compiles_as_one_graph_with_its_backward():
    graphs = []

    def count(graph, examples):
        graphs.append(graph)
        return graph.forward

    from torch._dynamo.backends.common import aot_autograd

    ours, theirs = ([t.requires_grad_() for t in tensors((3, 3, 3))] for _ in range(2))
    torch._dynamo.reset()
    compiled = torch.compile(depthwise_conv3d, backend=aot_autograd(fw_compiler=count), fullgraph=True)
    y = compiled(*ours)
    y.sum().backward()
    depthwise_conv3d(*theirs).sum().backward()
    assert len(graphs) == 2
    assert all(torch.equal(own.grad, other.grad) for own, other in zip(ours, theirs, strict=True))


class Layer(nn.Module):
    def __init__(self, kernel) -> None:
        super().__init__()
        _, weight, bias = tensors(kernel)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x):
        return depthwise_conv3d(x, self.weight, self.bias)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("frames", [1, 3])
def test_its_multiply_adds_are_counted(device, frames):
    layer = Layer((3, 5, 5)).to(device)
    x = torch.zeros(2, frames, 5, 4, 6, device=device)
    counts = count_multiply_adds(layer, lambda: layer(x))
    assert counts == {("", DEPTHWISE): x.numel() * 75}


def test_recomputing_it_gives_the_same_gradients():
    x, _, _ = tensors((3, 3, 3))
    layers = [Layer((3, 3, 3)) for _ in range(2)]
    layers[0](x).square().sum().backward()
    recompute(layers[1], x.requires_grad_()).square().sum().backward()
    assert torch.equal(layers[0].weight.grad, layers[1].weight.grad)


class TestWhoseKernel:
    @pytest.fixture(autouse=True)
    def fresh(self):
        self.forget()
        yield
        self.forget()

    @staticmethod
    def forget():
        for function in (depthwise._has_triton, depthwise._capable):
            function.cache_clear() if hasattr(function, "cache_clear") else function.__wrapped__.cache_clear()

    @pytest.fixture
    def installed(self, monkeypatch):
        """Pretend that Triton 3.9 is installed."""
        monkeypatch.delenv("UNIFORMER_DEPTHWISE", raising=False)
        monkeypatch.setattr(depthwise.importlib.util, "find_spec", lambda name: name)
        monkeypatch.setattr(depthwise.importlib.metadata, "version", lambda name: "3.9.0")

    def on_cuda(self, kernel=(3, 5, 5), dtype=torch.float32) -> bool:
        with FakeTensorMode():
            x = torch.empty(1, 2, 7, 7, 8, dtype=dtype, device="cuda")
            return use_triton(x, torch.empty(8, 1, *kernel, device="cuda"))

    def test_never_on_a_cpu(self, installed):
        x, weight, _ = tensors((3, 3, 3))
        assert not use_triton(x, weight) and not use_triton(x.to("meta"), weight)

    @pytest.mark.parametrize("dtype", depthwise.DTYPES)
    def test_on_cuda(self, installed, dtype):
        assert self.on_cuda(dtype=dtype)

    @pytest.mark.parametrize(("kernel", "dtype"), [((3, 4, 3), torch.float32), ((3, 7, 7), torch.float32)])
    def test_not_with_other_kernels(self, installed, kernel, dtype):
        assert not self.on_cuda(kernel, dtype)

    @pytest.mark.parametrize("autocast", [False, True])
    def test_not_in_double_precision_which_autocast_leaves_alone(self, installed, autocast, monkeypatch):
        monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: True)
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: autocast)
        assert not self.on_cuda(dtype=torch.float64)
        assert self.on_cuda(dtype=torch.float32)

    def test_not_with_an_old_release(self, installed, monkeypatch):
        monkeypatch.setattr(depthwise.importlib.metadata, "version", lambda name: "3.2.0")
        assert not self.on_cuda()

    def test_not_without_triton(self, installed, monkeypatch):
        monkeypatch.setattr(depthwise.importlib.util, "find_spec", lambda name: None)
        assert not self.on_cuda()

    def test_not_where_it_is_switched_off(self, installed, monkeypatch):
        monkeypatch.setenv("UNIFORMER_DEPTHWISE", "torch")
        assert not self.on_cuda()

    def test_not_on_an_old_card(self, installed, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        for capability, fits in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
            monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index, found=capability: found)
            depthwise._capable.cache_clear()
            assert depthwise._capable(0) is fits

    def test_a_fake_tensor_on_cuda_gets_its_shape(self, installed):
        with FakeTensorMode():
            x = torch.empty(1, 2, 7, 7, 8, device="cuda", dtype=torch.bfloat16)
            weight = torch.empty(8, 1, 3, 3, 3, device="cuda")
            y, (of_weight, of_bias) = depthwise_conv3d(x, weight), depthwise_gradients(x, x, weight)
        assert (y.shape, y.dtype, y.device.type) == (x.shape, x.dtype, "cuda")
        assert (of_weight.shape, of_bias.shape, of_weight.dtype) == (weight.shape, (8,), torch.float32)
