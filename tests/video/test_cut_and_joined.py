"""Recordings that begin anywhere, files put together, and packets that show nothing: what counts as a frame."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import COUNT, backends
from tests.video.forge import damage_packets, leave_out_packets, shift_edit_list, split_superframes
from uniformer_video.video.index import index_video
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError


@backends
def test_vp9_with_alternate_references(tmp_path, backend):
    """Frames that are not shown: within the packet of a shown one, and in packets of their own."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 48, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    frames = [noise[t : t + 96, 2 * t : 2 * t + 128] for t in range(60)]
    options = {"auto-alt-ref": "1", "lag-in-frames": "25", "deadline": "realtime", "cpu-used": "6", "b": "300k"}
    joined = write_video(tmp_path / "joined.webm", frames, codec="libvpx-vp9", gop=40, codec_options=options)
    apart = split_superframes(tmp_path / "apart.webm", joined)
    packets = [index_video(str(path)).packets for path in (joined, apart)]
    assert packets[0] == 60 < packets[1]
    with open_video(str(joined), backend) as one, open_video(str(apart), backend) as other:
        whole = one.frames_at(range(60))
        assert (other.num_frames, other.fps) == (one.num_frames, one.fps) == (60, 25.0)
        assert np.array_equal(other.seconds, one.seconds)
        for indices in ([59], [3], [41, 2, 41, 40], range(60)):
            assert torch.equal(other.frames_at(indices), whole[list(indices)])
            assert torch.equal(one.frames_at(indices), whole[list(indices)])


@backends
@pytest.mark.parametrize("name", ["midst.mkv", "midst.mp4", "midst.ts"])
def test_a_recording_that_begins_between_two_key_frames(video, backend, name):
    """The first three of its frames build on one that is not there; the first frame is the first that can be shown."""
    with open_video(video(name), backend) as reader:
        assert reader.num_frames == COUNT - 10
        assert reader.seconds[-1] == pytest.approx((COUNT - 11) / 25, abs=1e-3)
        for indices in ([29], [0], [17, 3, 17], range(COUNT - 10)):
            assert read_barcodes(reader.frames_at(indices)) == [10 + index for index in indices]


@backends
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("x.ts", "mpeg4", {}),
        ("x.mkv", "mpeg4", {"bf": "2"}),
        ("x.mp4", "mpeg4", {}),
        ("x.webm", "libvpx-vp9", {}),
        ("x.mp4", "libvpx-vp9", {}),
        ("x.webm", "libvpx", {}),
        ("x.mp4", "libx265", {}),
        ("x.ts", "mpeg2video", {"bf": "2"}),
        ("x.mkv", "libx264", {"x264-params": "open-gop=1:bframes=3"}),
    ],
)
def test_such_a_recording_of_another_codec(tmp_path, backend, name, codec, options):
    """Its decoder may refuse the first packets, or paint grey pictures of them without a word (MPEG-4 part 2)."""
    whole = write_video(tmp_path / f"whole_{name}", barcode_frames(50), codec=codec, gop=15, codec_options=options)
    path = str(leave_out_packets(tmp_path / name, whole, 4))
    assert not index_video(path).begins_whole
    with open_video(path, backend) as reader:
        assert reader.num_frames == 35
        assert reader.seconds == pytest.approx(np.arange(35) / 25, abs=2e-3)
        for indices in ([34], [0], [17, 3, 17], range(35)):
            assert read_barcodes(reader.frames_at(indices)) == [15 + index for index in indices]
    with open_video(path) as reader:
        assert len(list(reader.decoded_frames())) == 35


def errors_and_frames(path: str, backend: str) -> list[int | None]:
    """Return the number coded in each frame of a file, asked for one by one; None for a DecodeError."""
    found: list[int | None] = []
    with open_video(path, backend) as reader:
        for number in range(reader.num_frames):
            try:
                found += read_barcodes(reader.frames_at([number]))
            except DecodeError:
                found.append(None)
    return found


@backends
@pytest.mark.parametrize(
    ("name", "codec"),
    [("x.mp4", "libx264"), ("x.mkv", "libx264"), ("x.webm", "libvpx-vp9"), ("x.mp4", "mpeg4"), ("x.mkv", "mpeg4")],
)
def test_a_damaged_first_packet_is_no_such_recording(tmp_path, backend, name, codec):
    """Every frame keeps its number, and those that build on the damaged one are errors."""
    whole = write_video(tmp_path / f"whole_{name}", barcode_frames(30), codec=codec, gop=10)
    path = str(damage_packets(tmp_path / name, whole, range(1)))
    assert not index_video(path).begins_whole
    assert errors_and_frames(path, backend) == [None] * 10 + list(range(10, 30))


@backends
@pytest.mark.parametrize(("name", "codec"), [("x.avi", "mpeg4"), ("x.ts", "mpeg4")])
def test_a_damaged_first_packet_in_a_container_that_does_not_mark_key_frames(tmp_path, backend, name, codec):
    """It might as well be such a recording, so the file is refused."""
    whole = write_video(tmp_path / f"whole_{name}", barcode_frames(30), codec=codec, gop=10)
    path = str(damage_packets(tmp_path / name, whole, range(1)))
    with pytest.raises(DecodeError, match="cannot be read after packet 0: Invalid data"):
        open_video(path, backend)


@backends
@pytest.mark.parametrize("gop", [15, 250])
def test_damage_after_a_key_frame_that_an_edit_list_hides(tmp_path, backend, gop):
    """The first frames shown are damaged, not missing: none of them is left out of the count."""
    whole = write_video(tmp_path / "whole.mp4", barcode_frames(30), gop=gop)
    damaged = damage_packets(tmp_path / "damaged.mp4", whole, range(5, 8))
    path = str(shift_edit_list(tmp_path / "x.mp4", damaged, frames=5))
    found = errors_and_frames(path, backend)
    assert len(found) == 25
    assert found[:3] == [None] * 3
    assert all(code in (None, 5 + number) for number, code in enumerate(found))


def test_the_rate_of_a_program_stream_with_few_time_stamps(tmp_path):
    path = str(write_video(tmp_path / "x.mpg", barcode_frames(COUNT), gop=10, b_frames=3))
    with av.open(path) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert 0 < sum(stamp is not None for stamp in stamps) < COUNT / 2
    with open_video(path) as reader:
        assert (reader.num_frames, reader.fps) == (COUNT, 25.0)
        assert np.allclose(reader.seconds, np.arange(COUNT) / 25)


def test_two_matroska_files_put_together(tmp_path):
    halves = [write_video(tmp_path / f"{n}.mkv", barcode_frames(20, first=20 * n), gop=10, b_frames=2) for n in (0, 1)]
    (tmp_path / "both.mkv").write_bytes(b"".join(half.read_bytes() for half in halves))
    with open_video(str(tmp_path / "both.mkv")) as reader:
        assert (reader.num_frames, reader.fps) == (40, 25.0)
        assert read_barcodes(reader.frames_at([39, 0, 20, 19])) == [39, 0, 20, 19]
