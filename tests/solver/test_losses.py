"""Losses against definitions worked out by hand and in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from uniformer_video.runtime.errors import ConfigError
from uniformer_video.solver.losses import (
    LOSSES,
    SOFT_TARGETS,
    bce_logit,
    cross_entropy,
    get_loss,
    mean_over_heads,
    soft_cross_entropy,
)


def reference(logits: np.ndarray, targets: np.ndarray) -> float:
    logits = logits.astype(np.float64)
    log_partition = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    return float((targets * (log_partition[:, None] - logits)).sum(1).mean())


def test_uniform_logits_cost_log_k():
    logits = torch.zeros(3, 8)
    assert cross_entropy(logits, torch.tensor([0, 3, 7])).item() == pytest.approx(math.log(8), rel=1e-6)
    assert soft_cross_entropy(logits, torch.full((3, 8), 1 / 8)).item() == pytest.approx(math.log(8), rel=1e-6)


def test_a_case_worked_by_hand():
    # softmax([0, log 3]) = [1/4, 3/4]
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert cross_entropy(logits, torch.tensor([1])).item() == pytest.approx(math.log(4 / 3), rel=1e-6)
    expected = 0.5 * math.log(4) + 0.5 * math.log(4 / 3)
    assert soft_cross_entropy(logits, torch.tensor([[0.5, 0.5]])).item() == pytest.approx(expected, rel=1e-6)


def test_against_numpy():
    rng = np.random.default_rng(0)
    logits = (5 * rng.standard_normal((6, 10))).astype(np.float32)
    targets = rng.dirichlet(np.ones(10), size=6).astype(np.float32)
    labels = rng.integers(0, 10, 6)
    soft = soft_cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
    hard = cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert soft.item() == pytest.approx(reference(logits, targets), rel=1e-5)
    assert hard.item() == pytest.approx(reference(logits, np.eye(10)[labels]), rel=1e-5)


def test_one_hot_targets_make_the_two_losses_equal():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 6, 2, 2, 5])
    one_hot = torch.eye(7)[labels]
    assert soft_cross_entropy(logits, one_hot).item() == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-6)


def test_the_gradient_is_probability_minus_target_over_the_batch():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    targets = torch.rand(4, 5, generator=torch.Generator().manual_seed(3))
    targets /= targets.sum(1, keepdim=True)
    soft_cross_entropy(logits, targets).backward()
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(1) - targets) / 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_reduced_in_float32(dtype):
    logits = torch.tensor([[9.0, -300.0, 0.5]]).to(dtype)
    for loss in (cross_entropy(logits, torch.tensor([1])), soft_cross_entropy(logits, torch.tensor([[0.0, 1.0, 0.0]]))):
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(300 + 9 + math.log1p(math.exp(-8.5)), rel=1e-6)


def test_targets_of_another_shape():
    with pytest.raises(ValueError) as raised:
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    assert str(raised.value) == (
        "soft_cross_entropy needs targets of the logits' shape (2, 3), got (2,); "
        "turn labels (B,) into targets with one_hot_smooth, or use cross_entropy"
    )


def test_two_heads_count_the_same():
    first = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], requires_grad=True)
    second = torch.tensor([[0.0, 3.0, 0.0], [1.0, 1.0, 5.0]], requires_grad=True)
    labels = torch.tensor([0, 2])
    loss = mean_over_heads(cross_entropy, (first, second), labels)
    each = [torch.nn.functional.cross_entropy(head, labels) for head in (first, second)]
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx((each[0] + each[1]).item() / 2, rel=1e-6)
    loss.backward()
    for head in (first, second):
        one_hot = torch.nn.functional.one_hot(labels, 3)
        torch.testing.assert_close(head.grad, (head.detach().softmax(1) - one_hot) / 2 / 2)


def test_one_head_is_the_loss_itself():
    logits, labels = torch.tensor([[0.3, -2.0], [1.0, 0.7]]), torch.tensor([1, 0])
    assert torch.equal(mean_over_heads(cross_entropy, logits, labels), cross_entropy(logits, labels))


def test_losses_by_name():
    assert get_loss("cross_entropy") is cross_entropy
    assert get_loss("soft_cross_entropy") is soft_cross_entropy
    assert get_loss("bce_logit") is bce_logit
    assert set(LOSSES) == {"cross_entropy", "soft_cross_entropy", "bce_logit"}
    assert set(LOSSES) > SOFT_TARGETS == {"soft_cross_entropy", "bce_logit"}


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError) as raised:
        get_loss("hinge")
    known = "bce_logit, cross_entropy, soft_cross_entropy"
    assert str(raised.value) == f"MODEL.LOSS_FUNC 'hinge' is unknown; known: {known}"


# ------------------------------------------------------------------------------------------------- several labels


def plain_bce(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> float:
    total, (rows, columns) = 0.0, logits.shape
    for row in range(rows):
        for column in range(columns):
            probability = 1 / (1 + math.exp(-float(logits[row, column])))
            target, weight = float(targets[row, column]), 1.0 if weights is None else float(weights[column])
            total -= weight * target * math.log(probability) + (1 - target) * math.log(1 - probability)
    return total / (rows * columns)


def test_sigmoids_that_know_nothing_cost_log_2():
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert bce_logit(torch.zeros(2, 3), targets).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoids_against_a_plain_loop(weighted):
    rng = np.random.default_rng(3)
    logits, targets = 3 * rng.standard_normal((5, 4)), rng.random((5, 4))
    weights = np.array([0.5, 1.0, 3.0, 0.0]) if weighted else None
    given = None if weights is None else torch.from_numpy(weights).float()
    loss = bce_logit(torch.from_numpy(logits).float(), torch.from_numpy(targets).float(), given)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain_bce(logits, targets, weights), rel=1e-5)


def test_the_gradient_of_sigmoids_is_probability_minus_target():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    targets = (torch.rand(3, 5, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    bce_logit(logits, targets).backward()
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - targets) / 15)


def test_sure_sigmoids_stay_finite_in_half_precision():
    loss = bce_logit(torch.tensor([[300.0, -300.0]]).half(), torch.tensor([[0.0, 1.0]]))
    assert (loss.dtype, loss.item()) == (torch.float32, 300.0)


def test_sigmoids_want_targets_of_the_logits_shape():
    with pytest.raises(ValueError, match=r"^bce_logit needs targets of the logits' shape \(2, 3\), got \(2,\); "):
        bce_logit(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))


# -------------------------------------------------------------------------------------------------- class weights

WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0])


def test_weights_multiply_the_loss_of_their_class():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(4))
    labels = torch.tensor([0, 1, 2, 3, 1, 1])
    each = [cross_entropy(logits[n : n + 1], labels[n : n + 1]).item() for n in range(6)]
    expected = sum(w * loss for w, loss in zip(WEIGHTS[labels].tolist(), each, strict=True)) / 6
    assert cross_entropy(logits, labels, WEIGHTS).item() == pytest.approx(expected, rel=1e-6)
    # Against one-hot targets the same.
    assert soft_cross_entropy(logits, torch.eye(4)[labels], WEIGHTS).item() == pytest.approx(expected, rel=1e-6)


def test_weights_do_not_cancel_in_a_batch_of_one_class():
    logits, labels = torch.zeros(3, 4), torch.tensor([1, 1, 1])
    assert cross_entropy(logits, labels, WEIGHTS).item() == pytest.approx(2 * math.log(4), rel=1e-6)


def test_weights_on_mixed_targets_are_those_of_torch():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(5))
    targets = torch.rand(5, 4, generator=torch.Generator().manual_seed(6))
    targets /= targets.sum(1, keepdim=True)
    expected = torch.nn.functional.cross_entropy(logits, targets, weight=WEIGHTS)
    torch.testing.assert_close(soft_cross_entropy(logits, targets, WEIGHTS), expected)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_with_its_weights(name):
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(7))
    targets = torch.eye(4)[:3] if name in SOFT_TARGETS else torch.arange(3)
    ones = get_loss(name, torch.ones(4))
    assert torch.allclose(ones(logits, targets), LOSSES[name](logits, targets))
    assert torch.equal(get_loss(name, WEIGHTS)(logits, targets), LOSSES[name](logits, targets, WEIGHTS))
    two = mean_over_heads(get_loss(name, WEIGHTS), (logits, logits + 1), targets)
    each = [LOSSES[name](head, targets, WEIGHTS) for head in (logits, logits + 1)]
    assert two.item() == pytest.approx(sum(loss.item() for loss in each) / 2, rel=1e-6)
