"""Windows along a video: where they lie, which frames they see, and that nothing else is held."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.predicting import test_videos, write_network
from tests.helpers import barcode_frames, moving_square, write_damaged, write_video
from uniformer_video.engine import stream
from uniformer_video.engine.predictor import Predictor
from uniformer_video.engine.stream import SEGMENT_SECONDS, window_clips, window_starts
from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms.clip import ViewTransform
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.sampling import DenseSampler, SegmentSampler


@pytest.fixture(scope="module")
def predictor(toy_set, tmp_path_factory):
    return Predictor.from_checkpoint(write_network(toy_set, tmp_path_factory.mktemp("net") / "n.pyth"), device="cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Return the path of 50 frames at 10 a second and the frames as they are decoded."""
    path = str(write_video(tmp_path_factory.mktemp("v") / "long.mp4", moving_square(50), fps=10, b_frames=2))
    with open_video(path) as reader:
        return path, reader.frames_at(range(50))


class TestWindowStarts:
    @pytest.mark.parametrize(
        ("length", "span", "step", "starts"),
        [
            (10, 4, 2, [0, 2, 4, 6]),
            (11, 4, 2, [0, 2, 4, 6, 7]),
            (10, 10, 5, [0]),
            (3, 10, 5, [0]),
            (11, 10, 5, [0, 1]),
            (20, 2, 8, [0, 8, 16, 18]),
            (1, 1, 1, [0]),
        ],
    )
    def test_where_they_lie(self, length, span, step, starts):
        assert window_starts(length, span, step) == starts

    @given(st.integers(1, 400), st.integers(1, 100), st.integers(1, 50))
    def test_they_rise_and_cover_the_video_where_they_overlap(self, length, span, step):
        starts = window_starts(length, span, step)
        assert starts[0] == 0
        assert starts == sorted(set(starts))
        assert starts[-1] == max(length - span, 0)
        assert all(later - earlier <= step for earlier, later in zip(starts, starts[1:], strict=False))
        assert len(starts) <= max(length - span, 0) // step + 2


class TestWindowClips:
    @given(
        st.integers(1, 60),
        st.integers(1, 30),
        st.integers(1, 20),
        st.sampled_from([DenseSampler(4, 2), DenseSampler(3, 1), SegmentSampler(5), DenseSampler(4, 9)]),
    )
    def test_the_ring_gives_what_direct_decoding_would(self, length, span, step, sampler):
        frames = np.arange(length, dtype=np.uint8)[:, None, None, None].repeat(3, -1).repeat(2, 1).repeat(2, 2)
        starts = window_starts(length, span, step)
        span = min(span, length)
        clips = list(window_clips(iter(frames), starts, span, sampler, ViewTransform(crop_size=2, crops=1)))
        assert len(clips) == len(starts)
        for start, clip in zip(starts, clips, strict=True):
            wanted = start + sampler.view(span, 0, 1)
            assert clip.shape == (1, 3, sampler.num_frames, 2, 2)
            assert clip[0, 0, :, 0, 0].tolist() == wanted.tolist()

    def test_frames_are_resized_and_cut_as_in_the_test(self):
        frames = torch.from_numpy(barcode_frames(20, 48, 96))
        transform, sampler = ViewTransform(crop_size=24, crops=3), DenseSampler(4, 2)
        (first, second) = window_clips((f.numpy() for f in frames), [0, 7], 8, sampler, transform)
        for start, clip in ((0, first), (7, second)):
            resized = transform.resize(frames[start + sampler.view(8, 0, 1)])
            assert torch.equal(clip, torch.stack([transform(resized, crop) for crop in range(3)]))

    def test_no_more_is_read_or_resized_than_is_needed(self):
        class Counting(ViewTransform):
            resized = 0

            def resize(self, frames):
                self.resized += len(frames)
                return super().resize(frames)

        read = []

        def pictures():
            for number in range(1000):
                read.append(number)
                yield np.full((2, 2, 3), number % 250, np.uint8)

        transform = Counting(crop_size=2, crops=1)
        clips = list(window_clips(pictures(), [0, 100, 200], 40, DenseSampler(4, 10), transform))
        assert len(clips) == 3
        assert read[-1] == 239
        assert transform.resized == 12

    def test_memory_does_not_grow(self, monkeypatch):
        alive = []

        class Watching(ViewTransform):
            def resize(self, frames):
                import weakref

                out = super().resize(frames).clone()
                alive.append(weakref.ref(out))
                return out

        most = 0
        pictures = (np.zeros((4, 4, 3), np.uint8) for _ in range(600))
        for _ in window_clips(
            pictures, window_starts(600, 16, 4), 16, DenseSampler(4, 4), Watching(crop_size=4, crops=1)
        ):
            most = max(most, sum(ref() is not None for ref in alive))
        assert len(alive) > 300
        assert most <= 24

    def test_memory_that_is_used_again_does_no_harm(self):
        picture = np.zeros((2, 2, 3), np.uint8)

        def pictures():
            for number in range(8):
                picture[:] = number
                yield picture

        (clip,) = window_clips(pictures(), [0], 8, DenseSampler(4, 2), ViewTransform(crop_size=2, crops=1))
        assert clip[0, 0, :, 0, 0].tolist() == [0, 2, 4, 7]


