"""Recordings that begin anywhere, files put together, and packets that show nothing: what counts as a frame."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import COUNT, backends
from tests.video.forge import split_superframes
from uniformer_video.video.index import index_video
from uniformer_video.video.open import open_video


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
