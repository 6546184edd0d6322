"""Losses against definitions worked out by hand and in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from uniformer_video.runtime.errors import ConfigError
from uniformer_video.solver.losses import LOSSES, cross_entropy, get_loss, mean_over_heads, soft_cross_entropy


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
    assert set(LOSSES) == {"cross_entropy", "soft_cross_entropy"}


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError) as raised:
        get_loss("hinge")
    assert str(raised.value) == "MODEL.LOSS_FUNC 'hinge' is unknown; known: cross_entropy, soft_cross_entropy"
