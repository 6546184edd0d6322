from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules.module import register_module_forward_hook

from uniformer_video.models.kernels import (
    compute_dtype,
    differentiates,
    kernels_are_own,
    observed,
    own_cpu_kernels,
    own_kernels,
    plain_kernels,
)
from uniformer_video.models.layers import Linear


def test_plain_inside_the_block_alone():
    x = torch.zeros(1)
    assert own_kernels()
    assert own_cpu_kernels(x)
    with plain_kernels():
        with plain_kernels():
            assert not own_kernels()
        assert not (own_kernels() or own_cpu_kernels(x) or kernels_are_own())
    assert own_kernels()
    assert kernels_are_own()
    with pytest.raises(KeyError), plain_kernels():
        raise KeyError
    assert own_kernels()


def test_plain_in_this_thread_alone():
    seen = []
    with plain_kernels():
        thread = threading.Thread(target=lambda: seen.append(own_kernels()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_kernels_for_cpus_are_for_floating_tensors_on_them():
    assert not own_cpu_kernels(torch.zeros(1, device="meta"))
    assert not own_cpu_kernels(torch.zeros(1, dtype=torch.int64))


def test_transforms_and_tracing_see_torch_operations():
    seen = []

    def look(x):
        seen.append(own_kernels())
        return x.sum()

    torch.func.grad(look)(torch.ones(2))
    torch.jit.trace(look, torch.ones(2), check_trace=False)
    assert seen == [False, False]


def test_the_compiler_sees_torch_operations():
    def choose(x):
        return x + (1.0 if own_kernels() else 2.0) + (10.0 if kernels_are_own() else 20.0)

    compiled = torch.compile(choose, backend="eager", fullgraph=True)
    assert compiled(torch.zeros(1)).item() == 12.0


def test_compute_dtype_is_that_of_autocast():
    x = torch.zeros(1)
    assert compute_dtype(x) is torch.float32
    assert compute_dtype(x.bfloat16()) is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert compute_dtype(x) is torch.bfloat16
        assert compute_dtype(x.double()) is torch.float64, "autocast leaves float64 alone"
        assert compute_dtype(x.to("meta")) is torch.float32
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        assert compute_dtype(x) is torch.float32


def test_differentiates_only_with_gradients():
    plain, learned = torch.zeros(1), torch.zeros(1, requires_grad=True)
    assert differentiates(plain, None, learned)
    assert not differentiates(plain, None)
    with torch.no_grad():
        assert not differentiates(learned)


def test_forward_mode_differentiation_sees_torch_operations():
    with torch.no_grad(), forward_ad.dual_level():
        assert not own_kernels()
        x = forward_ad.make_dual(torch.ones(2, 3), torch.ones(2, 3))
        layer = Linear(3, 4)
        torch.testing.assert_close(forward_ad.unpack_dual(layer(x)).tangent, layer.weight.sum(1).expand(2, 4))
    assert own_kernels()


@pytest.mark.parametrize(
    "register",
    [
        lambda layer: layer.register_forward_hook(lambda *given: None).remove,
        lambda layer: layer.register_forward_pre_hook(lambda *given: None).remove,
        lambda layer: layer.register_full_backward_hook(lambda *given: None).remove,
        lambda layer: layer.register_full_backward_pre_hook(lambda *given: None).remove,
        lambda layer: register_module_forward_hook(lambda *given: None).remove,
        lambda layer: setattr(layer, "forward", lambda x: x) or (lambda: delattr(layer, "forward")),
    ],
    ids=["forward", "before", "backward", "before backward", "of all modules", "a forward of its own"],
)
def test_observed(register):
    layer = nn.Linear(1, 1)
    assert not observed(nn.Identity(), layer)
    remove = register(layer)
    assert observed(nn.Identity(), layer)
    remove()
    assert not observed(layer)
