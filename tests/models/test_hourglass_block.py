"""The block that merges tokens: what reaches which token, scores, stochastic depth."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.fill import fill
from uniformer_video.models.blocks import GlobalBlock
from uniformer_video.models.hourglass_block import HourglassBlock

OPTIONS = {
    "heads": 2,
    "mlp_ratio": 3.0,
    "qkv_bias": True,
    "qk_scale": None,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "drop_path": 0.0,
}
SHAPE = (2, 3, 4, 5, 8)
COUNT = 60


def block(prune_ratio=0.5, trade_off=0.5, **options):
    made = HourglassBlock(8, prune_ratio=prune_ratio, trade_off=trade_off, **{**OPTIONS, **options})
    made.load_state_dict(fill(made.state_dict()))
    return made.eval()


def state(seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(SHAPE[0], COUNT, generator=generator)
    return torch.randn(SHAPE, generator=generator), torch.randn(2, 1, 8, generator=generator), scores


def positioned(made, x):
    """The patch tokens (B, N, C) as attention finds them."""
    return (x + made.pos_embed(x.movedim(-1, 1)).movedim(1, -1)).flatten(1, 3)


def test_names_are_those_of_a_global_block():
    assert list(block().state_dict()) == list(GlobalBlock(8, **OPTIONS).state_dict())
    scaled = block(layer_scale=0.5)
    assert list(scaled.state_dict())[:2] == ["gamma_1", "gamma_2"]
    assert scaled.gamma_1.shape == scaled.gamma_2.shape == (8,)
    assert "prune_ratio=0.5, trade_off=0.25" in repr(block(trade_off=0.25))


@pytest.mark.parametrize("ratio", [1, 0.99, 0.5, 0.1, 0.001])
def test_shapes_are_kept(ratio):
    x, class_token, scores = state()
    after = block(ratio)(x, class_token, scores)
    assert [a.shape for a in after] == [SHAPE, (2, 1, 8), (2, COUNT)]
    assert all(a.isfinite().all() for a in after)


def test_ratio_one_is_an_ordinary_block_with_the_class_token_as_one_more_token():
    made, (x, class_token, scores) = block(1.0, 0.3), state()
    tokens = torch.cat((class_token, positioned(made, x)), 1)
    tokens = tokens + made.attn(made.norm1(tokens))
    tokens = tokens + made.mlp(made.norm2(tokens))
    after, class_after, scores_after = made(x, class_token, scores)
    torch.testing.assert_close(after.flatten(1, 3), tokens[:, 1:])
    torch.testing.assert_close(class_after, tokens[:, :1])
    first = made(x, class_token, None)
    assert torch.equal(first[0], after)
    torch.testing.assert_close(scores_after, 0.7 * scores + 0.3 * first[2])


def test_without_position_encoding_a_merged_token_gets_the_update_of_the_representative():
    made, (x, class_token, scores) = block(0.5, layer_scale=0.5), state()
    nn.init.zeros_(made.pos_embed.weight), nn.init.zeros_(made.pos_embed.bias)
    after, _, scores_after = made(x, class_token, scores)
    before, after = x.flatten(1, 3), after.flatten(1, 3)
    order = scores.argsort(dim=1, descending=True)
    for clip in range(2):
        kept, merged = order[clip, :30], order[clip, 30:]
        updates = after[clip, merged] - before[clip, merged]
        torch.testing.assert_close(updates, updates[:1].expand(30, -1))
        own = after[clip, kept] - before[clip, kept]
        assert torch.unique(own.round(decimals=4), dim=0).shape[0] == 30, "kept tokens have their own"
        assert torch.equal(scores_after[clip, merged], scores[clip, merged]), "merged ones took no part"
        assert (scores_after[clip, kept] != scores[clip, kept]).all()


def test_fresh_scores_leave_out_class_token_and_representative():
    made, (x, class_token, scores) = block(0.5, 1.0), state()
    scores_after = made(x, class_token, scores)[2]
    kept = scores.argsort(dim=1, descending=True)[:, :30]
    assert (scores_after.gather(1, kept).sum(1) < 1).all(), "not renormalised"
    patches = positioned(made, x)
    weights = scores.scatter(1, kept, 0.0)
    representative = (weights / weights.sum(1, keepdim=True)).unsqueeze(1) @ patches
    tokens = torch.cat((class_token, patches.gather(1, kept.unsqueeze(-1).expand(-1, -1, 8)), representative), 1)
    query, key, _ = made.attn.project(made.norm1(tokens))
    row = (query @ key.transpose(2, 3) * made.attn.scale).softmax(-1)[:, :, 0].mean(1)
    torch.testing.assert_close(scores_after.gather(1, kept), row[:, 1:-1])


def test_a_share_that_rounds_to_none_leaves_the_class_token_and_the_representative():
    made, (x, class_token, scores) = block(0.01), state()
    after, _, scores_after = made(x, class_token, scores)
    assert torch.equal(scores_after, scores)
    change = after.flatten(1, 3) - positioned(made, x)
    torch.testing.assert_close(change, change[:, :1].expand(-1, COUNT, -1))


def test_a_single_token_is_its_own_representative():
    made, x, class_token = block(0.5), torch.randn(2, 1, 1, 1, 8), torch.randn(2, 1, 8)
    for score in (0.3, 0.0):
        merged = made(x, class_token, torch.full((2, 1), score))
        torch.testing.assert_close(merged[0], block(1.0)(x, class_token, None)[0])


def test_scores_that_vanish_give_numbers_and_gradients():
    made, (x, class_token, _) = block(0.5).train(), state()
    scores = torch.zeros(2, COUNT, requires_grad=True)
    after, class_after, scores_after = made(x, class_token, scores)
    (after.sum() + class_after.sum() + scores_after.square().sum()).backward()
    assert after.isfinite().all()
    assert scores.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in made.parameters())


def test_equal_scores_keep_the_first_tokens():
    made, (x, class_token, _) = block(0.5), state()
    equal = torch.full((2, COUNT), 0.25)
    falling = equal + torch.linspace(1e-6, 0, COUNT)
    after = made(x, class_token, equal)
    torch.testing.assert_close(after[0], made(x, class_token, falling)[0], rtol=1e-4, atol=1e-4)
    assert (after[2][:, :30] != 0.25).all()
    assert (after[2][:, 30:] == 0.25).all()


def test_scores_that_no_later_block_needs_are_not_computed(monkeypatch):
    x, class_token, scores = state()
    wanted = block(0.5)(x, class_token, scores)
    last = block(0.5, scores_needed=False)
    monkeypatch.setattr("uniformer_video.models.hourglass_block.class_token_weights", None)
    after = last(x, class_token, scores)
    assert torch.equal(after[0], wanted[0])
    assert torch.equal(after[1], wanted[1])
    assert after[2] is None


def test_a_merging_block_without_scores_is_our_mistake():
    x, class_token, _ = state()
    with pytest.raises(AssertionError, match="without scores keeps all"):
        block(0.5)(x, class_token, None)


def test_stochastic_depth_drops_no_update_of_a_merged_token():
    made, (x, class_token, scores) = block(0.5, drop_path=0.999999, layer_scale=0.5).train(), state()
    after, class_after, _ = made(x, class_token, scores)
    before = positioned(made, x)
    kept = scores.argsort(dim=1, descending=True)[:, :30]
    merged = scores.argsort(dim=1, descending=True)[:, 30:]
    change = after.flatten(1, 3) - before
    for clip in range(2):
        assert change[clip, kept[clip]].abs().max() < 1e-6, "kept tokens lost both branches"
        share = scores[clip, merged[clip]] / scores[clip, merged[clip]].sum()
        representative = (share.unsqueeze(1) * before[clip, merged[clip]]).sum(0)
        tokens = torch.stack((class_token[clip, 0], *before[clip, kept[clip]], representative))
        attention = made.gamma_1 * made.attn(made.norm1(tokens.unsqueeze(0)))[0, -1]
        # The representative itself lost its attention branch before the MLP looked at it.
        update = attention + made.gamma_2 * made.mlp(made.norm2(representative))
        torch.testing.assert_close(change[clip, merged[clip]], update.expand(30, -1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(class_after, class_token)


def test_stochastic_depth_treats_the_tokens_of_a_clip_alike():
    made = block(0.5, drop_path=0.5).train()
    x, class_token, scores = (tensor.repeat(32, *[1] * (tensor.ndim - 1)) for tensor in state())
    after = made(x, class_token, scores)[1]
    assert torch.unique((after - class_token)[::2].round(decimals=4), dim=0).shape[0] == 4, "both, one, other, none"


def test_gradients_reach_the_scores_and_the_class_token():
    made, (x, class_token, scores) = block(0.5), state()
    for tensor in (x, class_token, scores):
        tensor.requires_grad_()
    after = made(x, class_token, scores)
    (after[0].square().sum() + after[2].square().sum()).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in (x, class_token, scores))


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_under_autocast_scores_stay_single_precision(ratio):
    made, (x, class_token, scores) = block(ratio), state()
    wanted = made(x, class_token, scores)
    with torch.autocast("cpu", torch.bfloat16):
        after = made(x, class_token, scores)
    assert after[2].dtype == torch.float32
    torch.testing.assert_close(after[2], wanted[2], rtol=3e-2, atol=1e-3)
    torch.testing.assert_close(after[0].float(), wanted[0], rtol=5e-2, atol=5e-2)
    if ratio == 1.0:
        assert not torch.equal(after[2].bfloat16().float(), after[2]), "not rounded to bfloat16 on the way"


def test_in_half_precision_altogether():
    made, (x, class_token, scores) = block(0.5).bfloat16(), state()
    after = made(x.bfloat16(), class_token.bfloat16(), scores)
    assert [a.dtype for a in after] == [torch.bfloat16, torch.bfloat16, torch.float32]
    torch.testing.assert_close(after[0].float(), block(0.5)(x, class_token, scores)[0], rtol=0.1, atol=0.1)
