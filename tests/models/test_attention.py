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
