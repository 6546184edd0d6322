from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import PTS
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.array import ArrayReader
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError, ReaderBase
from uniformer_video.video.resample import ResampledReader, frame_step


class Stamped(ReaderBase):
    """A video of given times, whose frame k has the value k; notes what it is asked for."""

    path, size = "stamped.mkv", (2, 3)

    def __init__(self, times, fps=25.0):
        self.times, self.num_frames, self.fps, self.asked = np.asarray(times, float), len(times), fps, []

    @property
    def seconds(self):
        return self.times

    def frames_at(self, indices):
        self.asked.append(list(map(int, indices)))
        values = torch.tensor(self.asked[-1], dtype=torch.uint8)
        return values[:, None, None, None].expand(-1, 2, 3, 3).clone()


def constant(count: int, fps: float) -> Stamped:
    return Stamped(np.arange(count) / fps, fps)


def shown(reader: ResampledReader) -> list[int]:
    return reader.source_indices(range(reader.num_frames)).tolist()


def test_a_third_of_the_frames():
    reader = ResampledReader(constant(10, 30.0), 10)
    assert (reader.fps, reader.num_frames, reader.path, reader.size) == (10.0, 4, "stamped.mkv", (2, 3))
    assert shown(reader) == [0, 3, 6, 9]
    np.testing.assert_allclose(reader.seconds, [0, 0.1, 0.2, 0.3])


def test_twice_the_frames():
    assert shown(ResampledReader(constant(3, 10.0), 20)) == [0, 0, 1, 1, 2, 2]


def test_a_rate_that_does_not_divide():
    # 25 to 10: moments 0, 0.1, 0.2, ... lie in frames 0, 2.5, 5, ...
    assert shown(ResampledReader(constant(13, 25.0), 10)) == [0, 2, 5, 7, 10, 12]


def test_frames_of_a_variable_rate_fill_their_time():
    # Shown for 0.1, 0.3, 0.1 seconds and the last for the median, 0.1.
    assert shown(ResampledReader(Stamped([0, 0.1, 0.4, 0.5]), 10)) == [0, 1, 1, 1, 2, 3]


def test_one_frame():
    assert shown(ResampledReader(constant(1, 25.0), 25)) == [0]
    assert shown(ResampledReader(constant(1, 25.0), 100)) == [0, 0, 0, 0]
    assert shown(ResampledReader(constant(1, 25.0), 1)) == [0]


def test_at_least_one_frame():
    assert shown(ResampledReader(constant(5, 1000.0), 0.5)) == [0]


RATES = [1, 5, 10, 12, 15, 23.976, 24000 / 1001, 24, 25, 29.97, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60, 120, 240]


