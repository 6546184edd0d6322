"""Draws for rows of a step: parts of a batch, in any order, draw what the whole batch draws."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from uniformer_video.models.attention import Attention
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.layers import Dropout, DropPath
from uniformer_video.models.rows import batch_rows, mask_of_rows, rows_in_hand, these_rows
from uniformer_video.models.uniformer import Uniformer

SMALL = {"depths": (1, 1, 2, 1), "widths": (8, 8, 16, 16), "head_dim": 8, "mlp_ratio": 1, "num_classes": 3}
DRAWING = {"dropout": 0.3, "attention_dropout": 0.3, "drop_path_rate": 0.6, "head_dropout": 0.3}


def drawn(layer, x, rows, total, seed=1):
    torch.manual_seed(seed)
    with batch_rows(rows, total):
        return layer(x)


@st.composite
def cuts(draw):
    """Return a number of rows, an order of them, and where that order is cut."""
    total = draw(st.integers(1, 9))
    order = draw(st.permutations(range(total)))
    edges = sorted(draw(st.sets(st.integers(1, total - 1)))) if total > 1 else []
    return total, order, list(zip([0, *edges], [*edges, total], strict=True))


@pytest.mark.parametrize("lines", [1, 3])
@pytest.mark.parametrize("layer", [DropPath(0.5), Dropout(0.5)], ids=["DropPath", "Dropout"])
@given(cuts())
def test_parts_in_any_order_are_the_whole_to_the_bit(layer, lines, cut):
    total, order, runs = cut
    x = torch.randn(total, lines, 2, 5, generator=torch.Generator().manual_seed(3))
    whole = drawn(layer, x.flatten(0, 1), range(total), total).unflatten(0, (total, lines))
    for start, stop in runs:
        rows = order[start:stop]
        part = drawn(layer, x[rows].flatten(0, 1), rows, total)
        assert torch.equal(part, whole[rows].flatten(0, 1))


def test_a_tensor_of_rows_is_as_good_and_rows_may_be_few():
    layer, x = DropPath(0.5), torch.ones(20, 1)
    whole = drawn(layer, x, range(20), 20)
    rows = torch.tensor([19, 0, 7])
    assert torch.equal(drawn(layer, x[rows], rows, 20), whole[rows])


@pytest.mark.parametrize("layer", [DropPath(0.25), Dropout(0.25)], ids=["DropPath", "Dropout"])
def test_the_share_that_is_dropped_and_the_scale_of_the_rest(layer):
    out = drawn(layer, torch.ones(4000, 5), range(4000), 4000)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    # 4000 draws of a coin at least: 0.04 is about six standard deviations.
    assert abs((out == 0).float().mean() - 0.25) < 0.04
    if isinstance(layer, Dropout):
        assert len(out[:4000].unique(dim=0)) == 32, "every number is drawn for itself"
        assert not torch.equal(out[0:2000], out[2000:])


def test_two_layers_and_two_steps_draw_apart():
    layer, x = Dropout(0.5), torch.ones(3, 50)
    both = drawn(lambda given: torch.stack([layer(given), layer(given)]), x, range(3), 3)
    assert not torch.equal(*both)
    assert not torch.equal(both[0], drawn(layer, x, range(3), 3, seed=2))
    assert not torch.equal(both[0][0], both[0][1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_has_torchs_numbers_and_gradient(dtype):
    """Against torch's own on the same mask, in every type."""
    x = torch.randn(4, 6, dtype=dtype, requires_grad=True)
    out = drawn(Dropout(0.3), x, range(4), 4)
    torch.manual_seed(1)
    with batch_rows(range(4), 4):
        mask = mask_of_rows(rows_in_hand(), x, 0.7)
    wanted = x.detach() * mask * (1 / 0.7)
    assert out.dtype == dtype
    torch.testing.assert_close(out.detach(), wanted)
    out.sum().backward()
    torch.testing.assert_close(x.grad, mask * (1 / 0.7))
    assert 0 < mask.mean() < 1


class TestOutside:
    def test_draws_are_torchs_own(self):
        x = torch.randn(6, 7)
        torch.manual_seed(4)
        wanted = nn.Dropout(0.4)(x)
        torch.manual_seed(4)
        assert torch.equal(Dropout(0.4)(x), wanted)

    def test_stochastic_depth_draws_one_number_a_sample(self):
        x = torch.randn(6, 7, 2)
        torch.manual_seed(4)
        keep = torch.rand(6, 1, 1) < 0.6
        torch.manual_seed(4)
        assert torch.equal(DropPath(0.4)(x), x * (keep / 0.6))

    def test_all_rows_in_order_are_stochastic_depth_as_without(self):
        x = torch.randn(6, 7)
        torch.manual_seed(1)
        assert torch.equal(drawn(DropPath(0.4), x, range(6), 6), (torch.manual_seed(1), DropPath(0.4)(x))[1])

    def test_there_are_no_rows_before_and_after_also_after_an_error(self):
        assert rows_in_hand() is None
        with pytest.raises(KeyError), batch_rows([1], 2):
            assert (rows_in_hand().numbers, rows_in_hand().total) == ((1,), 2)
            with batch_rows([0], 1):
                assert rows_in_hand().total == 1
            with these_rows(None):
                assert rows_in_hand() is None
            assert rows_in_hand().total == 2
            raise KeyError
        assert rows_in_hand() is None

    @pytest.mark.parametrize("layer", [Dropout(0.0), Dropout(0.5).eval(), DropPath(0.0), DropPath(0.5).eval()], ids=str)
    def test_nothing_is_drawn_where_nothing_is_dropped(self, layer):
        x = torch.randn(3, 2)
        torch.manual_seed(1)
        state = torch.get_rng_state()
        assert torch.equal(drawn(layer, x, [0, 1, 2], 3), x)
        assert torch.equal(torch.get_rng_state(), state)

    def test_all_is_dropped_at_rate_one(self):
        assert torch.equal(drawn(Dropout(1.0), torch.ones(3, 2), [0, 1, 2], 3), torch.zeros(3, 2))


