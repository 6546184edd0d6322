"""View ensembles against direct sums, in any order and split over processes."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uniformer_video.metrics.ensemble import ViewEnsemble
from uniformer_video.runtime.errors import ConfigError

N, V, K = 5, 4, 7


def logits(seed=0, scale=10.0):
    return scale * torch.randn(N, V, K, generator=torch.Generator().manual_seed(seed))


def add_pairs(ensemble, scores, pairs, chunk):
    for start in range(0, len(pairs), chunk):
        part = pairs[start : start + chunk]
        records = torch.tensor([record for record, _ in part])
        views = torch.tensor([view for _, view in part])
        ensemble.add(records, views, scores[records, views])


ALL = [(record, view) for record in range(N) for view in range(V)]


@pytest.mark.parametrize(("score", "prepare"), [("logits", lambda x: x), ("softmax", lambda x: x.softmax(-1))])
@pytest.mark.parametrize(("method", "reduce"), [("sum", lambda x: x.sum(1)), ("max", lambda x: x.amax(1))])
def test_against_a_direct_reduction(method, reduce, score, prepare):
    ensemble = ViewEnsemble(N, V, K, method=method, score=score)
    add_pairs(ensemble, logits(), ALL, chunk=3)
    result = ensemble.scores()
    assert (result.dtype, result.shape) == (torch.float32, (N, K))
    torch.testing.assert_close(result, reduce(prepare(logits().double())).float(), rtol=1e-6, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(ALL),
    chunk=st.integers(1, len(ALL)),
    method=st.sampled_from(["sum", "max"]),
    score=st.sampled_from(["logits", "softmax"]),
    cut=st.integers(0, len(ALL)),
)
def test_order_batches_and_processes_do_not_change_a_bit(order, chunk, method, score, cut):
    # values of very different size, where float sums depend on the order
    scores = logits(seed=1) * torch.logspace(-6, 3, K)
    plain = ViewEnsemble(N, V, K, method=method, score=score)
    add_pairs(plain, scores, ALL, chunk=len(ALL))

    first, second = (ViewEnsemble(N, V, K, method=method, score=score) for _ in range(2))
    add_pairs(first, scores, order[:cut], chunk)
    add_pairs(second, scores, order[cut:], chunk)
    first.merge(second)

    assert first.complete().all()
    assert torch.equal(first.scores(), plain.scores())


def test_sums_are_exact_where_float32_sums_are_not():
    scores = torch.tensor([1e4, 1e-4, -1e4, 1e-4]).reshape(1, 4, 1)
    naive = ((scores[0, 0] + scores[0, 1]) + scores[0, 2]) + scores[0, 3]
    ensemble = ViewEnsemble(1, 4, 1)
    ensemble.add(torch.zeros(4, dtype=torch.int64), torch.arange(4), scores[0])
    assert ensemble.scores().item() == pytest.approx(2e-4, rel=1e-4)
    assert naive.item() != pytest.approx(2e-4, rel=1e-4)


def test_missing_and_complete():
    ensemble = ViewEnsemble(3, 3, 2)
    assert ensemble.missing() == {0: [0, 1, 2], 1: [0, 1, 2], 2: [0, 1, 2]}
    assert ensemble.complete().tolist() == [False, False, False]
    ensemble.add(torch.tensor([1, 1, 1, 2]), torch.tensor([2, 0, 1, 1]), torch.ones(4, 2))
    assert ensemble.missing() == {0: [0, 1, 2], 2: [0, 2]}
    assert ensemble.complete().tolist() == [False, True, False]
    assert ensemble.complete().dtype == torch.bool


@pytest.mark.parametrize("method", ["sum", "max"])
def test_a_record_without_views_is_nan_and_a_partial_one_what_it_has(method):
    ensemble = ViewEnsemble(2, 3, 2, method=method)
    ensemble.add(torch.tensor([1]), torch.tensor([2]), torch.tensor([[-3.0, 4.0]]))
    assert ensemble.scores()[0].isnan().all()
    assert ensemble.scores()[1].tolist() == [-3.0, 4.0]


def test_maximum_of_negative_scores_is_negative():
    ensemble = ViewEnsemble(1, 2, 2, method="max")
    ensemble.add(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([[-3.0, -9.0], [-4.0, -8.0]]))
    assert ensemble.scores().tolist() == [[-3.0, -8.0]]


@pytest.mark.parametrize("method", ["sum", "max"])
def test_a_nan_view_makes_the_class_nan(method):
    for order in ([0, 1], [1, 0]):
        ensemble = ViewEnsemble(1, 2, 2, method=method)
        scores = torch.tensor([[math.nan, 1.0], [5.0, 2.0]])
        for view in order:
            ensemble.add(torch.tensor([0]), torch.tensor([view]), scores[view : view + 1])
        result = ensemble.scores()[0]
        assert math.isnan(result[0])
        assert result[1] == (3.0 if method == "sum" else 2.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_scores_of_another_precision_and_with_a_graph(dtype):
    ensemble = ViewEnsemble(1, 1, 2)
    ensemble.add(torch.tensor([0]), torch.tensor([0]), torch.tensor([[1.5, -2.0]], dtype=dtype, requires_grad=True))
    assert ensemble.scores().tolist() == [[1.5, -2.0]]
    assert not ensemble.scores().requires_grad


def test_adding_nothing():
    for method in ("sum", "max"):
        ensemble = ViewEnsemble(2, 2, 3, method=method)
        none = torch.zeros(0, dtype=torch.int64)
        ensemble.add(none, none, torch.zeros(0, 3))
        assert ensemble.missing() == {0: [0, 1], 1: [0, 1]}
    empty = ViewEnsemble(0, 2, 3)
    assert empty.scores().shape == (0, 3)
    assert empty.missing() == {}


def state(ensemble):
    return ensemble.scores().nan_to_num().tolist(), ensemble.missing()


@pytest.mark.parametrize(
    ("records", "views", "classes", "message"),
    [
        ([0], [0], 3, "was added before"),
        ([1, 1], [1, 1], 3, "twice in one call"),
        ([2], [0], 3, "a record number is out of range"),
        ([-1], [0], 3, "a record number is out of range"),
        ([0], [2], 3, "a view number is out of range"),
        ([0], [-1], 3, "a view number is out of range"),
        ([1], [1], 4, r"\(1, 4\) is not \(1, 3\)"),
        ([1, 1], [1], 3, "2"),
    ],
)
def test_defects_fail_an_assertion_and_change_nothing(records, views, classes, message):
    ensemble = ViewEnsemble(2, 2, 3)
    ensemble.add(torch.tensor([0]), torch.tensor([0]), torch.ones(1, 3))
    before = state(ensemble)
    with pytest.raises(AssertionError, match=message):
        ensemble.add(torch.tensor(records), torch.tensor(views), torch.ones(len(records), classes))
    assert state(ensemble) == before


def test_merging_the_same_pair_twice_is_a_defect():
    first, second = ViewEnsemble(2, 2, 3), ViewEnsemble(2, 2, 3)
    for ensemble in (first, second):
        ensemble.add(torch.tensor([0]), torch.tensor([1]), torch.ones(1, 3))
    before = state(first)
    with pytest.raises(AssertionError, match="is in both ensembles"):
        first.merge(second)
    assert state(first) == before


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (ViewEnsemble(3, 2, 3), "num_records"),
        (ViewEnsemble(2, 3, 3), "num_views"),
        (ViewEnsemble(2, 2, 4), "num_classes"),
        (ViewEnsemble(2, 2, 3, method="max"), "method"),
        (ViewEnsemble(2, 2, 3, score="softmax"), "score"),
    ],
)
def test_merging_something_else_is_a_defect(other, name):
    with pytest.raises(AssertionError, match=f"differ in {name}"):
        ViewEnsemble(2, 2, 3).merge(other)


def test_an_ensemble_can_be_sent_to_another_process():
    ensemble = ViewEnsemble(N, V, K)
    add_pairs(ensemble, logits(), ALL[:7], chunk=7)
    copy = pickle.loads(pickle.dumps(ensemble))
    assert state(copy) == state(ensemble)
    add_pairs(copy, logits(), ALL[7:], chunk=5)
    assert copy.complete().all()
    assert not ensemble.complete().all()


def test_unknown_settings_list_the_known_ones():
    with pytest.raises(ConfigError) as raised:
        ViewEnsemble(1, 1, 1, method="mean")
    assert str(raised.value) == "TEST.ENSEMBLE_METHOD 'mean' is unknown; known: sum, max"
    with pytest.raises(ConfigError) as raised:
        ViewEnsemble(1, 1, 1, score="probability")
    assert str(raised.value) == "TEST.ENSEMBLE_SCORE 'probability' is unknown; known: logits, softmax"
