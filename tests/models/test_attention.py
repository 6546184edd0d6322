from __future__ import annotations

import pytest
import torch

from uniformer_video.models import attention
from uniformer_video.models.attention import LEAST_TOKENS, Attention, attend
from uniformer_video.models.cpu_attention import cpu_attend


def by_hand(query, key, value, scale):
    return torch.softmax(query @ key.transpose(-1, -2) * scale, -1) @ value


def test_attend_is_softmax_of_scaled_products():
    query, key, value = torch.randn(3, 2, 4, 7, 5).unbind(0)
    torch.testing.assert_close(attend(query, key, value, scale=0.3), by_hand(query, key, value, 0.3))


def test_attend_drops_weights_and_rescales():
    torch.manual_seed(1)
    query = key = torch.zeros(1, 1, 2000, 4)
    out = attend(query, key, torch.ones(1, 1, 2000, 4), scale=1.0, dropout=0.5)
    assert out.std() > 0
    assert abs(out.mean() - 1) < 0.02


def test_one_token_returns_its_value():
    attention = Attention(8, 2)
    x = torch.randn(3, 1, 8)
    value = (x @ attention.qkv.weight.T + attention.qkv.bias)[..., 16:]
    torch.testing.assert_close(attention(x), value @ attention.proj.weight.T + attention.proj.bias)


@pytest.mark.parametrize(("scale", "factor"), [(None, 4**-0.5), (0.7, 0.7), (0.0, 0.0)])
def test_heads_are_consecutive_channels_and_qkv_is_fused_in_that_order(scale, factor):
    attention = Attention(8, 2, scale=scale)
    x = torch.randn(3, 5, 8)
    query, key, value = (x @ attention.qkv.weight.T + attention.qkv.bias).split(8, -1)
    heads = [by_hand(query[..., s], key[..., s], value[..., s], factor) for s in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(attention(x), torch.cat(heads, -1) @ attention.proj.weight.T + attention.proj.bias)


def test_tokens_of_other_clips_are_not_seen():
    attention = Attention(8, 2)
    x = torch.randn(2, 5, 8)
    alone = attention(x[:1])
    x[1] += 100
    torch.testing.assert_close(attention(x)[:1], alone)


def test_order_of_tokens_does_not_matter():
    attention = Attention(8, 2)
    x = torch.randn(1, 6, 8)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])


def test_no_bias_in_qkv_when_told():
    attention = Attention(8, 2, qkv_bias=False)
    assert attention.qkv.bias is None
    assert attention.proj.bias is not None
    assert attention(torch.randn(1, 3, 8)).shape == (1, 3, 8)


def test_dropouts_act_in_training_only():
    x = torch.randn(2, 5, 8)
    for kwargs in ({"attention_dropout": 0.5}, {"dropout": 0.5}):
        attention = Attention(8, 2, **kwargs)
        torch.manual_seed(0)
        assert not torch.equal(attention(x), attention(x)), kwargs
        attention.eval()
        assert torch.equal(attention(x), attention(x)), kwargs


def test_heads_must_share_the_channels():
    with pytest.raises(AssertionError, match="8 channels cannot be shared by 3 heads"):
        Attention(8, 3)


@pytest.mark.parametrize(("count", "own"), [(1, False), (LEAST_TOKENS - 1, False), (LEAST_TOKENS, True)])
def test_many_clips_of_few_tokens_are_for_torchs_kernel(count, own, monkeypatch):
    calls = []
    monkeypatch.setattr(attention, "cpu_attend", lambda *given: calls.append(1) or cpu_attend(*given))
    query, key, value = (torch.randn(2, 2, count, 8) for _ in range(3))
    got = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), scale=0.3).float()
    wanted = by_hand(query, key, value, 0.3)
    assert (got - wanted).norm() < 1e-2 * wanted.norm()
    assert len(calls) == own


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("count", [16, LEAST_TOKENS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_beyond_float16_are_neither_infinite_nor_nan(dtype, count, dropout):
    """Logits up to 3.6e6 of opposite signs: each token attends to itself and its like alone, exactly."""
    torch.manual_seed(0)
    signs = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0)[:, None]
    query = (600 * signs).expand(count, 10).to(dtype)[None, None].requires_grad_()
    value = signs.expand(count, 10).to(dtype)[None, None].requires_grad_()
    assert (query.float() @ query.float().mT).max() > 50 * 65504
    out = attend(query, query, value, scale=1.0, dropout=dropout)
    by_query, by_value = torch.autograd.grad(out.float().sum(), (query, value))
    assert out.dtype == dtype
    assert out.isfinite().all() and by_query.isfinite().all() and by_value.isfinite().all()
    if not dropout:
        torch.testing.assert_close(out, value.detach())
    else:
        assert (out * value >= 0).all() and 0.5 < (out * value).float().mean() < 1.5


@pytest.mark.parametrize("dropout", [0.0, 1e-9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 50.0])
def test_logits_are_float32_in_half_precision_on_every_path(size, dtype, dropout):
    generator = torch.Generator().manual_seed(2)
    query, key, value = torch.randn(3, 1, 2, 128, 16, generator=generator).unbind(0)
    query, key = ((part * (size / 4) ** 0.5).to(dtype) for part in (query, key))
    got = attend(query, key, value.to(dtype), scale=1.0, dropout=dropout).double()
    wanted = by_hand(query.double(), key.double(), value.to(dtype).double(), 1.0)
    # Weights and results are rounded to the type; a logit of 50 in it would be off by 4 % or 0.5 %.
    assert (got - wanted).norm() < (4e-3 if dtype is torch.bfloat16 else 5e-4) * wanted.norm()
