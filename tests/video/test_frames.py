from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

import uniformer_video.video.frames as frames_module
from tests.helpers import barcode_frames, read_barcodes, write_video
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.frames import FrameFolderReader, upright_rgb
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.resample import ResampledReader

COUNT = 12


def write_frames(folder, numbers=range(1, COUNT + 1), template="img_{:05d}.jpg", **options):
    """Picture ``number`` carries it as a barcode."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.fromarray(barcode_frames(1, first=number)[0]).save(folder / template.format(number), **options)
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    return write_frames(tmp_path / "clip")


def test_a_folder_is_a_video(folder):
    with FrameFolderReader(folder) as reader:
        assert (reader.path, reader.num_frames, reader.size, reader.fps) == (folder, COUNT, (48, 64), 12.0)
        frames = reader.frames_at(range(COUNT))
        np.testing.assert_allclose(reader.seconds, np.arange(COUNT) / 12)
    assert (frames.dtype, tuple(frames.shape)) == (torch.uint8, (COUNT, 48, 64, 3))
    assert frames.is_contiguous()
    assert read_barcodes(frames) == list(range(1, COUNT + 1))


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_any_order_and_repeats(folder, kind):
    reader = FrameFolderReader(folder)
    assert read_barcodes(reader.frames_at(kind([7, 0, 7, 3]))) == [8, 1, 8, 4]
    assert tuple(reader.frames_at([]).shape) == (0, 48, 64, 3)
    with pytest.raises(IndexError, match=f"^frame {COUNT} of .*clip, which has frames 0 to {COUNT - 1}$"):
        reader.frames_at([0, COUNT])


def test_each_picture_is_decoded_once_and_none_but_the_first_is_looked_at(folder, monkeypatch):
    opened = []
    true_open = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(os.path.basename(path)) or true_open(path))
    listed = []
    true_scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or true_scandir(path))
    reader = FrameFolderReader(folder)
    assert (opened, listed) == (["img_00001.jpg"], [folder])
    opened.clear()
    reader.frames_at([5, 2, 5, 2, 2])
    assert (opened, listed) == (["img_00003.jpg", "img_00006.jpg"], [folder])


@pytest.mark.parametrize("template", ["", "img_{:05d}.jpg", "img_%05d.jpg"])
def test_templates(folder, template):
    assert read_barcodes(FrameFolderReader(folder, template, fps=30).frames_at([4])) == [5]


@pytest.mark.parametrize("numbers", [range(12), range(1, 4), range(100, 130), [3, 4, 9, 10, 500], [7]])
def test_numbering_from_anywhere_with_gaps(tmp_path, numbers):
    reader = FrameFolderReader(write_frames(tmp_path / "clip", numbers))
    assert reader.num_frames == len(numbers)
    assert read_barcodes(reader.frames_at(range(len(numbers)))) == list(numbers)


def test_numbers_are_ordered_as_numbers(tmp_path):
    reader = FrameFolderReader(write_frames(tmp_path / "clip", [8, 9, 10, 11, 100], "{:d}.png"))
    assert reader.names == ["8.png", "9.png", "10.png", "11.png", "100.png"]


@pytest.mark.parametrize(
    ("template", "options"),
    [("{}.png", {}), ("{}.jpeg", {}), ("{}.JPG", {}), ("{}.webp", {"lossless": True}), ("{}.bmp", {})],
)
def test_kinds_of_picture(tmp_path, template, options):
    reader = FrameFolderReader(write_frames(tmp_path / "clip", template=template, **options))
    assert read_barcodes(reader.frames_at([3, 11])) == [4, 12]


def test_times_at_another_rate_can_be_resampled(folder):
    with ResampledReader(FrameFolderReader(folder, fps=30), 10) as reader:
        assert read_barcodes(reader.frames_at(range(reader.num_frames))) == [1, 4, 7, 10]


def test_the_frames_of_a_video_written_out(tmp_path):
    """As rawframe sets are made: the pixels are those of the pictures."""
    frames = barcode_frames(4, 30, 50)
    (tmp_path / "clip").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "clip" / f"{number}.png")
    assert np.array_equal(FrameFolderReader(str(tmp_path / "clip")).frames_at(range(4)).numpy(), frames)


def test_a_reader_goes_to_a_worker(folder):
    reader = pickle.loads(pickle.dumps(FrameFolderReader(folder)))
    assert read_barcodes(reader.frames_at([2])) == [3]


# Pixels

RGB = np.array([[[200, 10, 30], [0, 255, 90]], [[7, 8, 9], [250, 250, 0]]], np.uint8)
GRAY = np.array([[0, 80], [160, 255]], np.uint8)


def png(tmp_path, image):
    image.save(tmp_path / "1.png")
    return FrameFolderReader(str(tmp_path)).frames_at([0])[0].numpy()


def test_gray(tmp_path):
    assert np.array_equal(png(tmp_path, Image.fromarray(GRAY)), np.repeat(GRAY[..., None], 3, -1))


def test_alpha_is_left_out(tmp_path):
    alpha = np.array([[0, 255], [128, 3]], np.uint8)
    assert np.array_equal(png(tmp_path, Image.fromarray(np.dstack([RGB, alpha]))), RGB)
    gray = png(tmp_path, Image.fromarray(np.dstack([GRAY, alpha])))
    assert np.array_equal(gray, np.repeat(GRAY[..., None], 3, -1))


def test_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8))
    image.putpalette(RGB.reshape(-1).tolist())
    assert image.mode == "P"
    assert np.array_equal(png(tmp_path, image), RGB)


def test_black_and_white(tmp_path):
    image = Image.fromarray(np.array([[True, False], [False, True]]))
    assert png(tmp_path, image)[..., 0].tolist() == [[255, 0], [0, 255]]


def test_sixteen_bits_keep_their_upper_byte(tmp_path):
    values = np.array([[0, 0x01FF], [0x8012, 0xFFFF]], np.uint16)
    assert png(tmp_path, Image.fromarray(values))[..., 1].tolist() == [[0, 1], [0x80, 0xFF]]


def test_cmyk(tmp_path):
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[:] = (200, 40, 90)
    Image.fromarray(frame).convert("CMYK").save(tmp_path / "1.jpg", quality=95)
    assert Image.open(tmp_path / "1.jpg").mode == "CMYK"
    got = FrameFolderReader(str(tmp_path)).frames_at([0])[0].numpy().astype(int)
    assert np.abs(got - frame).max() <= 6


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_range_are_refused(tmp_path, mode):
    Image.fromarray(np.full((2, 2), 70000, np.float32 if mode == "F" else np.int32)).save(tmp_path / "1.tiff")
    with pytest.raises(DecodeError, match=r"1.tiff cannot be read: its pixels are .*; 8 or 16 bits are wanted$"):
        FrameFolderReader(str(tmp_path), "{}.tiff").frames_at([0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    """What a viewer shows: the stored picture transformed as the tag says (EXIF 2.3, 4.6.4)."""
    stored = barcode_frames(1, 48, 64, first=321)[0]
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }[orientation]
    image = Image.fromarray(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "1.png", exif=exif)
    reader = FrameFolderReader(str(tmp_path))
    assert reader.size == turned.shape[:2]
    assert np.array_equal(reader.frames_at([0])[0].numpy(), turned)


def test_exif_orientation_of_sixteen_bits():
    image = Image.fromarray(np.array([[0x0100, 0x0200, 0x0300]], np.uint16))
    image.getexif()[0x0112] = 6
    assert upright_rgb(image)[..., 0].tolist() == [[1], [2], [3]]


# Faults


def test_a_picture_of_another_size(folder):
    Image.fromarray(barcode_frames(1, 48, 32)[0]).save(os.path.join(folder, "img_00004.jpg"))
    with FrameFolderReader(folder) as reader:
        assert read_barcodes(reader.frames_at([2, 4])) == [3, 5]
        with pytest.raises(DecodeError) as caught:
            reader.frames_at([2, 3])
    assert str(caught.value) == (
        f"{folder}: img_00004.jpg is 32 x 48 pixels, the first picture, img_00001.jpg, 64 x 48"
    )


@pytest.mark.parametrize("template", ["{}.png", "{}.jpg", "{}.webp", "{}.bmp"])
@pytest.mark.parametrize("share", [0.85, 0.5, 0.2, 0.0])
def test_a_truncated_picture(tmp_path, template, share):
    folder = write_frames(tmp_path / "clip", [1, 2, 3], template)
    name = template.format(2)
    data = (tmp_path / "clip" / name).read_bytes()
    (tmp_path / "clip" / name).write_bytes(data[: int(len(data) * share)])
    with FrameFolderReader(folder) as reader:
        assert read_barcodes(reader.frames_at([0, 2])) == [1, 3]
        with pytest.raises(DecodeError, match=f"clip: {name} (cannot be read: |is not a picture, or damaged)"):
            reader.frames_at([0, 1])


@pytest.mark.parametrize("template", ["{}.png", "{}.jpg", "{}.webp", "{}.bmp"])
def test_any_damage_is_a_decode_error_or_a_picture(tmp_path, template):
    """Whatever bytes are overwritten, Pillow's many errors come out as one."""
    folder = write_frames(tmp_path / "clip", [1, 2], template)
    file = tmp_path / "clip" / template.format(2)
    whole = file.read_bytes()
    reader = FrameFolderReader(folder)
    for at in range(0, len(whole), max(len(whole) // 60, 1)):
        file.write_bytes(whole[:at] + b"\xff\x00\x81" + whole[at + 3 :])
        try:
            assert tuple(reader.frames_at([1]).shape) == (1, 48, 64, 3)
        except DecodeError as error:
            assert error.path == folder
            assert file.name in error.cause


def test_a_damaged_first_picture_is_met_when_opening(tmp_path):
    folder = write_frames(tmp_path / "clip")
    (tmp_path / "clip" / "img_00001.jpg").write_text("no picture")
    with pytest.raises(DecodeError, match="clip: img_00001.jpg is not a picture, or damaged$"):
        FrameFolderReader(folder)


def test_a_picture_that_is_gone_or_a_folder(folder):
    reader = FrameFolderReader(folder)
    os.remove(os.path.join(folder, "img_00002.jpg"))
    with pytest.raises(DecodeError, match="img_00002.jpg cannot be read: No such file or directory$"):
        reader.frames_at([1])
    os.mkdir(os.path.join(folder, "img_00002.jpg"))
    with pytest.raises(DecodeError, match="img_00002.jpg cannot be read: Is a directory$"):
        reader.frames_at([1])


def test_more_pictures_at_once_than_are_read(folder):
    with FrameFolderReader(folder) as reader:
        reader.size = (10000, 10000)
        with pytest.raises(DecodeError, match="40 frames of 10000x10000 at once take 11.2 GiB; at most 8 GiB "):
            reader.frames_at([0] * 40)


def test_a_picture_that_would_fill_the_memory(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DecodeError, match="img_00001.jpg cannot be read: Image size"):
        FrameFolderReader(folder)


def test_faults_of_folder_and_template(tmp_path, folder):
    with pytest.raises(DecodeError, match="none: No such file or directory$"):
        FrameFolderReader(str(tmp_path / "none"))
    with pytest.raises(DecodeError, match="clip: no picture is named {:d}.png; it holds img_00001.jpg, "):
        FrameFolderReader(folder, "{:d}.png")
    with pytest.raises(UserError, match="^the picture template 'img.jpg' has 0 numbers; allowed is a file name with"):
        FrameFolderReader(folder, "img.jpg")
    with pytest.raises(DecodeError, match="the folder holds no numbered picture"):
        FrameFolderReader(os.path.dirname(write_video(tmp_path / "only.mp4", barcode_frames(2))))


@pytest.mark.parametrize("fps", [0, -1, float("nan")])
def test_a_rate_that_is_none(folder, fps):
    with pytest.raises(UserError, match=f"^a rate of {fps} frames each second for folders of pictures; a number above"):
        FrameFolderReader(folder, fps=fps)


def test_a_closed_reader(folder):
    with FrameFolderReader(folder) as reader:
        pass
    assert (reader.num_frames, reader.size) == (COUNT, (48, 64))
    with pytest.raises(AssertionError, match="closed reader"):
        reader.frames_at([0])


def test_all_errors_that_pillow_raises_are_listed():
    assert Image.DecompressionBombError in frames_module._PICTURE_FAULTS
    assert issubclass(Image.UnidentifiedImageError, OSError)