@given(st.sampled_from(RATES), st.integers(1, 3000), st.sampled_from([None, 1000, 90000, 600, 12800]), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_the_same_rate_is_the_identity_however_times_are_rounded(fps, count, unit, start):
    times = np.arange(count) / fps + start
    if unit and unit >= 4 * fps:
        times = np.round(times * unit) / unit
    assert shown(ResampledReader(Stamped(times - times[0], fps), fps)) == list(range(count))


@given(
    st.lists(st.floats(0.005, 0.5), min_size=0, max_size=60),
    st.floats(0.5, 120),
)
@settings(max_examples=300, deadline=None)
def test_every_moment_shows_the_frame_of_its_time(steps, target):
    times = np.concatenate([[0.0], np.cumsum(steps)])
    source = Stamped(times, 20.0)
    reader = ResampledReader(source, target)
    numbers = shown(reader)
    assert len(numbers) == reader.num_frames >= 1
    assert numbers[0] == 0
    assert all(0 <= a <= b < len(times) for a, b in zip(numbers, numbers[1:] + [len(times) - 1], strict=True))
    rounding = 1.75e-3 + 1e-9
    for moment, number in zip(reader.seconds, numbers, strict=True):
        assert times[number] <= moment + rounding
        assert number + 1 == len(times) or times[number + 1] > moment - 1e-9
    # Up to the end of the last frame, and not past it.
    end = times[-1] + frame_step(times, 20.0)
    assert reader.seconds[-1] < end
    assert reader.seconds[-1] + 1 / target >= end - 2 * rounding


@given(st.integers(1, 200), st.integers(1, 12), st.sampled_from([24, 25, 30, 60]))
def test_whole_fractions_take_every_nth_frame(count, factor, fps):
    reader = ResampledReader(constant(count, float(fps)), fps / factor)
    assert shown(reader) == list(range(0, count, factor))


@given(st.integers(1, 100), st.integers(1, 8), st.sampled_from([10, 24, 25, 30]))
def test_whole_multiples_repeat_every_frame(count, factor, fps):
    assert shown(ResampledReader(constant(count, float(fps)), fps * factor)) == [
        n for n in range(count) for _ in range(factor)
    ]


def test_each_source_frame_is_asked_for_once():
    source = constant(10, 10.0)
    reader = ResampledReader(source, 20)
    frames = reader.frames_at([19, 0, 1, 18, 0, 7])
    assert frames[:, 0, 0, 0].tolist() == [9, 0, 0, 9, 0, 3]
    assert source.asked == [[0, 3, 9]]


def test_identity_passes_frames_on():
    source = constant(10, 10.0)
    assert ResampledReader(source, 10).frames_at([1, 2, 5])[:, 0, 0, 0].tolist() == [1, 2, 5]
    assert source.asked == [[1, 2, 5]]


def test_no_indices():
    assert tuple(ResampledReader(constant(10, 10.0), 20).frames_at([]).shape) == (0, 2, 3, 3)


def test_indices_are_checked_against_the_new_count():
    reader = ResampledReader(constant(10, 10.0), 5)
    with pytest.raises(IndexError, match="^frame 5 of stamped.mkv, which has frames 0 to 4$"):
        reader.frames_at([5])


def test_closing_closes_the_video():
    source = constant(3, 10.0)
    with ResampledReader(source, 5) as reader:
        assert not source.closed
    assert source.closed
    assert (reader.num_frames, len(reader.seconds)) == (2, 2)
    with pytest.raises(AssertionError, match="closed reader"):
        reader.frames_at([0])


@pytest.mark.parametrize("target", [0, -5, float("nan"), float("inf")])
def test_a_rate_that_is_none(target):
    with pytest.raises(UserError, match=f"^a target rate of {target} frames each second; a number above 0 is wanted$"):
        ResampledReader(constant(3, 10.0), target)


# On files


@pytest.mark.parametrize("fps", [25, 30, 60, Fraction(30000, 1001), Fraction(24000, 1001)])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_files_of_this_rate_are_unchanged(tmp_path, fps, ending):
    codec = "mpeg4" if ending == "avi" else "libx264"
    path = str(write_video(tmp_path / f"a.{ending}", barcode_frames(50), fps=fps, codec=codec))
    with ResampledReader(PyAVReader(path), float(fps)) as reader:
        assert read_barcodes(reader.frames_at(range(reader.num_frames))) == list(range(50))


def test_a_variable_rate_is_evened_out(video):
    with ResampledReader(PyAVReader(video("variable.mkv")), 100) as reader:
        numbers = read_barcodes(reader.frames_at(range(reader.num_frames)))
    # The last frame lasts the median of all steps, 30 ms; 131 ms counts as 130, which no other moment shows.
    wanted = [max(i for i, time in enumerate(PTS) if time <= 10 * k + 1.75) for k in range(56)]
    assert numbers == wanted


def test_arrays_too():
    reader = ResampledReader(ArrayReader(barcode_frames(20), fps=20.0), 5)
    assert read_barcodes(reader.frames_at([4, 1, 1])) == [16, 4, 4]


def test_time_stamps_of_millions_of_years():
    damaged = Stamped([0, 1, 1.5e17])
    with pytest.raises(DecodeError, match="^stamped.mkv: 2.25e.17 seconds at 10 frames a second .* are damaged, or "):
        ResampledReader(damaged, 10)
    assert damaged.closed
    day = constant(10, 10 / 86400)
    assert ResampledReader(day, 60).num_frames == 86400 * 60
