"""Random numbers are a function of their position, and nothing global moves."""

from __future__ import annotations

import contextlib
import copy
import io
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.seed import (
    Stream,
    generator_states,
    generators_kept,
    numpy_generator,
    position_seed,
    restore_generators,
    seed_everything,
    torch_generator,
)

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


@pytest.fixture
def keep_global_states(keep_torch_state):
    python, numpy = random.getstate(), np.random.get_state()
    yield
    random.setstate(python)
    np.random.set_state(numpy)


def draws():
    """Draw from every global generator, a normal number too: of these Python and NumPy keep every second one."""
    return random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.rand(), torch.randn(3).tolist()


def written_and_read(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


class TestStates:
    @pytest.mark.parametrize("before", [0, 1, 700])
    def test_a_restored_process_draws_the_same_also_from_a_file(self, before, keep_global_states):
        for _ in range(before):
            random.gauss(0, 1), np.random.standard_normal(), torch.randn(1)
        state = written_and_read(generator_states())
        wanted = [draws() for _ in range(3)]
        restore_generators(state)
        assert [draws() for _ in range(3)] == wanted

    def test_looking_moves_nothing_and_shares_no_memory(self, keep_global_states):
        before = global_states()
        state = generator_states()
        assert global_states() == before
        kept = copy.deepcopy(state["torch"])
        draws()
        assert torch.equal(state["torch"], kept)
        restore_generators(state)
        assert global_states() == before

    def test_what_it_is_made_of(self):
        state = generator_states()
        assert state.keys() == {"python", "numpy", "torch", "cuda"}
        allowed = (int, float, str, list, torch.Tensor, type(None))
        for part in (*state["python"], *state["python"][1], *state["numpy"], *state["numpy"][1]):
            assert type(part) in allowed
        assert torch.cuda.is_initialized() or state["cuda"] == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("python", [3, [1, 2], None]),
            ("python", [1, [0] * 625, None]),
            ("python", [3, ["a"] * 625, None]),
            ("python", [3, [-1] * 624 + [0], None]),
            ("python", None),
            ("numpy", ["MT19937", [1] * 5, 0, 0, 0.0]),
            ("numpy", ["MT19937", [1] * 624, 625, 0, 0.0]),
            ("numpy", ["MT19937", [1] * 624, -1, 0, 0.0]),
            ("numpy", ["PCG64", [1] * 624, 0, 0, 0.0]),
            ("numpy", []),
            ("torch", torch.zeros(3, dtype=torch.uint8)),
            ("torch", torch.zeros(5056)),
            ("torch", 17),
            ("cuda", 17),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_a_state_of_another_program_is_refused_and_nothing_moves(self, name, value, keep_global_states):
        state = generator_states()
        draws()  # the good parts would be seen to be restored
        before = global_states()
        with pytest.raises(WeightError, match="the saved states of the random generators cannot be used .* are of ano"):
            restore_generators({**state, name: value})
        assert global_states() == before
        with pytest.raises(WeightError, match="KeyError"):
            restore_generators({part: state[part] for part in state if part != name})
        assert global_states() == before

    @pytest.mark.parametrize(("saved", "there"), [(0, 0), (2, 0), (2, 1), (2, 2), (1, 3)])
    def test_gpus_that_both_machines_have_are_restored(self, saved, there, monkeypatch, keep_global_states):
        put = {}
        monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
        monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: put.update({device: state}))
        states = [torch.full((16,), number, dtype=torch.uint8) for number in range(saved)]
        restore_generators({**generator_states(), "cuda": states})
        assert {device: state[0].item() for device, state in put.items()} == {n: n for n in range(min(saved, there))}

    def test_gpus_in_use_are_kept(self, monkeypatch):
        states = [torch.zeros(16, dtype=torch.uint8)] * 2
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
        assert generator_states()["cuda"] == []
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        assert generator_states()["cuda"] == states

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu(self, keep_global_states):
        torch.rand(3, device="cuda")
        state = written_and_read(generator_states())
        wanted = torch.rand(5, device="cuda")
        restore_generators(state)
        assert torch.equal(torch.rand(5, device="cuda"), wanted)


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_generators_are_kept_whatever_is_drawn_and_however_it_ends(error):
    def draw() -> tuple:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    wanted = draw()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    with contextlib.suppress(KeyError, KeyboardInterrupt), generators_kept():
        draw(), torch.manual_seed(9)
        if error:
            raise error
    assert draw() == wanted