def scored(predictor, frames):
    """Return the scores of one clip of frames, all crops, as the network gives them."""
    resized = predictor.transform.resize(frames)
    clips = torch.stack([predictor.transform(resized, crop) for crop in range(3)])
    with torch.no_grad():
        logits = predictor.model(predictor.inputs.normalized(clips, predictor.device))
    return logits.mean(0).softmax(0)


class TestStream:
    def test_each_window_is_what_the_network_says_of_its_frames(self, predictor, video):
        path, frames = video
        line = predictor.stream(path, window=1.2, stride=0.7)
        starts = [0, 7, 14, 21, 28, 35, 38]
        assert (line.starts * 10).round(6).tolist() == starts
        assert (line.ends * 10).round(6).tolist() == [start + 12 for start in starts]
        for start, scores in zip(starts, line.scores, strict=True):
            picked = frames[start + DenseSampler(4, 2).view(12, 0, 1)]
            torch.testing.assert_close(scores, scored(predictor, picked), rtol=1e-5, atol=1e-6)
        assert (line.path, line.num_frames, line.error) == (path, 50, "")
        assert (line.fps, line.seconds, line.window_seconds, line.stride_seconds) == pytest.approx((10, 5, 1.2, 0.7))

    def test_by_default_a_window_is_a_clip_and_half_of_it_the_stride(self, predictor, video):
        line = predictor.stream(video[0])
        assert (line.starts * 10).round(6).tolist() == [*range(0, 41, 4), 42]
        picked = video[1][4 + DenseSampler(4, 2).view(8, 0, 1)]
        torch.testing.assert_close(line.scores[1], scored(predictor, picked), rtol=1e-5, atol=1e-6)

    def test_a_window_as_long_as_the_video_is_its_prediction_with_one_clip(self, toy_set, predictor, video, tmp_path):
        one = Predictor.from_checkpoint(write_network(toy_set, tmp_path / "n.pyth"), device="cpu", clips=1)
        for window in (5.0, 60.0):
            line = predictor.stream(video[0], window=window)
            assert len(line) == 1
            assert torch.equal(line.scores[0], one.predict(video[0]).scores)
            assert (line.starts[0], line.ends[0]) == (0, pytest.approx(5))

    def test_a_video_shorter_than_a_clip(self, predictor, tmp_path):
        path = write_video(tmp_path / "short.mp4", moving_square(3), fps=10)
        line = predictor.stream(path)
        assert len(line) == 1
        assert line.ends.tolist() == pytest.approx([0.3])
        assert line.window_seconds == pytest.approx(0.8)

    def test_a_clip_that_spans_whole_videos_has_windows_of_a_few_seconds(self, toy_set, tmp_path, video):
        network = write_network(toy_set, tmp_path / "n.pyth", "TEST.DATASET", "ssv2")
        line = Predictor.from_checkpoint(network, device="cpu").stream(video[0])
        assert line.window_seconds == SEGMENT_SECONDS
        assert (line.starts * 10).round(6).tolist() == [0, 10]

    def test_frames_in_memory(self, predictor, video):
        path, frames = video
        of_file, of_frames = predictor.stream(path, window=1), predictor.stream(frames, window=1, fps=10)
        assert torch.equal(of_file.scores, of_frames.scores)
        np.testing.assert_allclose(of_file.starts, of_frames.starts)

    def test_batches_change_nothing(self, toy_set, tmp_path, predictor, video):
        one = Predictor.from_checkpoint(write_network(toy_set, tmp_path / "n.pyth"), device="cpu", batch=1)
        torch.testing.assert_close(one.stream(video[0]).scores, predictor.stream(video[0]).scores, rtol=1e-5, atol=1e-6)

    def test_each_frame_is_decoded_once_in_order(self, predictor, video, monkeypatch):
        real, seen = stream.iterate_frames, []

        def counted(path, **options):
            for number, frame in enumerate(real(path, **options)):
                seen.append(number)
                yield frame

        monkeypatch.setattr(stream, "iterate_frames", counted)
        predictor.stream(video[0], window=1, stride=0.2)
        assert seen == list(range(49))  # the last clip, in the middle of its window, does not need frame 49

    def test_a_rate_in_time(self, toy_set, tmp_path, video):
        network = write_network(toy_set, tmp_path / "n.pyth", "DATA.TARGET_FPS", "5")
        predictor = Predictor.from_checkpoint(network, device="cpu")
        line = predictor.stream(video[0], window=2, stride=1)
        assert (line.fps, line.num_frames) == (5, 25)
        assert line.starts.tolist() == pytest.approx([0, 1, 2, 3])
        picked = video[1][::2][5 + DenseSampler(4, 2).view(10, 0, 1)]
        torch.testing.assert_close(line.scores[1], scored(predictor, picked), rtol=1e-5, atol=1e-6)

    def test_a_variable_rate_tells_the_times_of_the_frames(self, predictor, tmp_path):
        pts = [0, 100, 200, 300, 400, 500, 600, 700, 1700, 2700, 3700, 4700, 5700, 6700, 7700, 8700]
        path = write_video(tmp_path / "v.mkv", moving_square(16), pts=pts)
        line = predictor.stream(path, window=8 / 1.75, stride=8 / 1.75)
        assert line.starts[0] == 0
        assert line.starts[1] == pytest.approx(pts[int(round(8 / 1.75 * line.fps))] / 1000)


