"""The video files this room's tests read, made once a session."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import (
    barcode_frames,
    write_audio_only,
    write_damaged,
    write_empty,
    write_text,
    write_truncated,
    write_video,
)
from tests.video.forge import (
    hide_vp8_frames,
    leave_out_packets,
    repeat_stamps,
    shift_edit_list,
    write_audio_with_cover,
    write_two_videos,
)
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.torchcodec import import_torchcodec


def _has_torchcodec() -> bool:
    try:
        import_torchcodec()
    except UserError:
        return False
    return True


HAS_TORCHCODEC = _has_torchcodec()
BACKENDS = ["pyav", "decord", *(["torchcodec"] if HAS_TORCHCODEC else [])]
backends = pytest.mark.parametrize("backend", BACKENDS)
"""Runs a test with every backend that is installed."""

COUNT = 40
PTS = [0, 10, 25, 90, 130, 131, 200, 360, 390, 500, 510, 530]
"""Time stamps of the variable frame rate file, 1/1000 second."""

_FASTSTART = {"movflags": "faststart"}
_MAKERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    # Good files of COUNT frames, the number of each coded in its pixels.
    "plain.mp4": lambda p, f: write_video(p, f, gop=10),
    "bframes.mp4": lambda p, f: write_video(p, f, gop=10, b_frames=3),
    "opengop.mp4": lambda p, f: write_video(p, f, gop=10, b_frames=3, codec_options={"x264-params": "open-gop=1"}),
    "refresh.mp4": lambda p, f: write_video(p, f, gop=10, codec_options={"x264-params": "intra-refresh=1"}),
    "onekey.mp4": lambda p, f: write_video(p, f, gop=250, b_frames=2),
    "fragmented.mp4": lambda p, f: write_video(
        p, f, gop=10, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "nocount.mkv": lambda p, f: write_video(p, f, gop=10, b_frames=2),
    "sound.mkv": lambda p, f: write_video(p, f, gop=10, audio=True),
    "sound.mp4": lambda p, f: write_video(p, f, gop=10, audio=True),
    "vp9.webm": lambda p, f: write_video(p, f, codec="libvpx-vp9", gop=10),
    "mpeg4.avi": lambda p, f: write_video(p, f, codec="mpeg4", gop=10, codec_options={"bf": "2"}),
    "mpeg2.mkv": lambda p, f: write_video(p, f, codec="mpeg2video", gop=10, codec_options={"bf": "2"}),
    "h264.avi": lambda p, f: write_video(p, f, gop=10, b_frames=2),
    "stream.ts": lambda p, f: write_video(p, f, gop=10),
    "hevc.mp4": lambda p, f: write_video(p, f, codec="libx265", gop=10, b_frames=2),
    # Special good files.
    "variable.mkv": lambda p, f: write_video(p, f[: len(PTS)], pts=PTS),
    "variable.mp4": lambda p, f: write_video(p, f[: len(PTS)], pts=PTS),
    "one.mp4": lambda p, f: write_video(p, f[:1]),
    "edited.mp4": lambda p, f: shift_edit_list(p, write_video(p, f, gop=10, b_frames=2), frames=5),
    "hidden.webm": lambda p, f: hide_vp8_frames(p, write_video(p, f, codec="libvpx", gop=10), hidden={3, 17}),
    "two.mp4": lambda p, f: write_two_videos(p, f[:12, ::2, ::2], f[:20]),
    "midst.mkv": lambda p, f: leave_out_packets(p, write_video(p.with_name("m1.mkv"), f, gop=10), 7),
    "midst.mp4": lambda p, f: leave_out_packets(p, write_video(p.with_name("m2.mp4"), f, gop=10), 7),
    "midst.ts": lambda p, f: leave_out_packets(p, write_video(p.with_name("m3.ts"), f, gop=10), 7),
    "av1.mkv": lambda p, f: write_video(p, f[:5], codec="libsvtav1"),
    # Good files that decord 0.6 cannot read, or not to the same bits.
    "live.webm": lambda p, f: write_video(p, f, codec="libvpx-vp9", gop=10, container_options={"live": "1"}),
    "tenbit.mp4": lambda p, f: write_video(p, f, codec="libx265", pix_fmt="yuv420p10le", gop=10),
    "halfchroma.mp4": lambda p, f: write_video(p, f, pix_fmt="yuv422p", gop=10),
    "odd.webm": lambda p, f: write_video(p, f[:, :47], codec="libvpx-vp9", gop=10),
    "bframes.ts": lambda p, f: write_video(p, f, gop=10, b_frames=3),
    "interlaced.mp4": lambda p, f: write_video(p, f, gop=10, codec_options={"x264-params": "tff=1:interlaced=1"}),
    "turned.mkv": lambda p, f: write_video(p, f, gop=10, rotation=180),
    "unstamped.mkv": lambda p, f: repeat_stamps(p, write_video(p.with_name("u.mkv"), f, gop=10), {20, 21}),
    # Broken files.
    "empty.mp4": lambda p, f: write_empty(p),
    "text.mp4": lambda p, f: write_text(p),
    "audio.m4a": lambda p, f: write_audio_only(p),
    "cover.m4a": lambda p, f: write_audio_with_cover(p),
    "noindex.mp4": lambda p, f: write_truncated(p, write_video(p, f), 0.5),
    "cut.mp4": lambda p, f: write_truncated(p, write_video(p, f, gop=10, container_options=_FASTSTART), 0.7),
    "cut.mkv": lambda p, f: write_truncated(p, write_video(p, f, gop=10), 0.7),
    "cut.avi": lambda p, f: write_truncated(p, write_video(p, f, codec="mpeg4"), 0.9),
    "damaged.mp4": lambda p, f: write_damaged(p, write_video(p, f, gop=10), 0.4, 0.5),
    "damaged.mkv": lambda p, f: write_damaged(p, write_video(p, f, gop=10), 0.4, 0.5),
    "damagedhead.mp4": lambda p, f: write_damaged(p, write_video(p, f, gop=10), 0.0, 0.3),
}


GOOD = [
    "plain.mp4",
    "bframes.mp4",
    "opengop.mp4",
    "refresh.mp4",
    "onekey.mp4",
    "fragmented.mp4",
    "nocount.mkv",
    "sound.mkv",
    "sound.mp4",
    "vp9.webm",
    "mpeg4.avi",
    "mpeg2.mkv",
    "h264.avi",
    "stream.ts",
    "hevc.mp4",
]
"""Good files of COUNT frames that both backends are to read."""
ONLY_PYAV = ["live.webm", "av1.mkv", "two.mp4", "tenbit.mp4", "halfchroma.mp4", "odd.webm", "stream.ts", "bframes.ts"]
"""Good files that decord does not read: the backend gives way to PyAV."""
BROKEN = [
    "empty.mp4",
    "text.mp4",
    "audio.m4a",
    "cover.m4a",
    "noindex.mp4",
    "damagedhead.mp4",
    "cut.mp4",
    "cut.mkv",
    "cut.avi",
    "damaged.mkv",
]
"""Files that cannot be opened."""


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that gives the path of the file of a name, making it when it is first asked for."""
    folder = tmp_path_factory.mktemp("videos")
    frames = barcode_frames(COUNT)
    made: dict[str, str] = {}

    def path_of(name: str) -> str:
        if name not in made:
            made[name] = str(_MAKERS[name](folder / name, frames))
        return made[name]

    return path_of


@pytest.fixture(autouse=True)
def global_random_state_unchanged() -> Iterator[None]:
    """Fail a test that draws from, or seeds, a global generator."""
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    yield
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
