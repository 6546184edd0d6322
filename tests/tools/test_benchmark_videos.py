"""Generated videos: their form, their lists, and that they are a function of their number."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tests.tools.test_benchmark import benchmark

assert benchmark, "puts the tools' folder on the path"
import benchmark_videos as videos  # noqa: E402

from uniformer_video.runtime.errors import UserError  # noqa: E402

SMALL = (64, 96)


def test_videos_are_h264_as_ffmpeg_writes_it(tmp_path):
    (path,) = videos.make_videos(tmp_path, 1, 1.5, 30, SMALL)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.frames) == ("h264", "yuv420p", 45)
        assert (stream.average_rate, stream.height, stream.width) == (30, *SMALL)
        frames = list(container.decode(stream))
    assert [frame.key_frame for frame in frames] == [True] + [False] * 44, "one group of pictures, up to 250 frames"
    # The encoder writes its settings into the stream.
    content = path.read_bytes()
    for setting in (b"rc=crf", b"crf=23.0", b"keyint=250", b"sliced_threads=0", b"subme=7", b"bframes=3"):
        assert setting in content


def test_pictures_are_textured_and_move():
    pictures = np.stack(list(videos.moving_pictures(0, 30, SMALL))).astype(np.float64)
    assert pictures.shape == (30, *SMALL, 3)
    assert pictures.std(axis=(1, 2)).min() > 15, "texture in each frame and channel"
    steps = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2, 3))
    assert steps.min() > 1 and steps.max() < 40, "each frame differs from the last, and little of it is new"
    # A picture has the spectrum of natural ones: neighbours are alike.
    assert np.corrcoef(pictures[0, :, :-1].ravel(), pictures[0, :, 1:].ravel())[0, 1] > 0.8


def test_a_video_is_a_function_of_its_number():
    one, again, two = (next(videos.moving_pictures(number, 5, SMALL)) for number in (1, 1, 2))
    assert np.array_equal(one, again)
    assert np.abs(one.astype(int) - two).mean() > 10


def test_lists(tmp_path):
    paths = videos.make_videos(tmp_path / "new", 5, 0.1, 30, SMALL, classes=3, validation=2)
    assert [path.name for path in paths] == [f"96x64_3at30_{number:03d}.mp4" for number in range(5)]
    lines = [f"{path.name} {label}" for path, label in zip(paths, (0, 1, 2, 0, 1), strict=True)]
    for split, wanted in (("train", lines), ("test", lines), ("val", lines[:2])):
        assert (tmp_path / "new" / f"{split}.csv").read_text().splitlines() == wanted
    assert sorted(p.suffix for p in (tmp_path / "new").iterdir()) == [".csv"] * 3 + [".mp4"] * 5, "nothing half-written"


def test_videos_of_an_earlier_call_are_kept(tmp_path):
    (path,) = videos.make_videos(tmp_path, 1, 0.1, 30, SMALL)
    path.write_bytes(b"kept")
    again = videos.make_videos(tmp_path, 2, 0.1, 30, SMALL)
    assert again[0].read_bytes() == b"kept" and again[1].stat().st_size > 100
    longer = videos.make_videos(tmp_path, 1, 0.2, 30, SMALL)
    assert longer[0] != path, "another length is another file"


def test_mistakes_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^--videos .* cannot be written \("):
        videos.make_videos(tmp_path / "file", 1, 0.1)
    monkeypatch.setattr(videos, "ENCODER", "none_such")
    with pytest.raises(UserError, match=r"^this FFmpeg has no encoder none_such; `pip install av` brings one"):
        videos.make_videos(tmp_path, 1, 0.1)
