"""Where a training begins: the place in an epoch, generators, and checkpoints that are not this run's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.engine import resume
from uniformer_video.engine.checkpoint import Checkpoint
from uniformer_video.engine.resume import Resumption
from uniformer_video.runtime.seed import generator_states


def made(**fields) -> Resumption:
    checkpoint = Checkpoint(2, {}, {}, "", **fields)
    return Resumption("c.pyth", checkpoint, own=True)


@given(steps=st.integers(1, 500), share=st.floats(0, 1))
def test_of_the_same_length_the_step_is_the_step(steps, share):
    done = round(share * steps)
    assert made(step=done, steps=steps).step(steps) == done


@given(before=st.integers(1, 500), steps=st.integers(1, 500), share=st.floats(0, 1))
def test_of_another_length_it_is_the_same_share_and_never_beyond_the_end(before, steps, share):
    done = round(share * before)
    moved = made(step=done, steps=before).step(steps)
    assert 0 <= moved <= steps
    assert abs(moved / steps - done / before) <= 0.5 / steps + 1e-9
    if done == before:
        assert moved == steps


def test_a_file_that_does_not_say_the_length_keeps_the_step(log):
    assert made(step=7).step(10) == 7
    assert made(step=7).step(5) == 5
    assert log == []


def test_the_states_of_the_own_process_are_restored(monkeypatch):
    states = []
    for number in (3, 4):
        torch.manual_seed(number)
        states.append(generator_states())
    torch.manual_seed(4)
    wanted = torch.rand(3)
    monkeypatch.setattr(resume.distributed, "rank", lambda: 1)
    monkeypatch.setattr(resume.distributed, "world_size", lambda: 2)
    made(generators=states, world=2).restore_generators()
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("fields", [{"world": 3}, {"world": 1}])
def test_without_a_state_for_this_process_nothing_is_restored(fields, log):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    states = [generator_states() for _ in range(fields["world"])] if fields["world"] > 1 else []
    torch.manual_seed(11)
    made(generators=states, **fields).restore_generators()
    assert torch.equal(torch.get_rng_state(), before)
    assert bool(log) == (fields["world"] > 1)  # another number of processes is said