class TestFaults:
    def test_a_video_that_breaks_off_keeps_what_was_seen(self, predictor, tmp_path):
        good = write_video(tmp_path / "good.mp4", moving_square(120), fps=10, gop=10)
        bad = write_damaged(tmp_path / "bad.mp4", good, 0.6, 0.7)
        line = predictor.stream(bad, window=1, stride=1)
        whole = predictor.stream(good, window=1, stride=1)
        assert "cannot be decoded" in line.error
        assert 0 < len(line) < len(whole)
        torch.testing.assert_close(line.scores, whole.scores[: len(line)], rtol=1e-5, atol=1e-6)
        assert line.num_frames == 120

    def test_one_that_breaks_off_in_the_first_window_is_raised(self, predictor, tmp_path):
        good = write_video(tmp_path / "good.mp4", moving_square(120), fps=10, gop=10)
        with pytest.raises(DecodeError, match="cannot be decoded"):
            predictor.stream(write_damaged(tmp_path / "bad.mp4", good, 0.2, 0.3), window=11.5)

    def test_a_file_that_is_none(self, predictor, broken_video):
        with pytest.raises(DecodeError):
            predictor.stream(broken_video)

    def test_frames_that_end_too_soon(self, predictor, video, monkeypatch):
        real = stream.iterate_frames
        monkeypatch.setattr(stream, "iterate_frames", lambda *a, **k: list(real(*a, **k))[:20])
        line = predictor.stream(video[0], window=1, stride=1)
        assert line.error == "the video ends before frame 30 of 50"
        assert len(line) == 2
        with pytest.raises(DecodeError, match="the video ends before frame 50 of 50"):
            predictor.stream(video[0], window=5)

    @pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
    def test_lengths_that_are_none(self, predictor, toy_set, value):
        for name in ("window", "stride"):
            with pytest.raises(UserError, match=f"the {name} is .* seconds; it must be more than 0"):
                predictor.stream(test_videos(toy_set)[0], **{name: value})