def test_it_prints_as_torchs_and_is_one():
    assert repr(Dropout(0.25)) == repr(nn.Dropout(0.25)) == "Dropout(p=0.25, inplace=False)"
    assert isinstance(Dropout(0.25), nn.Dropout)
    model = Uniformer(**SMALL)
    assert all(type(m) is Dropout for m in model.modules() if isinstance(m, nn.Dropout))


@pytest.mark.parametrize(("rows", "total"), [([], 2), ([2], 2), ([-1], 2), ([0, 5], 3)])
def test_rows_that_are_none(rows, total):
    with pytest.raises(AssertionError, match="are not within"), batch_rows(rows, total):
        pass


def test_lines_that_are_not_shared_by_the_samples():
    for layer in (DropPath(0.5), Dropout(0.5)):
        with pytest.raises(AssertionError, match="5 lines are not shared by the 2 samples in hand"):
            drawn(layer, torch.ones(5, 1), [0, 1], 2)


def test_attention_weights_are_dropped_by_rows_and_generators_are_left_where_they_were():
    layer, x = Attention(8, 2, attention_dropout=0.5), torch.randn(3, 5, 8)
    whole = drawn(layer, x, range(3), 3)
    after = torch.rand(1)
    assert not torch.allclose(whole, layer.eval()(x))
    layer.train()
    assert torch.equal(drawn(layer, x[[2, 0]], [2, 0], 3), whole[[2, 0]])
    assert torch.equal(torch.rand(1), after), "what is drawn next does not depend on the part either"


@pytest.mark.parametrize(
    ("network", "options"),
    [(Uniformer, {}), (Uniformer, {"split": True}), (Hourglass, {})],
    ids=["joint", "split", "hourglass"],
)
@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
def test_a_network_in_parts_has_the_whole_batchs_draws(network, options, again):
    """Frozen batch norms, so that a clip's scores are its own; every kind of draw is at work."""
    blocks = {"checkpoint_blocks": SMALL["depths"]} if again else {}
    model = network(**SMALL, **DRAWING, **options, **blocks).double().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    clips = torch.randn(4, 3, 4, 32, 32, dtype=torch.float64)

    def run(rows):
        out = drawn(lambda given: model(clips[given]), rows, rows, 4)
        out = torch.stack(out) if isinstance(out, tuple) else out[None]
        out.square().sum().backward()  # outside of the rows, as a training step may do
        return out.detach()

    whole = run([0, 1, 2, 3])
    wanted = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    parts = torch.cat([run([3, 1]), run([0]), run([2])], 1)
    torch.testing.assert_close(parts, whole[:, [3, 1, 0, 2]], rtol=1e-12, atol=1e-12)
    for p, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-10, atol=1e-12)
    swapped = drawn(model, clips, [1, 0, 2, 3], 4)  # the same clips in places that draw otherwise
    first = (swapped if isinstance(swapped, torch.Tensor) else swapped[0]).detach() - whole[0]
    assert first[:2].abs().max() > 1e-4 and first[2:].abs().max() < 1e-12


def test_a_backward_pass_in_another_thread_draws_the_same():
    """On a GPU autograd has threads of its own, which know no contexts."""
    model = Uniformer(**SMALL, **DRAWING, checkpoint_blocks=SMALL["depths"]).train()
    plain = Uniformer(**SMALL, **DRAWING).train()
    plain.load_state_dict(model.state_dict())
    clips = torch.randn(2, 3, 4, 32, 32)
    for network in (model, plain):
        loss = drawn(network, clips, [4, 2], 6).square().sum()
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
    for p, own in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(p.grad, own.grad)


def test_what_is_compiled_draws_for_the_samples_it_is_given():
    layer, x = DropPath(0.5), torch.ones(8, 3)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.manual_seed(1)
    wanted = layer(x)
    assert torch.equal(drawn(compiled, x, range(8, 16), 16), wanted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu():
    model = Uniformer(**SMALL, **DRAWING, checkpoint_blocks=SMALL["depths"]).cuda().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eval()
    clips = torch.randn(4, 3, 4, 32, 32, device="cuda")

    def run(rows):
        model.zero_grad()
        out = drawn(lambda given: model(clips[given]), rows, rows, 4)
        out.square().sum().backward()
        return out.detach(), [p.grad for p in model.parameters()]

    whole, gradients = run([0, 1, 2, 3])
    first, its = run([2, 0])
    second, others = run([1, 3])
    torch.testing.assert_close(torch.cat([first, second]), whole[[2, 0, 1, 3]], rtol=1e-4, atol=1e-4)
    for a, b, c in zip(its, others, gradients, strict=True):
        torch.testing.assert_close(a + b, c, rtol=1e-3, atol=1e-3)
