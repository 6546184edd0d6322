from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from uniformer_video.models import cpu_linear as module
from uniformer_video.models.cpu_linear import cpu_linear


@pytest.fixture(params=["oneDNN", "torch"])
def kernel(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(module, "_operator", lambda dtype: None)
    elif module._operator(torch.float32) is None:
        pytest.skip("this torch has no oneDNN")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 6e-3)])
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 4, 5), (1, 5), (300, 5)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_linear_map_and_gelu(kernel, dtype, tolerance, shape, has_bias):
    x = torch.randn(shape).to(dtype)
    weight, bias = torch.randn(6, 5).to(dtype), torch.randn(6).to(dtype) if has_bias else None
    wanted = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    with torch.no_grad():
        plain, bent = cpu_linear(x, weight, bias), cpu_linear(x, weight, bias, gelu=True)
    for got, right in ((plain, wanted), (bent, F.gelu(wanted))):
        assert got.dtype == dtype
        assert got.shape == right.shape
        assert (got.double() - right).norm() <= tolerance * right.norm()


def test_no_rows(kernel):
    assert cpu_linear(torch.empty(0, 5), torch.randn(6, 5)).shape == (0, 6)


def test_weights_that_are_views(kernel):
    x, weight = torch.randn(9, 5), torch.randn(5, 6).t()
    torch.testing.assert_close(cpu_linear(x, weight), x @ weight.t())


def test_off_where_oneDNN_is_switched_off():  # noqa: N802, its name is spelled so
    with torch.backends.mkldnn.flags(enabled=False):
        assert module._operator(torch.float32) is None


def test_bfloat16_is_torchs_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert module._operator(torch.bfloat16) is None
