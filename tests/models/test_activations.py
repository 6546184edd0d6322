"""Activation memory against bytes counted by hand and against what torch's own allocator says."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from tests.fill import clip
from tests.models.published import tiny
from uniformer_video.models.activations import inference_activation_bytes, training_activation_bytes
from uniformer_video.models.hourglass import Hourglass

CPU = torch.device("cpu")
FLOAT = 4


def training(model, clips, precision=torch.float32):
    return training_activation_bytes(model, clips, device=CPU, precision=precision)


def inference(model, clips, precision=torch.float32):
    return inference_activation_bytes(model, clips, device=CPU, precision=precision)


def allocated(call) -> tuple[int, int]:
    """Bytes of all tensors on the CPU, above those from before: the most during ``call()``, and at its end."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        kept = call()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    del kept
    return most, now


def small_hourglass():
    return Hourglass(num_classes=5, depths=(1, 1, 2, 1), widths=(8, 16, 24, 32), head_dim=8)


class TestByHand:
    def test_training_keeps_the_inputs_of_linear_layers_and_of_gelu(self):
        model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))
        batch = 3
        assert training(model, (batch, 4)) == batch * (4 + 8 + 8) * FLOAT

    def test_a_tensor_kept_twice_counts_once(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.one, self.other = nn.Linear(4, 2), nn.Linear(4, 2)

            def forward(self, x):
                return self.one(x) + self.other(x.view(-1, 4))

        assert training(Twice(), (3, 4)) == 3 * 4 * FLOAT

    def test_frozen_layers_keep_nothing(self):
        model = nn.Sequential(nn.Linear(4, 8), nn.GELU()).requires_grad_(False)
        assert training(model, (3, 4)) == 0

    def test_inference_holds_an_input_and_an_output_at_a_time(self):
        model = nn.Sequential(nn.Linear(4, 32), nn.Linear(32, 2), nn.Linear(2, 64))
        batch = 3
        # The clips are alive all the time.
        assert inference(model, (batch, 4)) == batch * (4 + 2 + 64) * FLOAT

    def test_in_place_and_views_take_no_memory(self):
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Flatten(0), nn.Unflatten(0, (3, 4)))
        assert inference(model, (3, 4)) == 2 * 3 * 4 * FLOAT

    def test_mixed_precision_halves_and_copies_of_weights_are_no_activations(self):
        model = nn.Sequential(nn.Linear(4, 1024), nn.Linear(1024, 8))
        batch = 3
        # The clips come in float32 and are kept as their copies in bfloat16.
        assert training(model, (batch, 4), torch.bfloat16) == batch * (4 + 1024) * 2
        assert inference(model, (batch, 4), torch.bfloat16) == batch * (4 * FLOAT + 2 * (1024 + 8))

    def test_copies_of_weights_alone(self):
        # The peak without copies of weights: clips, their copy and the output.
        assert inference(nn.Linear(4, 8), (1, 4), torch.bfloat16) == 4 * FLOAT + 2 * 4 + 2 * 8


BUILDS = {"joint": tiny, "split": lambda: tiny(split=True, std=True), "hourglass": small_hourglass}


class TestAgainstTheAllocator:
    @pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
    def test_inference(self, build):
        model, clips = build().eval(), clip((2, 3, 4, 64, 64))
        with torch.no_grad():
            model(clips)
            most, _ = allocated(lambda: model(clips))
        # Sorting takes a few bytes inside its kernel.
        assert inference(model, clips.shape) == pytest.approx(most + clips.nbytes, rel=1e-3)

    @pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
    def test_training(self, build):
        model, clips = build().train(), clip((2, 3, 4, 64, 64))
        model(clips)
        _, kept = allocated(lambda: model(clips))
        # The logits, of both heads, are left too; autograd also keeps numbers outside of tensors.
        assert training(model, clips.shape) == pytest.approx(kept, rel=0.01)


class TestNetworks:
    @pytest.mark.parametrize("measure", [training, inference])
    @pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
    def test_memory_goes_with_the_batch(self, measure, precision):
        model = tiny()
        one, two, five = (measure(model, (batch, 3, 4, 64, 64), precision) for batch in (1, 2, 5))
        assert five - one == pytest.approx(4 * (two - one), rel=0.01)
        # A training step in bfloat16 turns the weights of patch convolutions into matrices of their own.
        patches = sum(part.numel() for name, part in model.named_parameters() if "proj" in name and part.ndim == 5)
        assert one == pytest.approx(two - one, rel=0.01, abs=2 * patches)

    def test_training_keeps_more_than_inference_and_less_in_bfloat16(self):
        model, clips = tiny(), (2, 3, 4, 64, 64)
        assert training(model, clips) > 1.5 * inference(model, clips)
        assert training(model, clips, torch.bfloat16) < training(model, clips)

    def test_recomputed_blocks_keep_their_input_alone(self):
        clips = (2, 3, 4, 64, 64)
        plain, some, all_ = (
            training(tiny(checkpoint_blocks=blocks), clips) for blocks in ((0,) * 4, (1, 0, 0, 0), (9,) * 4)
        )
        assert all_ < some < plain
        assert all_ < 0.5 * plain
        assert inference(tiny(checkpoint_blocks=(9,) * 4), clips) == inference(tiny(), clips)

    def test_stochastic_depth_keeps_the_draws_and_what_they_multiply(self):
        clips = (2, 3, 4, 64, 64)
        assert training(tiny(drop_path_rate=0.2), clips) >= training(tiny(), clips)
        assert inference(tiny(drop_path_rate=0.2), clips) == inference(tiny(), clips)

    def test_attention_weights_are_not_held(self):
        # 2048 tokens in stage 3: the weights of one head would be 16 MiB.
        model = tiny(depths=(0, 0, 1, 0), head_dim=24, widths=(8, 8, 24, 24))
        clips = (1, 3, 16, 256, 256)
        assert (
            training(model, clips) - training(tiny(depths=(0,) * 4, head_dim=24, widths=(8, 8, 24, 24)), clips) < 2**22
        )

    def test_a_network_on_meta_and_the_mode_is_put_back(self):
        model = tiny().eval()
        wanted = training(model, (2, 3, 4, 64, 64)), inference(model, (2, 3, 4, 64, 64))
        assert not model.training
        assert model.norm.num_batches_tracked == tiny().norm.num_batches_tracked
        model.to("meta")
        assert (training(model, (2, 3, 4, 64, 64)), inference(model, (2, 3, 4, 64, 64))) == wanted

    def test_a_batch_norm_cannot_train_on_one_position(self):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            training(tiny(), (1, 3, 1, 32, 32))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_against_the_allocator_of_a_gpu(self):
        device = torch.device("cuda")
        model = tiny(widths=(64, 128, 320, 512), head_dim=64).to(device)
        clips = torch.randn(4, 3, 8, 112, 112).to(device)
        model(clips)
        before = torch.cuda.memory_allocated()
        logits = model(clips)
        kept = torch.cuda.memory_allocated() - before
        del logits
        assert training_activation_bytes(model, clips.shape, device=device) == pytest.approx(kept, rel=0.05)
