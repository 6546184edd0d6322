"""Counted figures of the published networks against the published ones, stages, and latency."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.fill import clip
from tests.models.published import state_keys, tiny
from uniformer_video.models import complexity
from uniformer_video.models.complexity import measure_latency, measure_size, stage_of
from uniformer_video.models.counting import ATTENTION, KINDS, LINEAR, NORM, PATCH
from uniformer_video.models.published import NETWORKS

# Parameters in M and multiply-adds of one view in G, counted on the published implementation (by fvcore's convention):
# network, frames, pixels, figures with their last digits.
COUNTED = [
    ("video_small", 8, 224, "21.400", "17.6"),
    ("video_small", 16, 224, "21.400", "41.8"),
    ("video_base", 8, 224, "49.813", "40.2"),
    ("video_base", 32, 224, "49.813", "258.6"),
    ("video_xxs_layer_scale", 4, 128, "9.841", "1.0"),
    ("video_xxs", 16, 160, "9.834", "6.87"),
    ("video_xs", 32, 192, "16.100", "33.9"),
]


def on_meta(name: str, **changes) -> nn.Module:
    with torch.device("meta"):
        return NETWORKS[name].build(**changes)


class TestPublished:
    @pytest.mark.parametrize(("name", "frames", "pixels", "parameters", "multiply_adds"), COUNTED)
    def test_to_the_last_digit(self, name, frames, pixels, parameters, multiply_adds):
        size = measure_size(on_meta(name), (3, frames, pixels, pixels))
        assert f"{size.total_parameters / 1e6:.3f}" == parameters
        digits = len(multiply_adds.partition(".")[2])
        assert f"{size.total_multiply_adds / 1e9:.{digits}f}" == multiply_adds

    def test_base_at_32_frames_has_130_g_in_attention_products(self):
        size = measure_size(on_meta("video_base"), (3, 32, 224, 224))
        assert f"{size.at(kind=ATTENTION) / 1e9:.0f}" == "130"

    @pytest.mark.parametrize("name", NETWORKS)
    def test_parameters(self, name):
        model = on_meta(name)
        size = measure_size(model, (3, 1 if name.startswith("image") else 2, 32, 32))
        assert size.total_parameters == state_keys()[name]["params"]
        assert size.stages == ["stem", "stage1", "stage2", "stage3", "stage4", "head"]

    @pytest.mark.parametrize(
        ("blocks", "pixels", "printed"), [(10, 224, "12.6"), (10, 384, "39.2"), (24, 224, "19.8"), (24, 384, "62.9")]
    )
    def test_large_is_published_with_the_count_of_10_blocks_in_stage_3(self, blocks, pixels, printed):
        # Its weights have 24. Both published figures, 12.6 and 39.2 G, are those of 10.
        size = measure_size(on_meta("image_large_ls", depths=(5, 10, blocks, 7)), (3, 1, pixels, pixels))
        assert f"{size.total_multiply_adds / 1e9:.1f}" == printed

    def test_weights_alone_make_more_than_the_published_count_of_large(self):
        # An independent bound: every weight matrix of stages 3 and 4 meets each of its 14x14 or 7x7 tokens once.
        shapes = state_keys()["image_large_ls"]["state"].items()
        matrices = [(name, s) for name, s in shapes if name.startswith(("blocks3", "blocks4")) and len(s) == 2]
        least = sum(s[0] * s[1] * (196 if name.startswith("blocks3") else 49) for name, s in matrices)
        assert least > 12.65e9


class TestSize:
    def test_stages_and_kinds_add_up(self):
        size = measure_size(tiny(), (3, 4, 64, 64))
        assert size.kinds == list(KINDS)
        total = size.total_multiply_adds
        assert sum(size.at(stage) for stage in size.stages) == total == size.at()
        assert sum(size.at(kind=kind) for kind in size.kinds) == total
        assert sum(size.at(stage, kind) for stage in size.stages for kind in size.kinds) == total
        assert sum(size.parameters.values()) == size.total_parameters

    def test_a_stage_by_hand(self):
        model = tiny()
        size = measure_size(model, (3, 4, 64, 64))
        positions = 2 * 16 * 16
        assert {kind: size.at("stem", kind) for kind in (PATCH, NORM)} == {
            PATCH: positions * 3 * 16 * 3 * 8,
            NORM: positions * 8 * 5,
        }
        assert size.at("head") == 32 * 5 + 2 * 32 * 2 * 2 * 2
        assert size.at("stage4", ATTENTION) == 2 * (2 * 2 * 2) ** 2 * 32
        assert size.at("stage2", LINEAR) == 2 * (2 * 8 * 8) * 10 * 16**2
        assert size.parameters["stem"] == sum(p.numel() for p in model.patch_embed1.parameters())
        assert size.parameters["stage3"] == sum(
            p.numel() for m in (model.patch_embed3, model.blocks3) for p in m.parameters()
        )

    def test_class_token_of_the_hourglass_counts_to_stage_3_and_its_way_up_to_stage_4(self):
        model = on_meta("video_xxs")
        size = measure_size(model, (3, 4, 64, 64))
        stage3 = sum(p.numel() for m in (model.patch_embed3, model.blocks3) for p in m.parameters()) + 224
        assert size.parameters["stage3"] == stage3
        heads = sum(p.numel() for m in (model.norm, model.norm_cls, model.head, model.head_cls) for p in m.parameters())
        assert size.parameters["head"] == heads
        # In eval mode the class token's own head does not run.
        assert size.at("head", LINEAR) == 448 * 400

    def test_views_do_not_depend_on_the_device_and_leave_the_network_as_it_was(self):
        model = tiny(drop_path_rate=0.3)
        model.train()
        model.blocks1.eval()
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        size = measure_size(model, (3, 3, 40, 48))
        assert model.training and not model.blocks1.training and model.blocks2.training
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        assert all(p.device.type == "cpu" and type(p) is nn.Parameter for p in model.parameters())
        assert measure_size(model.to("meta"), (3, 3, 40, 48)) == size

    def test_a_network_of_another_kind_is_listed_by_its_own_parts(self):
        model = nn.Sequential(nn.Conv3d(3, 4, 2, 2), nn.Flatten(), nn.Linear(32, 5))
        size = measure_size(model, (3, 4, 4, 4))
        assert size.stages == ["0", "2"]
        assert size.parameters == {"0": 3 * 8 * 4 + 4, "2": 32 * 5 + 5}
        assert size.multiply_adds == {("0", PATCH): 8 * 3 * 8 * 4, ("2", LINEAR): 32 * 5}
        assert size.kinds == [LINEAR, PATCH]

    def test_wrong_clips_are_the_networks_own_error(self):
        with pytest.raises(ValueError, match="too small"):
            measure_size(tiny(), (3, 4, 16, 16))


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("patch_embed1.proj", "stem"),
        ("patch_embed1", "stem"),
        ("patch_embed2.norm.weight", "stage2"),
        ("blocks1.0.attn", "stage1"),
        ("blocks4.2.mlp.fc1", "stage4"),
        ("patch_embed11", "patch_embed11"),
        ("cls_token", "stage3"),
        ("cls_upsample.weight", "stage4"),
        ("norm", "head"),
        ("norm_cls.bias", "head"),
        ("head.weight", "head"),
        ("head_cls", "head"),
        ("aux_head.bias", "head"),
        ("header.0", "header"),
        ("encoder.blocks1.0", "encoder"),
        ("", "other"),
    ],
)
def test_stage_of(name, stage):
    assert stage_of(name) == stage


class TestLatency:
    def test_the_median_of_what_follows_the_warm_up(self, monkeypatch):
        clock, cost = [0.0], iter([90.0, 80.0, 3.0, 2.0, 70.0])

        class Slow(nn.Module):
            def forward(self, clips):
                assert torch.is_inference_mode_enabled() and not self.training
                clock[0] += next(cost)

        monkeypatch.setattr(complexity.time, "perf_counter", lambda: clock[0])
        model = Slow()
        assert measure_latency(model, torch.zeros(1), repeats=3) == 3.0
        assert model.training, "put back"
        assert next(cost, None) is None, f"{complexity.WARM_UP} passes warm up"

    @pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
    def test_a_network_in_both_precisions(self, precision):
        seen = []
        model = tiny()
        model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        seconds = measure_latency(model, clip((1, 3, 2, 32, 32)), repeats=1, precision=precision)
        assert 0 < seconds < 60
        assert set(seen) == {precision} and len(seen) == complexity.WARM_UP + 1

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_a_gpu_is_waited_for(self):
        model = on_meta("video_small").to_empty(device="cuda")
        clips = torch.randn(8, 3, 16, 224, 224, device="cuda")
        # 8 x 41.8 G multiply-adds take any GPU more than a tenth of a millisecond; handing them over may not.
        assert measure_latency(model, clips, repeats=3) > 1e-4
