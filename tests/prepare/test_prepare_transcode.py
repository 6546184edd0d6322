"""The whole job with rewriting: what the lists name, what is kept, what is never touched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.prepare.conftest import listed, prepare, write_clips
from uniformer_video.prepare import prepare as job
from uniformer_video.prepare import probe_all
from uniformer_video.prepare.check import check_dataset
from uniformer_video.runtime.errors import DataError
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.transcode import TranscodeSettings

PROBE = probe_all.Probe("", ok=True, frames=5, fps=25, seconds=0.2, height=8, width=8, codec="h264", sha256="1")


class TestTranscode:
    def test_lists_name_the_new_files_and_the_originals_stay(self, clips, tmp_path):
        before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in clips.rglob("*") if p.is_file()}
        content, _ = prepare(clips, tmp_path / "out", transcode=TranscodeSettings(short_side=16, gop=4))
        names = listed(tmp_path / "out")
        assert set(names) == {
            *(f"videos/run/{n}.mp4" for n in range(5)),
            *(f"videos/jump up/{n}.mp4" for n in range(4)),
            "videos/sit/only.mp4",
        }
        assert content["sizes"] == {"24x16": 10}
        assert content["containers"].keys() == {"mov,mp4,m4a,3gp,3g2,mj2"}
        assert content["options"]["transcode"]["gop"] == 4
        with PyAVReader(str(tmp_path / "out" / "videos" / "jump up" / "0.mp4")) as reader:
            assert (reader.num_frames, reader.size) == (9, (16, 24))
        assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in clips.rglob("*") if p.is_file()} == before
        assert check_dataset(tmp_path / "out", workers=0)[0] == []

    def test_what_is_there_is_not_rewritten(self, clips, tmp_path):
        first, _ = prepare(clips, tmp_path / "out", transcode=TranscodeSettings(short_side=16))
        stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "videos").rglob("*.mp4")}
        gone = tmp_path / "out" / "videos" / "run" / "3.mp4"
        gone.unlink()
        second, _ = prepare(clips, tmp_path / "out", transcode=TranscodeSettings(short_side=16))
        after = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "videos").rglob("*.mp4")}
        assert {p for p in stamps if stamps[p] != after[p]} == {gone}
        assert second["counts"] == first["counts"]

    def test_a_video_that_fails_is_bad_and_the_rest_goes_on(self, clips, tmp_path, monkeypatch):
        monkeypatch.setattr(job, "transcode_all", lambda jobs, *_, **__: {jobs[-1].target: "no room"})
        monkeypatch.setattr(job, "probe_all", lambda paths, **_: {p: replace(PROBE, path=p) for p in paths})
        monkeypatch.setattr(job, "sift_probes", lambda entries, *_, **__: (entries, []))
        monkeypatch.setattr(job, "draw_sheet", lambda *_, **__: b"")
        prepare(clips, tmp_path / "out", transcode=TranscodeSettings())
        assert "sit/only.mp4,cannot be transcoded: no room" in (tmp_path / "out" / "bad.csv").read_text()

    def test_never_into_the_originals(self, tmp_path):
        folder = write_clips(tmp_path / "data" / "videos", {"a/1.mp4": 5, "b/1.mp4": 5})
        with pytest.raises(DataError, match="--transcode would write into .*/data/videos, which holds the originals"):
            prepare(folder, tmp_path / "data", transcode=TranscodeSettings(), overwrite=True)
