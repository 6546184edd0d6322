from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import barcode_frames, read_barcodes
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.array import ArrayReader

FRAMES = barcode_frames(12)


def test_frames_come_back():
    reader = ArrayReader(FRAMES, fps=30)
    assert (reader.num_frames, reader.size, reader.fps, reader.path) == (12, (48, 64), 30.0, "array")
    frames = reader.frames_at([7, 0, 7, 11])
    assert (frames.dtype, tuple(frames.shape)) == (torch.uint8, (4, 48, 64, 3))
    assert frames.is_contiguous()
    assert np.array_equal(frames.numpy(), FRAMES[[7, 0, 7, 11]])


def test_times():
    np.testing.assert_allclose(ArrayReader(FRAMES, fps=8).seconds, np.arange(12) / 8)


@pytest.mark.parametrize(
    "given",
    [
        torch.from_numpy(FRAMES),
        torch.from_numpy(FRAMES).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
        list(FRAMES),
        tuple(torch.from_numpy(FRAMES)),
        np.flip(np.ascontiguousarray(FRAMES[..., ::-1]), -1),
        np.asfortranarray(FRAMES),
    ],
    ids=["tensor", "strided tensor", "list", "tuple of tensors", "negative strides", "fortran order"],
)
def test_kinds_of_frames(given):
    assert read_barcodes(ArrayReader(given).frames_at([3, 9, 1])) == [3, 9, 1]


def test_what_is_returned_is_a_copy():
    frames = FRAMES.copy()
    reader = ArrayReader(frames)
    reader.frames_at([2]).zero_()
    assert np.array_equal(frames, FRAMES)


def test_read_only_arrays_are_taken():
    frames = FRAMES.copy()
    frames.setflags(write=False)
    assert read_barcodes(ArrayReader(frames).frames_at([5])) == [5]


def test_indices_are_checked_and_none_is_fine():
    reader = ArrayReader(FRAMES, path="mine")
    assert tuple(reader.frames_at([]).shape) == (0, 48, 64, 3)
    with pytest.raises(IndexError, match="^frame 12 of mine, which has frames 0 to 11$"):
        reader.frames_at([12])
    reader.close()
    reader.close()
    with pytest.raises(AssertionError, match="closed reader"):
        reader.frames_at([0])


WANTED = "frames are wanted as uint8 (T, H, W, 3): T pictures in RGB, values 0 to 255"


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((8, 6, 3), np.uint8), f"uint8 (8, 6, 3) came; {WANTED}; one picture alone is frames[None]"),
        (np.zeros((5, 3, 8, 6), np.uint8), f"uint8 (5, 3, 8, 6) came; {WANTED}; move the channels last: "),
        (np.zeros((3, 5, 8, 6), np.uint8), "frames.transpose(1, 2, 3, 0)"),
        (np.zeros((5, 8, 6, 4), np.uint8), "leave the alpha channel out: frames[..., :3]"),
        (np.zeros((5, 8, 6, 1), np.uint8), "repeat a gray channel"),
        (np.zeros((5, 8, 6), np.uint8), f"uint8 (5, 8, 6) came; {WANTED}"),
        (np.zeros((0, 8, 6, 3), np.uint8), f"uint8 (0, 8, 6, 3) came; {WANTED}; there is no picture in it"),
        (np.zeros((5, 0, 6, 3), np.uint8), "there is no picture in it"),
        (np.zeros((5, 8, 6, 3), np.float32), "float32 (5, 8, 6, 3) came; "),
        (np.zeros((5, 8, 6, 3), np.float32), "values 0 to 1 become bytes by (frames * 255).round().astype('uint8')"),
        (torch.zeros(5, 8, 6, 3, dtype=torch.bfloat16), "values 0 to 1 become bytes by"),
        (np.zeros((5, 8, 6, 3), np.int64), "values 0 to 255 become bytes by frames.astype('uint8')"),
        ([], "uint8 (0, 0, 0, 3) came"),
        ([np.zeros((8, 6, 3), np.uint8), np.zeros((8, 7, 3), np.uint8)], "pictures of shapes (8, 6, 3) and (8, 7, 3)"),
        ("clip.mp4", f"a str came; {WANTED}, in a NumPy array or a tensor"),
        (None, "a NoneType came"),
    ],
)
def test_other_frames_are_refused_with_advice(frames, message):
    with pytest.raises(UserError) as caught:
        ArrayReader(frames)
    assert str(caught.value).startswith("array: ")
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none(fps):
    with pytest.raises(UserError, match=f"^array: fps is {fps}; frames each second are wanted, a number above 0$"):
        ArrayReader(FRAMES, fps=fps)
