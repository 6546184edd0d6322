from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from tests.models.published import tiny
from uniformer_video.models.dry_run import autocast, dry_run, in_mode

CPU = torch.device("cpu")


def run_once(run, own):
    return run()


class TestDryRun:
    def test_tensors_are_fake_and_the_result_has_the_networks_shape(self):
        output = dry_run(tiny().eval(), (2, 3, 4, 64, 64), CPU, run_once)
        assert isinstance(output, FakeTensor)
        assert (output.shape, output.dtype, output.device) == ((2, 5), torch.float32, CPU)

    def test_a_network_far_larger_than_any_memory(self):
        with torch.device("meta"):
            model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 64 * 64, 10**9))
        output = dry_run(model, (8, 3, 4, 64, 64), CPU, run_once)
        assert output.shape == (8, 10**9)

    def test_own_are_all_parameters_and_buffers_with_their_gradients_wish(self):
        model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4))
        model[0].weight.requires_grad_(False)

        def measure(run, own):
            return [(tuple(t.shape), t.requires_grad, t.dtype) for t in own]

        state = [*model.named_parameters(), *model.named_buffers()]
        wanted = [(tuple(t.shape), t.requires_grad, t.dtype) for _, t in state]
        assert dry_run(model, (1, 3, 1, 1, 1), CPU, measure) == wanted

    def test_clips_have_the_networks_dtype(self):
        assert dry_run(tiny().double().eval(), (1, 3, 2, 32, 32), CPU, run_once).dtype == torch.float64

    def test_training_moves_no_statistics_of_the_network(self):
        model = tiny().train()
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        dry_run(model, (2, 3, 4, 64, 64), CPU, run_once)
        assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())

    def test_no_random_state_is_used(self):
        model = tiny(drop_path_rate=0.5, dropout=0.5).train()
        before = torch.get_rng_state()
        dry_run(model, (2, 3, 4, 64, 64), CPU, run_once)
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_network_that_asks_for_values_runs_on_zeros(self):
        class Asks(nn.Module):
            def __init__(self):
                super().__init__()
                self.small, self.large = nn.Linear(4, 2), nn.Linear(4, 3)

            def forward(self, x):
                return self.large(x) if x.sum().item() > 0 else self.small(x)

        with torch.device("meta"):
            model = Asks()
        output = dry_run(model, (5, 4), CPU, run_once)
        assert not isinstance(output, FakeTensor)
        torch.testing.assert_close(output, torch.zeros(5, 2))

    def test_a_network_without_parameters(self):
        assert dry_run(nn.Flatten(), (2, 3, 4), CPU, run_once).shape == (2, 12)


class TestInMode:
    @pytest.mark.parametrize("training", [True, False])
    def test_every_module_is_put_back_after_an_error_too(self, training):
        model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
        model[1].eval()
        modes = [m.training for m in model.modules()]
        with pytest.raises(KeyError), in_mode(model, training=training):
            assert {m.training for m in model.modules()} == {training}
            raise KeyError
        assert [m.training for m in model.modules()] == modes


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_autocast(precision):
    layer = nn.Linear(2, 2)
    with autocast(CPU, precision):
        assert layer(torch.zeros(1, 2)).dtype == precision
    with torch.autocast("cpu", torch.bfloat16), autocast(CPU, torch.float32):
        assert layer(torch.zeros(1, 2)).dtype == torch.bfloat16, "float32 leaves an outer one alone"
