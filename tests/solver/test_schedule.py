"""Learning rates against published values, hand-worked cases and properties."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.config import get_cfg
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.solver.schedule import (
    Schedule,
    base_lr_from_config,
    cosine,
    steps_with_relative_lrs,
    warm_restart,
)

REFERENCE = json.loads((Path(__file__).parent.parent / "data" / "optimizer.json").read_text())["lr_at_epoch"]

PUBLISHED = Schedule(
    policy="cosine",
    base_lr=2e-4,
    max_epoch=100,
    warmup_epochs=10,
    warmup_start_lr=1e-6,
    cosine_end_lr=1e-6,
    cosine_after_warmup=True,
)


@pytest.mark.parametrize("epoch", REFERENCE)
def test_published_rates(epoch):
    assert PUBLISHED(float(epoch)) == pytest.approx(REFERENCE[epoch], rel=1e-12)


@pytest.mark.parametrize("epoch", REFERENCE)
def test_published_rates_from_a_configuration(epoch):
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 2e-4
    cfg.SOLVER.MAX_EPOCH = 100
    cfg.SOLVER.WARMUP_EPOCHS = 10.0
    cfg.SOLVER.WARMUP_START_LR = 1e-6
    cfg.SOLVER.COSINE_END_LR = 1e-6
    cfg.SOLVER.COSINE_AFTER_WARMUP = True
    cfg.SOLVER.LR_POLICY = "cosine"
    assert Schedule.from_config(cfg)(float(epoch)) == pytest.approx(REFERENCE[epoch], rel=1e-12)


def test_base_rate_is_scaled_by_the_machines_only_where_asked():
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 1e-4
    cfg.SOLVER.WARMUP_EPOCHS = 5.0
    cfg.SOLVER.WARMUP_START_LR = 1e-6
    cfg.SOLVER.COSINE_END_LR = 1e-7
    cfg.NUM_SHARDS = 4
    cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS = False
    assert Schedule.from_config(cfg)(5) == 1e-4
    cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS = True
    scaled = Schedule.from_config(cfg)
    assert scaled(5) == 4e-4
    assert scaled(0) == 1e-6
    assert scaled(cfg.SOLVER.MAX_EPOCH) == pytest.approx(1e-7, rel=1e-12)


@given(
    batch=st.integers(1, 512), shards=st.integers(1, 16), reference=st.integers(1, 512), scale_num_shards=st.booleans()
)
def test_base_rate_goes_with_the_batch_really_used(batch, shards, reference, scale_num_shards):
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.BASE_LR_BATCH = 1e-4, reference
    cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS = scale_num_shards  # already in the number of videos: no factor of its own
    cfg.TRAIN.BATCH_SIZE, cfg.NUM_SHARDS = batch, shards
    expected = 1e-4 * batch * shards / reference
    assert base_lr_from_config(cfg) == pytest.approx(expected, rel=1e-12)
    cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.WARMUP_START_LR, cfg.SOLVER.COSINE_END_LR = 5.0, 1e-6, 1e-7
    schedule = Schedule.from_config(cfg)
    assert schedule(5) == pytest.approx(expected, rel=1e-12)
    assert schedule(0) == 1e-6
    assert schedule(cfg.SOLVER.MAX_EPOCH) == pytest.approx(1e-7, rel=1e-9)


def test_without_a_reference_batch_the_rate_is_left_alone():
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR, cfg.TRAIN.BATCH_SIZE = 3e-4, 7
    assert base_lr_from_config(cfg) == 3e-4


def test_steps_from_a_configuration():
    cfg = get_cfg()
    cfg.SOLVER.LR_POLICY = "steps_with_relative_lrs"
    cfg.SOLVER.BASE_LR = 0.5
    cfg.SOLVER.STEPS = [0, 10]
    cfg.SOLVER.LRS = [1.0, 0.1]
    schedule = Schedule.from_config(cfg)
    assert [schedule(epoch) for epoch in (0, 9.999, 10, 50)] == [0.5, 0.5, 0.05, 0.05]


def test_cosine_at_its_quarters():
    # cos(0), cos(pi/3), cos(pi/2), cos(2pi/3), cos(pi) = 1, 1/2, 0, -1/2, -1
    for epoch, share in [(0, 1.0), (2, 0.75), (3, 0.5), (4, 0.25), (6, 0.0)]:
        value = cosine(epoch, base_lr=11.0, end_lr=1.0, max_epoch=6)
        assert value == pytest.approx(1.0 + 10.0 * share, rel=1e-12), epoch


def test_cosine_stays_at_its_ends():
    assert cosine(7.0, base_lr=2.0, end_lr=0.5, max_epoch=6) == pytest.approx(0.5)
    assert cosine(1.0, base_lr=2.0, end_lr=0.5, max_epoch=6, offset=2.0) == 2.0


@pytest.mark.parametrize("offset", [6.0, 8.0])
def test_cosine_without_room_is_the_base_rate(offset):
    assert cosine(offset, base_lr=2.0, end_lr=0.5, max_epoch=6, offset=offset) == 2.0


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1.0), (29.99, 1.0), (30, 0.1), (59, 0.1), (60, 0.01), (100, 0.01), (1000, 0.01)]
)
def test_steps(epoch, factor):
    assert steps_with_relative_lrs(epoch, base_lr=2.0, steps=[0, 30, 60], lrs=[1.0, 0.1, 0.01]) == 2.0 * factor


def test_no_warmup_begins_at_the_base_rate():
    assert Schedule(policy="cosine", base_lr=0.3, max_epoch=10)(0) == 0.3


def test_a_cosine_hidden_by_the_warmup_is_met_on_its_way_down():
    schedule = Schedule("cosine", 1.0, 8, warmup_epochs=4, warmup_start_lr=0.1, cosine_after_warmup=False)
    assert schedule(0) == 0.1
    assert schedule(2) == pytest.approx((0.1 + 0.5) / 2)  # halfway up to cosine(4 of 8) = 0.5
    assert schedule(4) == pytest.approx(0.5)
    assert schedule(8) == pytest.approx(0.0, abs=1e-15)


def test_a_warmup_into_a_step_rises_to_that_step():
    schedule = Schedule("steps_with_relative_lrs", 1.0, 8, warmup_epochs=4, steps=(0, 4), lrs=(1.0, 0.5))
    assert [schedule(epoch) for epoch in (0, 2, 4, 7)] == [0.0, 0.25, 0.5, 0.5]


@pytest.mark.parametrize("warmup", [2.0, 10.0])
def test_a_run_that_is_all_warmup_only_rises(warmup):
    schedule = Schedule("cosine", 1.0, 2, warmup_epochs=warmup, cosine_end_lr=0.01)
    assert schedule(0) == 0.0
    assert schedule(1) == pytest.approx(1 / warmup)
    assert schedule(1.999) == pytest.approx(1.999 / warmup)


rates = st.floats(1e-6, 1.0)


@given(base=rates, end=st.floats(0.0, 1.0), start=rates, warmup=st.floats(0.0, 30.0), epoch=st.floats(0.0, 50.0))
def test_the_rate_stays_between_its_extremes(base, end, start, warmup, epoch):
    schedule = Schedule("cosine", base, 50, warmup_epochs=warmup, warmup_start_lr=start, cosine_end_lr=end * base)
    low, high = min(start, end * base), max(start, base)
    assert low * (1 - 1e-9) <= schedule(epoch) <= high * (1 + 1e-9)


@given(warmup=st.floats(0.5, 30.0), after=st.booleans())
def test_the_warmup_meets_the_policy_without_a_jump(warmup, after):
    schedule = Schedule("cosine", 1.0, 50, warmup_epochs=warmup, cosine_after_warmup=after)
    assert schedule(math.nextafter(warmup, 0)) == pytest.approx(schedule(warmup), rel=1e-9)


def test_an_unknown_policy_lists_the_known_ones():
    with pytest.raises(ConfigError) as raised:
        Schedule("cosin", 1.0, 10)
    assert str(raised.value) == "SOLVER.LR_POLICY 'cosin' is unknown; known: cosine, steps_with_relative_lrs"


@pytest.mark.parametrize(("steps", "lrs"), [((), ()), ((0, 3), (1.0,)), ((0,), (1.0, 0.1))])
def test_steps_without_their_factors(steps, lrs):
    with pytest.raises(ConfigError) as raised:
        Schedule("steps_with_relative_lrs", 1.0, 10, steps=steps, lrs=lrs)
    assert str(raised.value) == (
        f"SOLVER.STEPS has {len(steps)} entries and SOLVER.LRS has {len(lrs)}; SOLVER.LR_POLICY "
        "'steps_with_relative_lrs' needs one factor in LRS for each epoch in STEPS, at least one"
    )


@pytest.mark.parametrize("steps", [(1, 2), (0, 5, 5), (0, 7, 3)])
def test_steps_that_do_not_rise_from_zero(steps):
    with pytest.raises(ConfigError) as raised:
        Schedule("steps_with_relative_lrs", 1.0, 10, steps=steps, lrs=(1.0,) * len(steps))
    assert str(raised.value) == (
        f"SOLVER.STEPS {list(steps)} must be rising epochs, the first 0, for example [0, 30, 60]"
    )


class TestRestarts:
    """Warm restarts (Loshchilov and Hutter, 2017)."""

    @pytest.mark.parametrize(
        ("epoch", "cycle"),
        [(0, (0, 10)), (9.99, (0, 10)), (10, (10, 30)), (29.5, (10, 30)), (30, (30, 70)), (70, (70, 150))],
    )
    def test_cycles_that_double(self, epoch, cycle):
        assert warm_restart(epoch, length=10, factor=2) == cycle

    @pytest.mark.parametrize(
        ("epoch", "cycle"), [(0, (3, 7)), (3, (3, 7)), (6.9, (3, 7)), (7, (7, 11)), (103, (103, 107))]
    )
    def test_equal_cycles_from_an_offset(self, epoch, cycle):
        assert warm_restart(epoch, length=4, offset=3) == cycle

    @given(
        epoch=st.floats(0, 200),
        length=st.floats(0.05, 300),
        factor=st.sampled_from([1.0, 1 + 2**-52, 1.1, 1.5, 2.0, 7.0]),
        offset=st.floats(0, 50),
    )
    def test_every_epoch_is_in_one_cycle_and_lengths_are_a_geometric_series(self, epoch, length, factor, offset):
        begin, end = warm_restart(epoch, length=length, factor=factor, offset=offset)
        assert end > epoch
        assert begin <= max(epoch, offset) * (1 + 1e-12)
        past = 0
        start = offset
        while start + length * factor**past < begin + 1e-7 * length:
            start += length * factor**past
            past += 1
        assert begin == pytest.approx(start, rel=1e-9, abs=1e-9)
        assert end - begin == pytest.approx(length * factor**past, rel=1e-6)

    def test_the_rate_of_a_run(self):
        schedule = Schedule(
            "cosine",
            1.0,
            40,
            warmup_epochs=2,
            warmup_start_lr=0.1,
            cosine_end_lr=0.2,
            restart_epochs=10,
            restart_factor=2,
        )
        assert schedule(0) == 0.1
        assert schedule(1) == pytest.approx(0.55)
        assert schedule(2) == 1.0
        assert schedule(7) == pytest.approx(0.6)
        assert schedule(11.9999) == pytest.approx(0.2, abs=1e-6)
        assert schedule(12) == 1.0
        assert schedule(22) == pytest.approx(0.6)
        assert schedule(32) == 1.0
        cut = 0.2 + 0.8 * (1 + math.cos(math.pi * 8 / 40)) / 2  # the third cycle would be 40 epochs long
        assert schedule(40) == schedule(99) == pytest.approx(cut)

    @pytest.mark.parametrize("factor", [1.0, 3.0])
    def test_a_training_that_ends_with_a_cycle_ends_at_the_end_rate(self, factor):
        schedule = Schedule("cosine", 1.0, 40, cosine_end_lr=0.2, restart_epochs=10, restart_factor=factor)
        assert schedule(40) == schedule(50) == pytest.approx(0.2)
        assert schedule(10) == 1.0

    def test_cycles_begin_where_the_cosine_does(self):
        options = {"warmup_epochs": 4, "restart_epochs": 10}
        assert Schedule("cosine", 1.0, 40, **options)(14) == 1.0
        hidden = Schedule("cosine", 1.0, 40, cosine_after_warmup=False, **options)
        assert hidden(10) == 1.0
        assert hidden(4) == pytest.approx(cosine(4, base_lr=1.0, end_lr=0.0, max_epoch=10))

    @given(
        epoch=st.floats(0, 60),
        warmup=st.floats(0, 30),
        after=st.booleans(),
        length=st.floats(0.5, 60),
        factor=st.floats(1, 4),
    )
    def test_the_rate_is_that_of_a_single_cosine_over_its_cycle(self, epoch, warmup, after, length, factor):
        schedule = Schedule(
            "cosine",
            1.0,
            50,
            warmup_epochs=warmup,
            cosine_end_lr=0.1,
            cosine_after_warmup=after,
            restart_epochs=length,
            restart_factor=factor,
        )
        rate = schedule(epoch)
        assert 0 <= rate <= 1 + 1e-12
        if epoch >= max(warmup, 0.0) and epoch < 50:
            begin, end = warm_restart(epoch, length=length, factor=factor, offset=warmup if after else 0.0)
            assert rate == cosine(epoch, base_lr=1.0, end_lr=0.1, max_epoch=end, offset=begin)

    @given(epoch=st.floats(0, 60), warmup=st.floats(0, 60), after=st.booleans())
    def test_without_restarts_and_with_one_cycle_over_all_nothing_is_new(self, epoch, warmup, after):
        plain = Schedule("cosine", 2e-4, 50, warmup_epochs=warmup, cosine_end_lr=1e-6, cosine_after_warmup=after)
        options = {"warmup_epochs": warmup, "cosine_end_lr": 1e-6, "cosine_after_warmup": after}
        assert Schedule("cosine", 2e-4, 50, restart_epochs=0.0, restart_factor=3.0, **options)(epoch) == plain(epoch)
        whole = 50.0 - (warmup if after else 0.0)
        if whole > 0:
            one = Schedule("cosine", 2e-4, 50, restart_epochs=whole, **options)
            assert one(epoch) == pytest.approx(plain(epoch), rel=1e-9)

    def test_from_a_configuration(self):
        cfg = get_cfg()
        cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.COSINE_END_LR = 1.0, 30, 0.0
        assert Schedule.from_config(cfg)(10) == cosine(10, base_lr=1.0, end_lr=0.0, max_epoch=30)
        cfg.SOLVER.COSINE_RESTART_EPOCHS, cfg.SOLVER.COSINE_RESTART_FACTOR = 5.0, 2.0
        schedule = Schedule.from_config(cfg)
        assert (schedule.restart_epochs, schedule.restart_factor) == (5.0, 2.0)
        assert schedule(10) == pytest.approx(0.5) and schedule(15) == 1.0
