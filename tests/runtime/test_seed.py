"""Random numbers are a function of their position, and nothing global moves."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.runtime.seed import Stream, numpy_generator, position_seed, seed_everything, torch_generator

POSITIONS = st.lists(st.integers(0, 2**32 - 1), max_size=6).map(tuple)


def global_states() -> tuple:
    return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()


@pytest.fixture
def keep_torch_state():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@given(POSITIONS)
def test_the_same_position_gives_the_same_draws(position):
    assert position_seed(*position) == position_seed(*position)
    first, second = numpy_generator(*position), numpy_generator(*position)
    assert (first.integers(0, 2**63, 4) == second.integers(0, 2**63, 4)).all()
    first, second = torch_generator(*position), torch_generator(*position)
    assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))


@given(POSITIONS, POSITIONS)
def test_two_positions_give_two_seeds(a, b):
    assert (position_seed(*a) == position_seed(*b)) == (a == b)


@given(POSITIONS, st.integers(1, 4))
def test_trailing_zeros_are_part_of_a_position(position, zeros):
    longer = position + (0,) * zeros
    assert position_seed(*position) != position_seed(*longer)
    draws, others = numpy_generator(*position).random(4), numpy_generator(*longer).random(4)
    assert not (draws == others).any()


def test_three_differs_from_three_zero():
    assert position_seed(3) != position_seed(3, 0)
    assert numpy_generator(3).random() != numpy_generator(3, 0).random()
    a, b = torch_generator(3), torch_generator(3, 0)
    assert torch.rand((), generator=a) != torch.rand((), generator=b)


def test_order_counts():
    assert position_seed(1, 2) != position_seed(2, 1)


@given(POSITIONS)
def test_seeds_are_what_torch_takes(position):
    seed = position_seed(*position)
    assert isinstance(seed, int)
    assert 0 <= seed < 2**63
    assert torch_generator(*position).initial_seed() == seed


def test_seeds_of_neighbours_spread_over_all_bits():
    seeds = [position_seed(0, Stream.CLIP, 0, record) for record in range(2000)]
    assert len(set(seeds)) == len(seeds)
    bits = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds])
    # 2000 fair coins: a mean beyond 0.5 +- 0.06 has a probability under 1e-7.
    assert (abs(bits.mean(0) - 0.5) < 0.06).all()


def test_draws_of_neighbours_do_not_go_together():
    draws = np.array([numpy_generator(7, Stream.SAMPLE, 0, record).random() for record in range(2000)])
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.1
    assert abs(draws.mean() - 0.5) < 0.04


def test_draws_are_pinned():
    # A change of these is a change of every published run's samples: say so in the log of changes when it is meant.
    assert position_seed() == int(np.random.SeedSequence([0]).generate_state(1, np.uint64)[0]) >> 1
    expected = np.random.default_rng(np.random.SeedSequence([4, 6666, 3, 2, 17])).random(3)
    assert (numpy_generator(6666, Stream.CLIP, 2, 17).random(3) == expected).all()


@pytest.mark.parametrize("make", [position_seed, numpy_generator, torch_generator])
def test_a_negative_number_is_refused(make):
    with pytest.raises(ValueError, match="non-negative"):
        make(3, -1)


@given(POSITIONS)
def test_no_global_generator_is_read_or_moved(position):
    before = global_states()
    position_seed(*position)
    numpy_generator(*position).random(3)
    torch.rand(3, generator=torch_generator(*position))
    assert global_states() == before


def test_global_states_do_not_change_a_draw(keep_torch_state):
    first = numpy_generator(1, 2).random()
    torch.manual_seed(99)
    assert numpy_generator(1, 2).random() == first


def test_streams_have_numbers_of_their_own_from_one():
    assert sorted(Stream) == list(range(1, len(Stream) + 1))
    assert len({position_seed(0, stream, 0, 0) for stream in Stream}) == len(Stream)


def test_seed_everything_fixes_torch_alone(keep_torch_state):
    python, numpy, _ = global_states()
    seed_everything(5, Stream.WEIGHTS)
    first = torch.rand(3)
    torch.rand(100)
    seed_everything(5, Stream.WEIGHTS)
    assert torch.equal(torch.rand(3), first)
    seed_everything(6, Stream.WEIGHTS)
    assert not torch.equal(torch.rand(3), first)
    assert global_states()[:2] == (python, numpy)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_generator_on_a_gpu():
    first, second = torch_generator(4, 2, device="cuda"), torch_generator(4, 2, device="cuda")
    assert first.device.type == "cuda"
    draw = torch.rand(5, generator=first, device="cuda")
    assert torch.equal(draw, torch.rand(5, generator=second, device="cuda"))
