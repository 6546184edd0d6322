"""Normalising, erasing and mixing: values, and draws that depend on the place in the run alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uniformer_video.config import load_config
from uniformer_video.datasets.loader import Batch
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.transforms.clip import normalize
from uniformer_video.transforms.mixup import Mixup

CPU = torch.device("cpu")
MEAN, STD = [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]


def batch_of(places, epoch=2, size=16):
    """Return a batch of clips whose pixels are a function of (record, part); labels are record % 4."""
    clips = [
        torch.from_numpy(np.random.default_rng(list(p)).integers(0, 256, (3, 2, size, size), np.uint8)) for p in places
    ]
    records, parts = (torch.tensor(column) for column in zip(*places, strict=True))
    return Batch(torch.stack(clips), records % 4, records, parts, epoch)


def inputs(**options):
    return DeviceInputs(mean=MEAN, std=STD, num_classes=4, **options)


def expected_pixels(clips):
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1, 1) for v in (MEAN, STD))
    return (clips.double() / 255 - mean) / std


PLACES = [(3, 0), (3, 1), (9, 0), (9, 1), (14, 0), (14, 1)]


def test_normalised_pixels():
    batch = batch_of(PLACES)
    before = batch.clips.clone()
    out = inputs().normalized(batch.clips, CPU)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected_pixels(batch.clips), atol=2e-6, rtol=1e-6)
    assert torch.equal(batch.clips, before)


@pytest.mark.parametrize("inference", [False, True])
def test_channels_come_last_in_memory_with_the_same_bits(inference):
    batch, maker = batch_of(PLACES), inputs()
    for _ in range(2):  # the second time with constants that are there already
        with torch.inference_mode(inference):
            out = maker.normalized(batch.clips, CPU)
        assert out.permute(0, 2, 3, 4, 1).is_contiguous()
        assert torch.equal(out, normalize(batch.clips, MEAN, STD))
    assert torch.equal(maker.normalized(batch.clips[:1], CPU), out[:1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_plain_training_inputs(smoothing):
    batch = batch_of(PLACES)
    maker = inputs(label_smoothing=smoothing)
    clips, targets = maker.train(batch, CPU)
    assert torch.equal(clips, maker.normalized(batch.clips, CPU))
    expected = torch.full((6, 4), smoothing / 4)
    expected[range(6), batch.labels] += 1 - smoothing
    torch.testing.assert_close(targets, expected)


def test_plain_labels_for_a_plain_loss():
    batch = batch_of(PLACES)
    clips, targets = inputs(soft_targets=False, label_smoothing=0.1).train(batch, CPU)
    assert targets.dtype == torch.int64 and torch.equal(targets, batch.labels)
    assert clips.shape == batch.clips.shape


SEVERAL = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]])


def batch_of_several():
    batch = batch_of(PLACES)
    batch.labels = SEVERAL.clone()
    return batch


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_several_labels(smoothing):
    clips, targets = inputs(label_smoothing=smoothing, multi_label=True).train(batch_of_several(), CPU)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, SEVERAL * (1 - smoothing) + smoothing / 4)
    assert clips.shape == (6, 3, 2, 16, 16)


def test_several_labels_are_mixed():
    maker = inputs(mixup=mixer(switch_probability=0.0, label_smoothing=0.0), multi_label=True, seed=3)
    clips, targets = maker.train(batch_of_several(), CPU)
    plain, _ = inputs().train(batch_of(PLACES), CPU)
    weight = float(targets[0, 3])  # the last clip, its partner, has the first class too and the fourth not
    assert 0 < weight < 1 and targets[0, 0] == 1
    torch.testing.assert_close(targets, weight * SEVERAL + (1 - weight) * SEVERAL.flip(0))
    torch.testing.assert_close(clips, weight * plain + (1 - weight) * plain.flip(0), atol=1e-5, rtol=1e-4)


def erased(clips, batch):
    """Return which clips differ from the plain ones, and where (all frames and channels alike)."""
    changed = clips != inputs().normalized(batch.clips, CPU)
    return changed.flatten(1).any(1), changed.flatten(1, 2).any(1)


def test_erasing_puts_one_box_into_every_frame():
    batch = batch_of(PLACES)
    clips, _ = inputs(erase_probability=1.0, erase_mode="const").train(batch, CPU)
    which, where = erased(clips, batch)
    assert which.all()
    for clip, mask in zip(clips, where, strict=True):
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        assert (clip[:, :, box[0], box[1]] == 0).all()  # the mean colour
        assert mask.sum() == len(rows) * len(columns)
        assert 0.01 < mask.sum() / mask.numel() < 0.4


def test_an_erased_clip_depends_on_its_record_and_repeat_not_on_its_batch():
    maker = inputs(erase_probability=0.5, seed=5)
    whole, _ = maker.train(batch_of(PLACES), CPU)
    shuffled = [PLACES[i] for i in (4, 1, 0, 5)]
    part, _ = maker.train(batch_of(shuffled), CPU)
    for place, clip in zip(shuffled, part, strict=True):
        assert torch.equal(clip, whole[PLACES.index(place)])


def test_erasing_depends_on_seed_and_epoch():
    places = [(record, part) for record in range(20) for part in range(2)]

    def pattern(seed, epoch):
        batch = batch_of(places, epoch)
        return erased(inputs(erase_probability=0.5, seed=seed).train(batch, CPU)[0], batch)[0].tolist()

    assert pattern(1, 1) == pattern(1, 1)
    assert len({tuple(pattern(*p)) for p in [(1, 1), (1, 2), (2, 1), (2, 2)]}) == 4
    assert 10 < sum(pattern(1, 1)) < 30  # about half of 40
    # Repeats of one record are drawn apart.
    flags = pattern(1, 1)
    assert any(flags[n] != flags[n + 1] for n in range(0, 40, 2))


def mixer(**options):
    options = {"probability": 1.0, "switch_probability": 0.5, "label_smoothing": 0.1, "num_classes": 4} | options
    return Mixup(alpha=0.8, cutmix_alpha=1.0, **options)


def test_mixing_is_one_draw_for_a_batch_after_erasing():
    batch = batch_of(PLACES)
    maker = inputs(mixup=mixer(switch_probability=0.0), erase_probability=1.0, erase_mode="const", seed=3)
    clips, targets = maker.train(batch, CPU)
    plain, _ = inputs(erase_probability=1.0, erase_mode="const", seed=3).train(batch, CPU)
    # The weight can be told from the targets: 1 - s + s / K at the label, plus what the partner gives.
    own, partner = batch.labels, batch.labels.flip(0)
    apart = int((own != partner).nonzero()[0])
    weight = float(targets[apart, own[apart]] - 0.025) / 0.9
    assert 0 < weight < 1
    expected = torch.full((6, 4), 0.025)
    for row in range(6):
        expected[row, own[row]] += 0.9 * weight
        expected[row, partner[row]] += 0.9 * (1 - weight)
    torch.testing.assert_close(targets, expected)
    torch.testing.assert_close(clips, weight * plain + (1 - weight) * plain.flip(0), atol=1e-5, rtol=1e-4)


def test_mixing_depends_on_seed_epoch_and_the_first_clip_of_the_batch():
    def targets(seed=3, epoch=2, places=PLACES):
        return inputs(mixup=mixer(), seed=seed).train(batch_of(places, epoch), CPU)[1]

    base = targets()
    assert torch.equal(targets(), base)
    assert not torch.equal(targets(seed=4), base)
    assert not torch.equal(targets(epoch=3), base)
    # Another first record, the same labels: another draw.
    assert not torch.equal(targets(places=[(7, 0), *PLACES[1:]]), base)


def test_draws_leave_the_global_generators_alone():
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    inputs(mixup=mixer(), erase_probability=1.0).train(batch_of(PLACES), CPU)
    assert torch.equal(torch.get_rng_state(), state[0]) and np.random.get_state()[1].tolist() == state[1]


def test_from_config():
    maker = DeviceInputs.from_config(
        load_config(
            None,
            [
                *("DATA.MEAN", "[0.1, 0.2, 0.3]", "DATA.STD", "[1, 2, 3]", "MODEL.NUM_CLASSES", "7", "RNG_SEED", "11"),
                *("AUG.ENABLE", "True", "AUG.RE_PROB", "0.3", "AUG.RE_MODE", "rand", "AUG.RE_COUNT", "2"),
                *("MIXUP.ENABLE", "True", "MIXUP.ALPHA", "0.5", "MIXUP.CUTMIX_ALPHA", "0", "MIXUP.PROB", "0.9"),
                *("MIXUP.SWITCH_PROB", "0.2", "MIXUP.LABEL_SMOOTH_VALUE", "0.05"),
            ],
        )
    )
    assert (maker.mean, maker.std, maker.num_classes, maker.seed) == ([0.1, 0.2, 0.3], [1, 2, 3], 7, 11)
    assert maker.erase == (0.3, "rand", 2)
    assert maker.mixup == Mixup(0.5, 0.0, 0.9, 0.2, 0.05, 7)
    assert (maker.soft_targets, maker.label_smoothing) == (True, 0.05)


@pytest.mark.parametrize(
    ("loss", "soft"), [("bce_logit", True), ("soft_cross_entropy", True), ("cross_entropy", False)]
)
def test_targets_follow_the_loss(loss, soft):
    maker = DeviceInputs.from_config(load_config(None, ["MODEL.LOSS_FUNC", loss]))
    assert (maker.soft_targets, maker.multi_label) == (soft, False)


def test_several_labels_from_config():
    maker = DeviceInputs.from_config(load_config(None, ["MODEL.LOSS_FUNC", "bce_logit", "DATA.MULTI_LABEL", "True"]))
    assert (maker.soft_targets, maker.multi_label) == (True, True)


def test_from_config_with_everything_off():
    maker = DeviceInputs.from_config(load_config(None, ["MODEL.LOSS_FUNC", "cross_entropy", "AUG.RE_PROB", "0.3"]))
    assert maker.mixup is None
    assert maker.erase[0] == 0.0  # AUG.ENABLE is off
    assert maker.soft_targets is False
