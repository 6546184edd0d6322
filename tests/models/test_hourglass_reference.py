"""The hourglass network against an independent plain one, in eval and in train mode, in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.fill import clip
from tests.models.plain_hourglass import plain_hourglass
from tests.models.published import relative
from tests.models.test_hourglass import TINY, tiny

OPTIONS = {
    "tiny": {},
    "published ratios": {"prune_ratio": None, "trade_off": None},
    "no layer scale": {"layer_scale": False},
    "nothing merged": {"prune_ratio": ([], [], [1, 1, 1], [1, 1])},
    "nothing kept": {"prune_ratio": ([], [], [1, 0.01, 0.4], [0.01, 1])},
    "old scores only": {"trade_off": ([], [], [0, 0, 0], [0, 0])},
    "fresh scores only": {"trade_off": ([], [], [1, 1, 1], [1, 1])},
    "std": {"std": True, "mlp_ratio": 2.5, "head_dim": 4},
    "no stage 3": {"depths": (0, 1, 0, 2), "prune_ratio": None, "trade_off": None},
    "image": {"image": True},
}
SHAPES = {"even": (2, 3, 3, 48, 64), "odd": (3, 3, 2, 61, 35)}


def reference_arguments(options):
    merged = {**TINY, **options}
    published = iter([1] + [0.5] * 10)
    lists = [
        [next(published) for _ in range(depth if stage > 1 else 0)] for stage, depth in enumerate(merged["depths"])
    ]
    return {
        "depths": merged["depths"],
        "head_dim": merged["head_dim"],
        "prune_ratio": merged["prune_ratio"] or lists,
        "trade_off": merged["trade_off"] or lists,
        "image": merged.get("image", False),
    }


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_eval_equals_plain(options, shape):
    model = tiny(**options).double().eval()
    clips = clip(shape).double()
    with torch.no_grad():
        logits, _, maps = plain_hourglass(clips, model.state_dict(), **reference_arguments(options))
        assert relative(model(clips), logits) < 1e-9
        for ours, wanted in zip(model.forward_features(clips), maps, strict=True):
            assert relative(ours, wanted) < 1e-9


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_train_equals_plain_with_gradients_and_statistics(options):
    model = tiny(**options).double().train()
    params = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, _ in model.named_parameters():
        params[name].requires_grad_()
    clips, labels = clip(SHAPES["even"]).double(), torch.arange(2)

    def loss_of(logits, class_logits):
        return (F.cross_entropy(logits, labels) + F.cross_entropy(class_logits, labels)) / 2

    scored = model(clips)
    loss_of(*scored).backward()
    wanted = plain_hourglass(clips, params, training=True, **reference_arguments(options))[:2]
    loss_of(*wanted).backward()

    assert isinstance(scored, tuple)
    assert [relative(ours, theirs) < 1e-9 for ours, theirs in zip(scored, wanted, strict=True)] == [True, True]
    largest = max(float(params[name].grad.abs().max()) for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        assert float((parameter.grad - params[name].grad).abs().max()) < 1e-9 * largest, name
    for name, buffer in model.named_buffers():
        assert buffer == 1 if name.endswith("num_batches_tracked") else relative(buffer, params[name]) < 1e-9, name
