"""Tokens that are merged and come back: values, order, and what must hold for every permutation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.models.merging import (
    class_token_weights,
    highest_scores,
    keep,
    kept_count,
    merge,
    merge_weights,
    pool_scores,
    unmerge,
    update_scores,
)


@st.composite
def cases(draw, least=1):
    """Draw tokens (B, N, C), scores (B, N) with equal ones among them, and how many to keep, < N."""
    batch, count, seed = draw(st.integers(1, 3)), draw(st.integers(least, 24)), draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(batch, count, 3, generator=generator, dtype=torch.float64)
    levels = draw(st.sampled_from([2, 5, 1000]))
    scores = torch.randint(0, levels, (batch, count), generator=generator).double() / levels
    return tokens, scores, draw(st.integers(0, count - 1)), generator


@pytest.mark.parametrize(
    ("tokens", "ratio", "kept"),
    [(32, 0.5, 16), (33, 0.5, 16), (1, 0.5, 0), (10, 0.09, 0), (10, 0.1, 1), (100, 0.29, 28), (7, 1, 7), (7, 1.0, 7)],
)
def test_kept_count(tokens, ratio, kept):
    assert kept_count(tokens, ratio) == kept


@given(tokens=st.integers(1, 2**20), ratio=st.floats(0.0, 1.0, exclude_min=True))
def test_all_are_kept_at_ratio_one_and_never_below(tokens, ratio):
    assert kept_count(tokens, 1.0) == tokens
    assert (kept_count(tokens, ratio) == tokens) == (ratio == 1.0)
    assert 0 <= kept_count(tokens, ratio) <= tokens * ratio


@given(case=cases())
def test_highest_scores_are_a_stable_sort_of_each_clip(case):
    _, scores, count, _ = case
    kept = highest_scores(scores, count)
    assert kept.shape == (scores.shape[0], count)
    for row, places in zip(scores.tolist(), kept.tolist(), strict=True):
        assert places == sorted(range(len(row)), key=lambda place: -row[place])[:count], "sorted() is stable"


def test_equal_scores_are_kept_in_order():
    scores = torch.full((2, 1000), 0.25)
    for _ in range(3):
        assert highest_scores(scores, 400).tolist() == [list(range(400))] * 2


@given(case=cases())
def test_every_token_comes_back_to_its_place(case):
    tokens, scores, count, _ = case
    kept = highest_scores(scores, count)
    assert torch.equal(unmerge(tokens, kept, keep(tokens, kept), torch.zeros(tokens.shape[0], 1, 3)), tokens)


@given(case=cases())
def test_kept_tokens_get_their_own_value_and_merged_ones_the_update(case):
    tokens, scores, count, generator = case
    kept = highest_scores(scores, count)
    made = torch.randn(tokens.shape[0], count, 3, generator=generator, dtype=torch.float64)
    update = torch.randn(tokens.shape[0], 1, 3, generator=generator, dtype=torch.float64)
    back = unmerge(tokens, kept, made, update)
    for clip, places in enumerate(kept.tolist()):
        for place in range(tokens.shape[1]):
            if place in places:
                assert torch.equal(back[clip, place], made[clip, places.index(place)])
            else:
                assert torch.equal(back[clip, place], tokens[clip, place] + update[clip, 0])


@given(case=cases())
def test_the_representative_is_the_mean_by_scores_of_those_not_kept(case):
    tokens, scores, count, _ = case
    kept = highest_scores(scores, count)
    weights = merge_weights(scores, kept)
    representative = merge(tokens, weights)
    assert representative.shape == (tokens.shape[0], 1, 3)
    for clip, places in enumerate(kept.tolist()):
        others = [place for place in range(tokens.shape[1]) if place not in places]
        shares = [float(scores[clip, place]) for place in others]
        if sum(shares) == 0:
            shares = [1.0] * len(others)
        wanted = sum(share * tokens[clip, place] for share, place in zip(shares, others, strict=True)) / sum(shares)
        torch.testing.assert_close(representative[clip, 0], wanted, rtol=1e-12, atol=1e-14)
        assert weights[clip, places].eq(0).all()
        assert math.isclose(weights[clip].sum(), 1.0, rel_tol=1e-12)


@given(case=cases())
def test_the_order_of_the_tokens_does_not_matter(case):
    tokens, _, count, generator = case
    scores = torch.rand(tokens.shape[:2], generator=generator, dtype=torch.float64)
    order = torch.randperm(tokens.shape[1], generator=generator)

    def halve(tokens, scores):
        kept = highest_scores(scores, count)
        representative = merge(tokens, merge_weights(scores, kept))
        return unmerge(tokens, kept, 2 * keep(tokens, kept), representative), keep(tokens, kept), representative

    back, kept_tokens, representative = halve(tokens, scores)
    back_again, kept_again, representative_again = halve(tokens[:, order], scores[:, order])
    assert torch.equal(kept_tokens, kept_again)
    torch.testing.assert_close(representative, representative_again, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(back[:, order], back_again, rtol=1e-12, atol=1e-14)


@given(case=cases(least=2))
def test_a_clip_does_not_see_its_neighbours(case):
    tokens, scores, count, generator = case
    fresh = torch.rand(scores.shape, generator=generator, dtype=torch.float64)
    kept = highest_scores(scores, count)
    weights = merge_weights(scores, kept)
    back = unmerge(tokens, kept, keep(tokens, kept) + 1, merge(tokens, weights))
    updated = update_scores(scores, fresh[:, :count], 0.3, kept)
    for clip in range(tokens.shape[0]):
        one = slice(clip, clip + 1)
        alone = highest_scores(scores[one], count)
        assert torch.equal(alone, kept[one])
        assert torch.equal(merge_weights(scores[one], alone), weights[one])
        again = unmerge(tokens[one], alone, keep(tokens[one], alone) + 1, merge(tokens[one], weights[one]))
        torch.testing.assert_close(again, back[one], rtol=1e-12, atol=1e-14)
        assert torch.equal(update_scores(scores[one], fresh[one, :count], 0.3, alone), updated[one])


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-310])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_that_vanish_share_alike_and_keep_gradients_finite(value, dtype):
    scores = torch.tensor([[0.5, 0.5, value, value, value, value]], dtype=dtype, requires_grad=True)
    weights = merge_weights(scores, torch.tensor([[0, 1]]))
    torch.testing.assert_close(weights, torch.tensor([[0.0, 0.0, 0.25, 0.25, 0.25, 0.25]], dtype=dtype))
    weights.square().sum().backward()
    assert scores.grad.isfinite().all()


def test_one_clip_whose_scores_vanish_leaves_the_others_theirs():
    weights = merge_weights(torch.tensor([[9.0, 0.0, 0.0], [9.0, 1.0, 3.0]]), torch.tensor([[0], [0]]))
    assert weights.tolist() == [[0.0, 0.5, 0.5], [0.0, 0.25, 0.75]]


def test_a_tiny_but_normal_sum_still_weighs():
    weights = merge_weights(torch.tensor([[1.0, 1e-30, 3e-30]]), torch.tensor([[0]]))
    torch.testing.assert_close(weights, torch.tensor([[0.0, 0.25, 0.75]]))


def test_none_kept_merges_everything():
    tokens, scores = torch.tensor([[[1.0], [2.0], [5.0]]]), torch.tensor([[1.0, 1.0, 2.0]])
    kept = highest_scores(scores, 0)
    assert kept.shape == (1, 0)
    assert keep(tokens, kept).shape == (1, 0, 1)
    representative = merge(tokens, merge_weights(scores, kept))
    assert representative.item() == 3.25
    assert unmerge(tokens, kept, keep(tokens, kept), representative).flatten().tolist() == [4.25, 5.25, 8.25]


def test_all_kept_leaves_nothing_to_merge():
    with pytest.raises(AssertionError, match="all 3 tokens are kept"):
        merge_weights(torch.rand(1, 3), torch.tensor([[0, 1, 2]]))


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    scores = (0.1 + torch.rand(2, 6, generator=generator, dtype=torch.float64)).requires_grad_()

    def halve(tokens, scores):
        kept = highest_scores(scores, 3)
        representative = merge(tokens, merge_weights(scores, kept))
        back = unmerge(tokens, kept, keep(tokens, kept).square(), representative.sin())
        return back, update_scores(scores, back.mean(-1)[:, :3].square(), 0.25, kept)

    assert torch.autograd.gradcheck(halve, (tokens, scores))
    assert torch.autograd.gradcheck(lambda s: pool_scores(s, (1, 2, 3)), (scores,))


def test_update_of_scores():
    first = torch.tensor([[0.2, 0.4, 0.8]])
    assert update_scores(None, first, 0.25) is first, "the first scores are taken as they are, whatever the trade-off"
    torch.testing.assert_close(
        update_scores(first, torch.tensor([[1.0, 0.0, 0.4]]), 0.25), torch.tensor([[0.4, 0.3, 0.7]])
    )
    kept = torch.tensor([[2, 0]])
    torch.testing.assert_close(
        update_scores(first, torch.tensor([[0.4, 1.0]]), 0.25, kept), torch.tensor([[0.4, 0.4, 0.7]])
    )
    assert first.tolist() == torch.tensor([[0.2, 0.4, 0.8]]).tolist(), "nothing is changed in place"
    assert torch.equal(update_scores(first, torch.tensor([[9.0, 9.0]]), 0.0, kept), first)
    torch.testing.assert_close(update_scores(first, torch.ones(1, 3), 1.0), torch.ones(1, 3))
    with pytest.raises(AssertionError, match="before there are scores"):
        update_scores(None, first, 0.5, kept)


def test_pooled_scores_are_window_means_that_keep_their_sum():
    scores = torch.arange(16.0).view(1, 16)
    # One frame of 2x4 pixels, then another: windows 0 1 4 5, 2 3 6 7, and the same plus 8.
    means = torch.tensor([[2.5, 4.5, 10.5, 12.5]])
    torch.testing.assert_close(pool_scores(scores, (2, 2, 4)), means * 120 / 30)


@given(
    grid=st.tuples(st.integers(1, 3), st.integers(2, 7), st.integers(2, 7)),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_pooled_scores_keep_each_clips_sum_on_any_grid(grid, batch, seed):
    time, height, width = grid
    scores = torch.rand(batch, math.prod(grid), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    pooled = pool_scores(scores, grid)
    assert pooled.shape == (batch, time * (height // 2) * (width // 2))
    torch.testing.assert_close(pooled.sum(1), scores.sum(1))
    volume = scores.view(batch, *grid)
    window = volume[:, -1, height // 2 * 2 - 2 : height // 2 * 2, width // 2 * 2 - 2 : width // 2 * 2]
    torch.testing.assert_close(pooled[:, -1] / pooled[:, 0], window.sum((1, 2)) / volume[:, 0, :2, :2].sum((1, 2)))


@pytest.mark.parametrize("scores", [torch.zeros(1, 9), torch.tensor([[0.0] * 8 + [1.0]])])
def test_pooled_scores_of_nothing_are_zeros(scores):
    scores.requires_grad_()
    pooled = pool_scores(scores, (1, 3, 3))
    assert pooled.tolist() == [[0.0]]
    pooled.sum().backward()
    assert scores.grad.isfinite().all()


def test_class_token_weights_are_the_first_row_of_the_softmax():
    query, key = torch.randn(2, 2, 3, 7, 4, dtype=torch.float64).unbind(0)
    got = class_token_weights(query, key, scale=0.7)
    wanted = (query @ key.transpose(2, 3) * 0.7).softmax(-1)[:, :, 0].mean(1)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(got.sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_class_token_weights_are_single_precision_whatever_comes_in(dtype):
    query, key = torch.randn(2, 1, 2, 50, 8).to(dtype).unbind(0)
    wanted = class_token_weights(query.double(), key.double(), scale=0.35).float()
    assert torch.equal(class_token_weights(query, key, scale=0.35).bfloat16(), wanted.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        got = class_token_weights(query, key, scale=0.35)
        from_single = class_token_weights(query.float(), key.float(), scale=0.35)
    assert got.dtype == from_single.dtype == torch.float32
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=0)
    torch.testing.assert_close(from_single, wanted, rtol=1e-5, atol=0)


def test_products_beyond_half_precision_do_not_overflow():
    query = torch.full((1, 1, 2, 4), 300.0, dtype=torch.float16)
    assert class_token_weights(query, query, scale=0.5).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_under_autocast_weighs_in_single_precision_and_keeps_the_dtype_of_the_tokens(dtype):
    tokens, scores = torch.randn(2, 40, 8).to(dtype), torch.rand(2, 40)
    kept = highest_scores(scores, 20)
    with torch.autocast("cpu", torch.bfloat16):
        weights = merge_weights(scores, kept)
        representative = merge(tokens, weights)
        back = unmerge(tokens, kept, keep(tokens, kept).float(), representative.float())
    assert weights.dtype == torch.float32
    assert representative.dtype == back.dtype == dtype
    wanted = (weights.double().unsqueeze(1) @ tokens.double()).to(dtype)
    torch.testing.assert_close(representative, wanted)


def test_tokens_need_not_be_contiguous():
    tokens, scores = torch.randn(2, 3, 9).transpose(1, 2), torch.rand(2, 9)
    kept = highest_scores(scores, 4)
    dense = tokens.contiguous()
    update = merge(dense, merge_weights(scores, kept))
    torch.testing.assert_close(merge(tokens, merge_weights(scores, kept)), update)
    assert torch.equal(keep(tokens, kept), keep(dense, kept))
    assert torch.equal(
        unmerge(tokens, kept, keep(tokens, kept), update), unmerge(dense, kept, keep(dense, kept), update)
    )
