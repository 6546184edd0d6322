"""The network: published names and values, shapes it takes, initialisation, checkpointing, errors."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from tests.fill import clip, fill
from tests.models.published import KERNEL, TINY, filled_state, golden, relative, state_keys, tiny
from uniformer_video.models.blocks import SplitBlock
from uniformer_video.models.layers import DropPath, VolumeConv
from uniformer_video.models.uniformer import Uniformer, uniformer_base, uniformer_small
from uniformer_video.models.weights import load_weights

FORMS = {
    "joint": {},
    "split": {"split": True},
    "std": {"std": True},
    "conv stem": {"conv_stem": True, "std": True, "layer_scale": True},
    "image": {"image": True, "aux_head": True, "layer_scale": (False, True, False, True)},
}


def test_default_kernel_differs_from_the_published_only_in_the_local_affinity():
    with torch.device("meta"):
        state = uniformer_small().state_dict()
    wanted = state_keys()["video_small"]["state"]
    differ = {k for k, v in state.items() if list(v.shape) != wanted[k]}
    assert differ == {f"blocks1.{i}.attn.weight" for i in range(3)} | {f"blocks2.{i}.attn.weight" for i in range(4)}
    assert state["blocks1.0.attn.weight"].shape == (64, 1, 3, 5, 5)


@pytest.mark.parametrize(("options", "frames"), [(KERNEL, 3), ({}, 2), ({"split": True}, 2), ({"std": True}, 2)])
def test_center_inflation_gives_the_image_logits_on_identical_frames(options, frames):
    model = uniformer_small(num_classes=1000, **options).eval()
    load_weights(model, filled_state("image_small"), inflate="center")
    images = clip((2, 3, 224, 224))
    with torch.inference_mode():
        logits = model(images.unsqueeze(2).expand(-1, -1, frames, -1, -1))
    assert relative(logits, golden("image_small_224")) < 1e-3


@pytest.mark.parametrize(
    "shape", [(1, 1, 32, 32), (2, 2, 33, 47), (1, 5, 32, 65), (2, 8, 63, 32), (1, 3, 49, 51), (1, 16, 40, 36)]
)
@pytest.mark.parametrize("form", FORMS)
def test_any_time_and_size(shape, form):
    model = tiny(**FORMS[form]).eval()
    batch, frames, height, width = shape
    clips = clip((batch, 3, frames, height, width))
    logits = model(clips)
    assert logits.shape == (batch, 5)
    assert logits.isfinite().all()
    time = frames if form == "image" else (frames + 1) // 2
    for stage, features in enumerate(model.forward_features(clips)):
        size = (height // (4 << stage), width // (4 << stage))
        if form == "conv stem":
            size = (-(-height // (4 << stage)), -(-width // (4 << stage)))
        assert features.shape == (batch, TINY["widths"][stage], time, *size)


def test_feature_maps_are_views_of_channels_last_memory_and_end_before_the_head():
    model = tiny().eval()
    clips = clip((2, 3, 4, 64, 64))
    maps = model.forward_features(clips)
    assert all(m.is_contiguous(memory_format=torch.channels_last_3d) for m in maps)
    torch.testing.assert_close(model.head(maps[-1].mean((2, 3, 4))), model(clips))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_pooled_features_are_what_the_head_takes(form, training):
    model = tiny(**FORMS[form]).eval().train(training)
    clips = clip((2, 3, 4, 64, 64))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pooled, logits = model.forward_pooled(clips)
    model.load_state_dict(state)  # training moves the statistics of batch norm
    assert torch.equal(logits, model(clips))
    assert pooled.shape == (2, TINY["widths"][-1])
    model.load_state_dict(state)
    torch.testing.assert_close(pooled, model.forward_features(clips)[-1].mean((2, 3, 4)))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last_3d])
def test_memory_order_of_the_input_does_not_matter(order):
    model = tiny().eval()
    clips = clip((2, 3, 4, 64, 64))
    torch.testing.assert_close(model(clips.contiguous(memory_format=order)), model(clips), rtol=1e-5, atol=1e-6)


def test_a_clip_does_not_see_its_neighbour_in_eval():
    model = tiny().eval()
    clips = clip((3, 3, 4, 64, 64))
    torch.testing.assert_close(model(clips)[1:2], model(clips[1:2]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (torch.zeros(3, 4, 64, 64), r"clips must be \(B, 3, T, H, W\), got shape \(3, 4, 64, 64\)"),
        (torch.zeros(1, 4, 3, 64, 64), r"clips must be \(B, 3, T, H, W\), got shape \(1, 4, 3, 64, 64\)"),
        (torch.zeros(1, 3, 4, 64, 64, dtype=torch.uint8), "must be normalised and floating, got torch.uint8"),
        (torch.zeros(1, 3, 4, 31, 64), "clips of 4 frames of 31x64 are too small: at least 1 frame and 32x32 pixels"),
        (torch.zeros(1, 3, 4, 64, 31), "clips of 4 frames of 64x31 are too small"),
        (torch.zeros(1, 3, 0, 64, 64), "clips of 0 frames of 64x64 are too small"),
    ],
)
def test_clips_that_cannot_be_scored(clips, message):
    model = tiny().eval()
    for call in (model, model.forward_features):
        with pytest.raises(ValueError, match=message):
            call(clips)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": (1, 2, 3)}, r"depths must be four integers >= 0, one for each stage, got \[1, 2, 3\]"),
        ({"depths": (1, 2, 3, -1)}, "depths must be four integers >= 0"),
        ({"widths": (8, 16, 24, 0)}, "widths must be four integers >= 1"),
        ({"checkpoint_blocks": (1,)}, "checkpoint_blocks must be four integers >= 0"),
        ({"head_dim": 16}, r"widths of stages 3 and 4 must be multiples of head_dim 16, got \[24, 32\]"),
        ({"head_dim": 0}, "multiples of head_dim 0"),
        ({"local_kernel": (3, 4, 5)}, r"local_kernel must be three odd extents \(T, H, W\), got \[3, 4, 5\]"),
        ({"local_kernel": (5, 5)}, "local_kernel must be three odd extents"),
        ({"num_classes": 0}, "num_classes must be >= 1, got 0"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
        ({"attention_dropout": 2}, r"attention_dropout must be in \[0, 1\), got 2"),
        ({"head_dropout": float("nan")}, r"head_dropout must be in \[0, 1\), got nan"),
        ({"mlp_ratio": (4, 4)}, r"mlp_ratio must be one value or four, one for each stage, got \[4, 4\]"),
        ({"mlp_ratio": 0.01}, "mlp_ratio must leave each MLP a hidden channel"),
        ({"layer_scale": (True,)}, r"layer_scale must be one value or four, one for each stage, got \[True\]"),
        ({"image": True, "split": True}, "image is True, which leaves no time for split: set split False$"),
        ({"image": True, "std": True}, "image is True, which leaves no time for std: set std False$"),
        ({"conv_stem": True, "widths": (1, 8, 8, 8)}, "widths must begin with at least 2 where conv_stem is True"),
    ],
)
def test_arguments_that_make_no_network(options, message):
    with pytest.raises(ValueError, match=message):
        Uniformer(**{**TINY, **options})


def test_a_stage_without_blocks_is_its_strided_convolution():
    model = tiny(depths=(0, 1, 1, 0)).eval()
    assert model(clip((1, 3, 2, 32, 32))).shape == (1, 5)


def test_start_weights():
    model = uniformer_small()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert module.bias.count_nonzero() == 0, name
            assert abs(module.weight.std() - 0.02) < 0.001, name
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm3d):
            assert module.weight.eq(1).all(), name
            assert module.bias.eq(0).all(), name
    assert Uniformer(**TINY, aux_head=True).aux_head.bias.count_nonzero() == 0
    stem = model.patch_embed1.proj.weight
    assert stem.abs().max() <= 1 / (3 * 3 * 4 * 4) ** 0.5, "convolutions start as torch starts them"
    assert {m.eps for n, m in model.named_modules() if "norm" in n and "blocks3" in n} == {1e-6}
    assert {m.eps for n, m in model.named_modules() if n.startswith("patch_embed") and "norm" in n} == {1e-5}


def test_split_starts_as_the_same_network_for_every_order_of_time_mixing():
    model = Uniformer(**TINY, split=True)
    blocks = [m for m in model.modules() if isinstance(m, SplitBlock)]
    assert len(blocks) == 3
    for block in blocks:
        assert block.t_attn.qkv.weight.count_nonzero() == 0
        assert block.t_attn.qkv.bias.count_nonzero() == 0
        assert block.t_attn.proj.weight.eq(1).all()
        assert block.t_attn.proj.bias.count_nonzero() == 0


def test_split_has_no_block_of_the_joint_kind_and_vice_versa():
    assert not any("t_attn" in name for name in tiny().state_dict())
    extra = set(tiny(split=True).state_dict()) - set(tiny().state_dict())
    assert extra and all(".t_norm." in name or ".t_attn." in name for name in extra)


def test_drop_path_rises_linearly_over_all_blocks():
    model = uniformer_small(drop_path_rate=0.34)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.02 * i for i in range(18)])
    assert {m.rate for m in uniformer_small().modules() if isinstance(m, DropPath)} == {0.0}


def test_scale_and_bias_of_attention_reach_it():
    model = Uniformer(**TINY, qk_scale=0.5, qkv_bias=False, attention_dropout=0.1, dropout=0.2, head_dropout=0.3)
    attention = model.blocks3[0].attn
    assert (attention.scale, attention.qkv.bias, attention.attention_dropout) == (0.5, None, 0.1)
    assert attention.dropout.p == model.blocks1[0].mlp.dropout.p == model.stem_dropout.p == 0.2
    assert model.head_dropout.p == 0.3
    assert Uniformer(**TINY).blocks3[0].attn.scale == 8**-0.5


def test_head_dropout_acts_in_training_only():
    model = tiny(head_dropout=0.5)
    clips = clip((2, 3, 2, 32, 32))
    assert not torch.equal(model(clips), model(clips))
    model.eval()
    assert torch.equal(model(clips), model(clips))


def test_convenience_networks_accept_everything():
    with torch.device("meta"):
        assert uniformer_base(num_classes=7).head.weight.shape == (7, 512)
        assert [len(getattr(uniformer_base(), f"blocks{i}")) for i in range(1, 5)] == [5, 8, 20, 7]
        assert len(uniformer_small(depths=(1, 1, 1, 1)).blocks3) == 1


def one_step(model, seed=7):
    torch.manual_seed(seed)
    model.train()
    loss = nn.functional.cross_entropy(model(clip((4, 3, 4, 48, 48))), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    return loss.detach(), gradients, dict(model.named_buffers()), torch.rand(1)


@pytest.mark.parametrize("checkpoint_blocks", [(1, 1, 2, 0), (9, 9, 9, 9)])
@pytest.mark.parametrize("form", ["joint", "split", "conv stem", "image"])
def test_checkpointing_changes_no_bit(checkpoint_blocks, form):
    options = {"drop_path_rate": 0.5, "dropout": 0.1, "attention_dropout": 0.1, **FORMS[form]}
    loss, gradients, buffers, after = one_step(tiny(**options))
    again = one_step(tiny(**options, checkpoint_blocks=checkpoint_blocks))
    assert torch.equal(loss, again[0])
    for name, gradient in gradients.items():
        if not name.startswith("aux_head."):
            assert torch.equal(gradient, again[1][name]), name
    for name, buffer in buffers.items():
        assert torch.equal(buffer, again[2][name]), f"{name}: statistics must move once, not twice"
    assert torch.equal(after, again[3]), "and the generator stands where it stood"


def test_checkpointing_does_recompute(monkeypatch):
    calls = {"kept": 0, "recomputed": 0}
    for key, blocks in (("kept", (0, 0, 0, 0)), ("recomputed", (1, 2, 0, 0))):
        model = tiny(checkpoint_blocks=blocks)
        for block in (*model.blocks1, *model.blocks2):
            forward = block.mlp.forward

            def counted(x, key=key, forward=forward):
                calls[key] += 1
                return forward(x)

            monkeypatch.setattr(block.mlp, "forward", counted)
        one_step(model)
    assert calls == {"kept": 3, "recomputed": 6}


def test_checkpointing_in_eval_and_without_gradients():
    clips = clip((2, 3, 4, 48, 48))
    plain, again = tiny().eval(), tiny(checkpoint_blocks=(1, 2, 2, 1)).eval()
    again_gradient = torch.autograd.grad(again(clips).sum(), again.head.weight)[0]
    assert torch.equal(torch.autograd.grad(plain(clips).sum(), plain.head.weight)[0], again_gradient)
    with torch.no_grad():
        assert torch.equal(plain(clips), again(clips))


def test_checkpointing_leaves_the_buffers_in_place():
    model = tiny(checkpoint_blocks=(1, 2, 0, 0))
    before = dict(model.named_buffers())
    one_step(model)
    assert all(buffer is before[name] for name, buffer in model.named_buffers())
    assert model.blocks1[0].norm1.num_batches_tracked == 1


def test_same_input_same_bits():
    loss, gradients, *_ = one_step(tiny())
    loss_again, gradients_again, *_ = one_step(tiny(), seed=8)
    assert torch.equal(loss, loss_again), "without dropout no generator is asked"
    assert all(torch.equal(gradients[n], gradients_again[n]) for n in gradients)


def test_every_parameter_gets_a_gradient():
    for options in FORMS.values():
        _, gradients, *_ = one_step(tiny(**options))
        trained = {n: g for n, g in gradients.items() if not n.startswith("aux_head.")}
        assert all(g is not None and g.isfinite().all() and g.any() for g in trained.values())


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_bf16_autocast_agrees_within_its_rounding(options):
    model = tiny(**options).eval()
    clips = clip((2, 3, 4, 64, 64))
    with torch.inference_mode():
        wanted = model(clips)
        with torch.autocast("cpu", torch.bfloat16):
            got = model(clips)
    assert relative(got.float(), wanted) < 3e-2


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_bf16_autocast_trains_with_nearly_the_gradients_of_float32(options):
    gradients = []
    for enabled in (False, True):
        model = tiny(drop_path_rate=0.2, **options).train()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = model(clip((4, 3, 4, 48, 48)))
        nn.functional.cross_entropy(logits.float(), torch.arange(4)).backward()
        assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.995


def test_deep_copy_and_pickle_score_the_same():
    model = tiny(drop_path_rate=0.1, checkpoint_blocks=(1, 0, 0, 0)).eval()
    clips = clip((1, 3, 2, 32, 32))
    wanted = model(clips)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(clips), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(model))(clips), wanted)
    nn.init.zeros_(twin.head.weight)
    assert torch.equal(model(clips), wanted), "a copy shares nothing"


def test_state_dict_round_trip_through_a_file(tmp_path):
    model, other = tiny().eval(), Uniformer(**TINY).eval()
    torch.save(model.state_dict(), tmp_path / "state.pyth")
    other.load_state_dict(torch.load(tmp_path / "state.pyth", weights_only=True))
    clips = clip((1, 3, 2, 32, 32))
    with torch.inference_mode():
        assert torch.equal(model(clips), other(clips))


def test_channels_last_parameters_and_double_precision():
    model = tiny().eval()
    clips = clip((2, 3, 4, 48, 48))
    wanted = model(clips)
    torch.testing.assert_close(model.to(memory_format=torch.channels_last_3d)(clips), wanted, rtol=1e-4, atol=1e-6)
    assert relative(model.double()(clips.double()).float(), wanted) < 1e-4


def test_building_draws_from_the_global_generator_only():
    torch.manual_seed(5)
    first = Uniformer(**TINY).state_dict()
    torch.manual_seed(5)
    second = Uniformer(**TINY).state_dict()
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not torch.equal(Uniformer(**TINY).head.weight, first["head.weight"])


def test_fill_covers_every_layer():
    """The tests above compare filled networks: none of their parameters may be left at zero or one."""
    for form in FORMS.values():
        for name, tensor in fill(tiny(**form).state_dict()).items():
            assert "num_batches" in name or (tensor.unique().numel() > 1), name


def test_each_stage_has_its_own_mlp_ratio_and_layer_scale():
    model = Uniformer(**TINY, mlp_ratio=(1, 2.5, 3, 0.5), layer_scale=(True, False, False, True), layer_scale_init=0.3)
    stages = [getattr(model, f"blocks{i}") for i in (1, 2, 3, 4)]
    assert [{b.mlp.fc1.weight.shape[0] for b in blocks} for blocks in stages] == [{8}, {40}, {72}, {16}]
    scales = [[b.gamma_1 is not None for b in blocks] for blocks in stages]
    assert scales == [[True], [False, False], [False, False], [True]]
    assert {p.unique().item() for n, p in model.named_parameters() if "gamma" in n} == {torch.tensor(0.3).item()}
    default = Uniformer(**TINY, layer_scale=True)
    assert sum("gamma" in n for n in default.state_dict()) == 12
    assert default.blocks3[0].gamma_1.eq(1e-6).all()


def test_a_small_layer_scale_starts_as_nearly_the_position_encodings_alone():
    model = tiny(layer_scale=True).eval()
    clips = clip((1, 3, 2, 32, 32))
    for name, parameter in model.named_parameters():
        if "gamma" in name:
            nn.init.zeros_(parameter)
    before = model(clips)
    for name, parameter in model.named_parameters():
        if ".mlp." in name or ".attn." in name or ".conv" in name:
            nn.init.normal_(parameter)
    assert torch.equal(model(clips), before)


@pytest.mark.parametrize(("options", "time_kernel"), [({}, 1), ({"std": True}, 3)])
def test_conv_stem_of_a_video_network(options, time_kernel):
    model = tiny(conv_stem=True, **options)
    state = {n: tuple(t.shape) for n, t in model.state_dict().items() if n.startswith("patch_embed")}
    assert state["patch_embed1.proj.0.weight"] == (4, 3, 3, 3, 3)
    assert state["patch_embed1.proj.3.weight"] == (8, 4, 3, 3, 3)
    for stage, (inputs, outputs) in enumerate([(8, 16), (16, 24), (24, 32)], start=2):
        assert state[f"patch_embed{stage}.proj.0.weight"] == (outputs, inputs, time_kernel, 3, 3)
    assert not any(".norm." in name for name in state)
    convolutions = [m for n, m in model.named_modules() if n.startswith("patch_embed") and isinstance(m, nn.Conv3d)]
    assert [c.stride for c in convolutions] == [(1, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2)]
    assert all(isinstance(c, VolumeConv) for c in convolutions), "right in bfloat16 on CPUs"


def test_the_second_head_counts_in_eval_mode_alone():
    model, plain = tiny(aux_head=True), tiny()
    assert [n for n in model.state_dict() if n not in plain.state_dict()] == ["aux_head.weight", "aux_head.bias"]
    plain.load_state_dict({n: t for n, t in model.state_dict().items() if not n.startswith("aux_head.")})
    clips = clip((2, 3, 4, 48, 48))
    tokens = model.eval().forward_features(clips)[-1].flatten(2).transpose(1, 2)
    scores = tokens @ model.aux_head.weight.T + model.aux_head.bias
    torch.testing.assert_close(model(clips), plain.eval()(clips) + 0.5 * scores.max(1).values)
    assert torch.equal(model.train()(clips), plain.train()(clips))


def test_images_go_into_image_networks_alone():
    images = clip((2, 3, 32, 32))
    assert tiny(image=True).eval()(images).shape == (2, 5)
    with pytest.raises(ValueError, match=r"clips must be \(B, 3, T, H, W\), got shape \(2, 3, 32, 32\)"):
        tiny()(images)
    message = r"clips must be \(B, 3, H, W\) or \(B, 3, T, H, W\), got shape \(3, 32, 32\)"
    with pytest.raises(ValueError, match=message):
        tiny(image=True)(images[0])
