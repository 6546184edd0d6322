"""Labelled videos, read back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.test_timeline import timeline
from tests.helpers import moving_square, write_damaged, write_video
from uniformer_video.drawing.overlay import LabelBand
from uniformer_video.engine import label_video
from uniformer_video.engine.label_video import write_labelled
from uniformer_video.engine.prediction import Prediction
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.open import VideoOpener, open_video
from uniformer_video.video.reader import DecodeError

NAMES = ("red", "green", "blue")


def found(path):
    return Prediction(str(path), torch.tensor([0.2, 0.7, 0.1]), NAMES)


def read(path):
    with open_video(str(path)) as reader:
        return reader.frames_at(range(reader.num_frames)).numpy().astype(int), reader.fps


def test_all_frames_at_the_same_rate_with_the_classes_on_them(tmp_path):
    source = write_video(tmp_path / "a.mp4", moving_square(12, 128, 160), fps=12)
    assert write_labelled(found(source), tmp_path / "out.mp4", VideoOpener()) == 12
    (before, rate), (after, new_rate) = read(source), read(tmp_path / "out.mp4")
    assert after.shape == before.shape
    assert new_rate == rate == 12
    band = LabelBand((128, 160), [("green", 0.7), ("red", 0.2), ("blue", 0.1)])
    assert np.abs(after[:, : band.top - 2] - before[:, : band.top - 2]).mean() < 4
    expected = np.stack([band.draw(frame.astype(np.uint8)) for frame in before]).astype(int)
    assert np.abs(after - expected).mean() < 8
    assert np.abs(after[:, band.top :] - before[:, band.top :]).mean() > 20


@pytest.mark.parametrize("ending", [".mkv", ".webm", ".mov"])
def test_other_files(tmp_path, ending):
    source = write_video(tmp_path / "a.mp4", moving_square(5), fps=10)
    write_labelled(found(source), tmp_path / f"out{ending}", VideoOpener())
    assert len(read(tmp_path / f"out{ending}")[0]) == 5


def test_upright_and_of_even_size(tmp_path):
    source = write_video(tmp_path / "a.mp4", moving_square(4, 48, 64), rotation=90)
    write_labelled(found(source), tmp_path / "out.mp4", VideoOpener())
    assert read(tmp_path / "out.mp4")[0].shape == (4, 64, 48, 3)
    for number, frame in enumerate(moving_square(3, 47, 63)):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    write_labelled(found(tmp_path / "frames"), tmp_path / "odd.mp4", VideoOpener(image_fps=7))
    frames, rate = read(tmp_path / "odd.mp4")
    assert frames.shape == (3, 48, 64, 3)
    assert rate == pytest.approx(7)


def test_a_rate_in_time_leaves_no_frame_out(tmp_path):
    source = write_video(tmp_path / "a.mp4", moving_square(20), fps=10)
    assert write_labelled(found(source), tmp_path / "out.mp4", VideoOpener(target_fps=2.0)) == 20


def test_a_timeline_shows_each_moment_its_class(tmp_path, monkeypatch):
    source = write_video(tmp_path / "a.mp4", moving_square(40), fps=10)
    line = timeline([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2]])
    line = type(line)(**{**line.__dict__, "path": str(source)})
    bands = []

    class Noted(LabelBand):
        def __init__(self, size, classes, *, bars, note):
            super().__init__(size, classes, bars=bars, note=note)
            self.said = (classes[0][0], note)

        def draw(self, frame):
            bands.append(self.said)
            return super().draw(frame)

    monkeypatch.setattr(label_video, "LabelBand", Noted)
    assert write_labelled(line, tmp_path / "out.mp4", VideoOpener()) == 40
    # Edges at 0, 1.5, 2.5 and 4 seconds.
    assert [name for name, _ in bands] == ["red"] * 15 + ["green"] * 25
    assert [note for _, note in bands] == [f"0:0{number // 10}" for number in range(40)]


def test_a_video_that_breaks_off(tmp_path):
    good = write_video(tmp_path / "good.mp4", moving_square(120), fps=10, gop=10)
    bad = write_damaged(tmp_path / "bad.mp4", good, 0.6, 0.7)
    with pytest.raises(DecodeError):
        write_labelled(found(bad), tmp_path / "out.mp4", VideoOpener())
    assert not (tmp_path / "out.mp4").exists()
    line = timeline([[0.8, 0.1, 0.1]], error="said already")
    line = type(line)(**{**line.__dict__, "path": str(bad)})
    count = write_labelled(line, tmp_path / "out.mp4", VideoOpener())
    assert 0 < count < 120
    assert len(read(tmp_path / "out.mp4")[0]) == count


def test_an_ending_that_is_none(tmp_path):
    source = write_video(tmp_path / "a.mp4", moving_square(4))
    with pytest.raises(UserError, match="videos are written to files that end in"):
        write_labelled(found(source), tmp_path / "out.xyz", VideoOpener())
