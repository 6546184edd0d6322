"""The hourglass networks: published names and values, an independent reference, one network in many threads."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.fill import clip, fill
from tests.models.published import KERNEL, filled_state, golden, relative, state_keys
from uniformer_video.models.hourglass import Hourglass, hourglass_xs, hourglass_xxs
from uniformer_video.models.hourglass_block import HourglassBlock
from uniformer_video.models.layers import DropPath

PUBLISHED = {
    "video_xxs": (9_833_896, lambda: hourglass_xxs(**KERNEL)),
    "video_xs": (16_099_552, lambda: hourglass_xs(**KERNEL)),
    "video_xxs_layer_scale": (9_840_616, lambda: hourglass_xxs(layer_scale=True, **KERNEL)),
    "image_xxs_128": (10_215_280, lambda: hourglass_xxs(num_classes=1000, image=True, **KERNEL)),
    "image_xs_192": (16_509_264, lambda: hourglass_xs(num_classes=1000, image=True, **KERNEL)),
}
TINY = {
    "num_classes": 5,
    "depths": (1, 2, 3, 2),
    "widths": (8, 16, 24, 32),
    "head_dim": 8,
    "layer_scale": True,
    "prune_ratio": ([], [], [1, 0.6, 0.3], [0.5, 0.75]),
    "trade_off": ([], [], [1, 0.5, 0.2], [0.9, 0.4]),
}


def tiny(**kwargs):
    model = Hourglass(**{**TINY, **kwargs})
    model.load_state_dict(fill(model.state_dict()))
    return model


def without_time(name, shape):
    return [n for axis, n in enumerate(shape) if not (name.startswith("image") and len(shape) == 5 and axis == 2)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_order_and_shapes_are_the_published_ones(name):
    parameters, make = PUBLISHED[name]
    with torch.device("meta"):
        model = make()
    wanted = state_keys()[name]
    assert list(model.state_dict()) == list(wanted["state"]), "optimizer states are matched by order"
    for key, tensor in model.state_dict().items():
        shape = wanted["state"][key]
        assert without_time(name, tensor.shape) == shape, key
        assert tensor.numel() == torch.Size(shape).numel()
    assert sum(p.numel() for p in model.parameters()) == wanted["params"] == parameters


def test_filled_xxs_gives_the_published_logits():
    model = hourglass_xxs(layer_scale=True, **KERNEL).eval()
    model.load_state_dict(filled_state("video_xxs_layer_scale"))
    with torch.inference_mode():
        logits = model(clip((2, 3, 4, 128, 128)))
    assert relative(logits, golden("video_xxs_layer_scale_4x128")) < 1e-5


def test_published_ratios_and_trade_offs():
    with torch.device("meta"):
        model = hourglass_xs()
    blocks = [*model.blocks3, *model.blocks4]
    assert [block.prune_ratio for block in blocks] == [block.trade_off for block in blocks] == [1.0] + [0.5] * 11
    assert [block.scores_needed for block in blocks] == [True] * 11 + [False]


def test_scores_are_computed_as_far_as_a_block_needs_them():
    model = tiny(prune_ratio=([], [], [1, 0.5, 1], [1, 1]))
    needed = [block.scores_needed for block in (*model.blocks3, *model.blocks4)]
    assert needed == [True, False, False, False, False]
    own = tiny()
    assert [(b.prune_ratio, b.trade_off) for b in own.blocks3] == [(1.0, 1.0), (0.6, 0.5), (0.3, 0.2)]
    assert [(b.prune_ratio, b.trade_off) for b in own.blocks4] == [(0.5, 0.9), (0.75, 0.4)]


@pytest.mark.parametrize("name", ["prune_ratio", "trade_off"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[], [], [1, 0.5, 0.5]], r"must be four lists, one for each stage, got \[\[\], \[\], \[1, 0.5, 0.5\]\]"),
        ([], r"must be four lists, one for each stage, got \[\]"),
        ([[], [], [1, 0.5], [0.5, 0.5]], r"of stage 3 must be 3 numbers, one for each of its blocks, got \[1, 0.5\]"),
        ([[], [], [1, 0.5, 0.5], [0.5]], r"of stage 4 must be 2 numbers, one for each of its blocks, got \[0.5\]"),
        ([[1], [], [1, 0.5, 0.5], [0.5, 1]], r"of stage 1 must be empty, as its blocks are local, got \[1\]"),
        ([[], [1, 1], [1, 0.5, 0.5], [0.5, 1]], r"of stage 2 must be empty, as its blocks are local, got \[1, 1\]"),
        ([[], [], [1, 0.5, 1.5], [0.5, 1]], r"of stage 3 must be numbers in .0, 1\], got \[1, 0.5, 1.5\]"),
        ([[], [], [1, 0.5, 0.5], [-0.5, 1]], r"of stage 4 must be numbers in .0, 1\], got \[-0.5, 1\]"),
        ([[], [], [1, 0.5, float("nan")], [1, 1]], r"of stage 3 must be numbers in .0, 1\], got \[1, 0.5, nan\]"),
    ],
)
def test_lists_that_fit_no_blocks(name, values, message):
    with pytest.raises(ValueError, match=f"^{name} {message}$"):
        Hourglass(**{**TINY, name: values})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune_ratio": [[], [], [1, 0, 1], [1, 1]]}, r"prune_ratio of stage 3 must be numbers in \(0, 1\], got"),
        ({"prune_ratio": [[], [], [0.5, 1, 1], [1, 1]]}, "stage 3 must begin with 1, as its first block has no scores"),
        ({"depths": (1, 1, 0, 2), "prune_ratio": [[], [], [], [0.5, 1]], "trade_off": None}, "stage 4 must begin with"),
        ({"depths": (1, 2, 3)}, "depths must be four integers >= 0"),
        ({"widths": (1, 16, 24, 32)}, "widths must begin with at least 2"),
        ({"head_dim": 16}, r"widths of stages 3 and 4 must be multiples of head_dim 16, got \[24, 32\]"),
        ({"local_kernel": (3, 4, 5)}, "local_kernel must be three odd extents"),
        ({"checkpoint_blocks": (1,)}, "checkpoint_blocks must be four integers >= 0"),
        ({"num_classes": 0}, "num_classes must be >= 1, got 0"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\), got 1.0"),
        ({"head_dropout": -1}, r"head_dropout must be in \[0, 1\), got -1"),
        ({"mlp_ratio": (3, 3)}, "mlp_ratio must be one value or four"),
        ({"mlp_ratio": 0.01}, "mlp_ratio must leave each MLP a hidden channel"),
        ({"layer_scale": [True]}, "layer_scale must be one value or four"),
        ({"image": True, "std": True}, "image is True, which leaves no time for std: set std False$"),
    ],
)
def test_arguments_that_make_no_network(options, message):
    with pytest.raises(ValueError, match=message):
        Hourglass(**{**TINY, **options})


def test_a_trade_off_of_zero_is_allowed():
    assert tiny(trade_off=([], [], [0, 0, 0], [0, 0])).blocks3[1].trade_off == 0.0


@pytest.mark.parametrize(
    "shape", [(1, 1, 32, 32), (2, 2, 33, 47), (1, 5, 32, 65), (2, 8, 63, 32), (1, 3, 49, 51), (1, 16, 40, 36)]
)
def test_any_time_and_size(shape):
    model = tiny().eval()
    batch, frames, height, width = shape
    clips = clip((batch, 3, frames, height, width))
    logits, maps = model(clips), model.forward_features(clips)
    assert logits.shape == (batch, 5)
    assert logits.isfinite().all()
    size = (-(-height // 4), -(-width // 4))
    for features, channels in zip(maps, TINY["widths"], strict=True):
        assert features.shape == (batch, channels, (frames + 1) // 2, *size)
        assert features.is_contiguous(memory_format=torch.channels_last_3d)
        size = (size[0] // 2, size[1] // 2)
    torch.testing.assert_close(model.head(maps[-1].mean((2, 3, 4))), logits)


@pytest.mark.parametrize("training", [False, True])
def test_pooled_features_are_what_the_head_takes(training):
    model = tiny().train(training)
    clips = clip((2, 3, 4, 64, 64))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pooled, logits = model.forward_pooled(clips)
    model.load_state_dict(state)  # training moves the statistics of batch norm
    again = model(clips)
    assert isinstance(logits, tuple) == isinstance(again, tuple) == training
    assert all(map(torch.equal, logits, again))
    assert pooled.shape == (2, TINY["widths"][-1])
    torch.testing.assert_close(model.head(pooled), logits[0] if training else logits)


def test_an_image_network_takes_images_and_clips_of_one_frame():
    model = tiny(image=True).eval()
    images = clip((2, 3, 64, 48))
    assert torch.equal(model(images), model(images.unsqueeze(2)))
    assert [features.shape[2] for features in model.forward_features(clip((1, 3, 3, 32, 32)))] == [3] * 4
    with pytest.raises(ValueError, match=r"clips must be \(B, 3, T, H, W\), got shape \(2, 3, 64, 48\)"):
        tiny()(images)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_clip_does_not_see_its_neighbours(scale):
    model = tiny().double().eval()
    clips = clip((3, 3, 4, 64, 64)).double()
    other = torch.stack((scale * clips[2], clips[1], -scale * clips[0]))
    assert relative(model(clips)[1], model(other)[1]) < 1e-12
    assert relative(model(clips)[1:2], model(clips[1:2])) < 1e-12


def test_start_weights():
    model = hourglass_xxs()
    assert model.cls_token.shape == (1, 1, 224)
    assert model.cls_token.count_nonzero() == 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert module.bias.count_nonzero() == 0, name
            assert abs(module.weight.std() - 0.02) < 0.001, name
    assert model.norm_cls.eps == 1e-5
    assert {m.eps for n, m in model.named_modules() if "norm" in n and "blocks3" in n} == {1e-6}
    assert {p.item() for p in Hourglass(**TINY).blocks3[0].gamma_1} == {1.0}
    assert {p.item() for p in Hourglass(**TINY, layer_scale_init=0.5).blocks1[0].gamma_2.flatten()} == {0.5}


def test_drop_path_rises_linearly_over_all_blocks():
    rates = [m.rate for m in hourglass_xxs(drop_path_rate=0.32).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.02 * i for i in range(17)])


def test_other_options_reach_the_blocks():
    model = tiny(
        qk_scale=0.5, qkv_bias=False, attention_dropout=0.1, dropout=0.2, head_dropout=0.3, mlp_ratio=[1, 2, 3, 4]
    )
    attention = model.blocks3[1].attn
    assert (attention.scale, attention.qkv.bias, attention.attention_dropout) == (0.5, None, 0.1)
    assert attention.dropout.p == model.blocks1[0].mlp.dropout.p == model.stem_dropout.p == 0.2
    assert model.head_dropout.p == 0.3
    assert [getattr(model, f"blocks{s}")[0].mlp.fc1.weight.shape[0] for s in (1, 2, 3, 4)] == [8, 32, 72, 128]
    assert not any(".gamma" in name for name in tiny(layer_scale=[False] * 4).state_dict())
    assert all(type(b) is HourglassBlock for b in (*model.blocks3, *model.blocks4))


def test_head_dropout_acts_on_both_heads_in_training_only():
    model, clips = tiny(head_dropout=0.5), clip((2, 3, 2, 32, 32))
    assert not any(torch.equal(first, second) for first, second in zip(model(clips), model(clips), strict=True))
    model.eval()
    assert torch.equal(model(clips), model(clips))


def one_step(model, seed=7):
    torch.manual_seed(seed)
    logits, class_logits = model.train()(clip((4, 3, 4, 48, 48)))
    loss = F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(class_logits, torch.arange(4))
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters()}, dict(model.named_buffers()), torch.rand(1)


@pytest.mark.parametrize("checkpoint_blocks", [(0, 0, 2, 0), (9, 9, 9, 9)])
def test_checkpointing_changes_no_bit(checkpoint_blocks):
    options = {"drop_path_rate": 0.5, "dropout": 0.1, "attention_dropout": 0.1}
    loss, gradients, buffers, after = one_step(tiny(**options))
    again = one_step(tiny(**options, checkpoint_blocks=checkpoint_blocks))
    assert torch.equal(loss, again[0])
    assert all(torch.equal(gradient, again[1][name]) for name, gradient in gradients.items())
    assert all(torch.equal(buffer, again[2][name]) for name, buffer in buffers.items())
    assert torch.equal(after, again[3]), "and the generator stands where it stood"


def test_every_parameter_gets_a_gradient():
    _, gradients, *_ = one_step(tiny())
    assert all(g is not None and g.isfinite().all() and g.any() for g in gradients.values())


def test_a_published_start_learns():
    model = Hourglass(**TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(float(one_step(model)[0]))
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def attributes(model):
    """What hangs on any module of a network, by identity."""
    return {
        f"{name}.{key}": {k: id(v) for k, v in value.items()} if isinstance(value, dict) else id(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
    }


@pytest.mark.parametrize("training", [False, True])
def test_a_forward_pass_leaves_nothing_on_the_modules(training):
    model = tiny().train(training)
    before, scores = attributes(model), clip((2, 3, 4, 48, 48))
    model(scores)
    model.forward_features(scores)
    assert attributes(model) == before


def test_threads_share_one_network():
    model = tiny().eval()
    batches = [clip((2, 3, 2 + 2 * (i % 3), 48, 32 + 16 * (i % 2)), seed=i) for i in range(6)]
    with torch.inference_mode():
        wanted = [model(clips) for clips in batches]
    got = {}

    def score(order):
        with torch.inference_mode():
            for index in order:
                got.setdefault(index, []).append(model(batches[index]))

    threads = [threading.Thread(target=score, args=(list(range(6))[::step] * 3,)) for step in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(results) for results in got.values()) == [6] * 6
    assert all(torch.equal(result, wanted[index]) for index, results in got.items() for result in results)


def test_same_input_same_bits():
    loss, gradients, *_ = one_step(tiny())
    loss_again, gradients_again, *_ = one_step(tiny(), seed=8)
    assert torch.equal(loss, loss_again), "without dropout no generator is asked"
    assert all(torch.equal(gradients[n], gradients_again[n]) for n in gradients)


def test_bf16_autocast_agrees_within_its_rounding():
    model = tiny().eval()
    clips = clip((16, 3, 4, 64, 64))
    with torch.inference_mode():
        wanted = model(clips)
        with torch.autocast("cpu", torch.bfloat16):
            got = model(clips)
    # Of most clips: of some, rounding decides between two tokens of nearly one score.
    errors = (got.float() - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert errors.median() < 2e-2


def test_bf16_autocast_trains_with_nearly_the_gradients_of_float32():
    gradients = []
    for enabled in (False, True):
        model = tiny(drop_path_rate=0.2)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            _, found, *_ = one_step(model)
        assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in found.values())
        gradients.append(torch.cat([gradient.flatten() for gradient in found.values()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_deep_copy_and_pickle_score_the_same():
    model = tiny(drop_path_rate=0.1, checkpoint_blocks=(1, 0, 0, 0)).eval()
    clips = clip((1, 3, 2, 32, 32))
    wanted = model(clips)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(clips), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(model))(clips), wanted)
    nn.init.zeros_(twin.head.weight)
    assert torch.equal(model(clips), wanted), "a copy shares nothing"


def compiled_agrees(backend, training, **options):
    torch.compiler.reset()
    options = {"depths": (1, 1, 2, 1), "prune_ratio": None, "trade_off": None, **options}
    model, twin = tiny(**options).train(training), tiny(**options).train(training)
    clips = clip((2, 3, 2, 48, 48))
    got, wanted = torch.compile(model, fullgraph=True, backend=backend)(clips), twin(clips)
    if not training:
        return relative(got, wanted) < 1e-4
    sum(part.square().sum() for part in got).backward()
    sum(part.square().sum() for part in wanted).backward()
    buffers = dict(twin.named_buffers())
    assert all(relative(b, buffers[n]) < 1e-4 for n, b in model.named_buffers()), "statistics move once"
    ours, theirs = (torch.cat([p.grad.flatten() for p in net.parameters()]) for net in (model, twin))
    return relative(torch.stack(got), torch.stack(wanted)) < 1e-4 and relative(ours, theirs) < 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_the_compiler_sees_one_graph(training):
    assert compiled_agrees("eager", training)


@pytest.mark.slow
@pytest.mark.parametrize(("training", "checkpoint_blocks"), [(False, (0, 0, 0, 0)), (True, (1, 0, 1, 0))])
def test_compiled_gives_the_same(training, checkpoint_blocks):
    assert compiled_agrees("inductor", training, checkpoint_blocks=checkpoint_blocks)
