"""Files that no muxer writes when asked plainly: made by hand from good ones."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from tests.helpers import _mux_silence


def shift_edit_list(path: Path, source: Path, frames: int, fps: int = 25) -> Path:
    """Write the mp4 ``source`` with its edit list starting ``frames`` frames later: they are stored but not shown."""
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 4
    version, entries, duration, media_time = struct.unpack_from(">IIIi", data, at)
    assert (version, entries) == (0, 1)
    scale = _timescale(data)
    struct.pack_into(">Ii", data, at + 8, duration - frames * 1000 // fps, media_time + frames * scale // fps)
    path.write_bytes(data)
    return path


def _timescale(data: bytearray) -> int:
    at = data.index(b"mdhd") + 4
    return struct.unpack_from(">I", data, at + 12)[0]


def hide_vp8_frames(path: Path, source: Path, hidden: set[int]) -> Path:
    """Write the VP8 file ``source`` with the show_frame bit of some packets cleared, as an alternate reference has."""
    with av.open(str(source)) as old:
        stream = old.streams.video[0]
        packets = [packet for packet in old.demux(stream) if packet.size]
        beside = path.with_name(f"new_{path.name}")
        with av.open(str(beside), "w") as new:
            target = new.add_stream_from_template(stream)
            for number, packet in enumerate(packets):
                data = bytearray(bytes(packet))
                if number in hidden:
                    data[0] &= ~0x10
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.stream, copy.is_keyframe = target, packet.is_keyframe
                new.mux(copy)
    return beside.replace(path)


def split_superframes(path: Path, source: Path) -> Path:
    """Write the VP9 file ``source`` with every frame in a packet of its own, also those that are not shown."""
    with av.open(str(source)) as old, av.open(str(path), "w", options={"fflags": "-autobsf"}) as new:
        stream = old.streams.video[0]
        target = new.add_stream_from_template(stream)
        split = BitStreamFilterContext("vp9_superframe_split", stream)
        for packet in old.demux(stream):
            if packet.size:
                for part in split.filter(packet):
                    part.stream = target
                    new.mux(part)
    return path


def leave_out_packets(path: Path, source: Path, first: int) -> Path:
    """Write ``source`` without its first packets, as a recording that begins between two key frames."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        target = new.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            if number >= first:
                packet.stream = target
                new.mux(packet)
    return path


def damage_packets(path: Path, source: Path, packets: range) -> Path:
    """Write ``source`` with the bytes of some packets made 0xFF, in a sound container."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        target = new.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            copy = av.Packet(b"\xff" * packet.size if number in packets else bytes(packet))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.stream, copy.is_keyframe = target, packet.is_keyframe
            new.mux(copy)
    return path


def repeat_stamps(path: Path, source: Path, packets: set[int]) -> Path:
    """Write ``source``, which has no B-frames, with some packets' time stamps the same as the packet's before."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        target = new.add_stream_from_template(stream)
        before = 0
        for number, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            packet.pts = packet.dts = before = before if number in packets else packet.pts
            packet.stream = target
            new.mux(packet)
    return path


def write_two_videos(path: Path, first: np.ndarray, second: np.ndarray) -> Path:
    """Write an mp4 with two video streams; FFmpeg's own choice is the second, marked as default."""
    with av.open(str(path), "w") as container:
        streams = []
        for frames in (first, second):
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            if frames is second:
                stream.disposition = av.stream.Disposition.default
            streams.append(stream)
        for stream, frames in zip(streams, (first, second), strict=True):
            for number, array in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def write_audio_with_cover(path: Path) -> Path:
    """Write a sound file with a cover picture, which FFmpeg shows as a video stream of one frame."""
    with av.open(str(path), "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = container.add_stream("aac", rate=8000, layout="mono")
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode(None))
        _mux_silence(container, sound, seconds=0.5)
    return path


def write_covered_video(path: Path, frames: np.ndarray) -> Path:
    """Write an mp4 or mkv with a cover picture, 32 by 32, which FFmpeg shows as a video stream of one frame."""
    black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
    black.pts, black.time_base = 0, Fraction(1, 25)
    with av.open(str(path), "w") as container:
        if path.suffix == ".mkv":
            container.add_attachment("cover.jpg", "image/jpeg", _jpeg(black))
        else:
            cover = container.add_stream("mjpeg", rate=25)
            cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        if path.suffix != ".mkv":
            container.mux(cover.encode(black))
            container.mux(cover.encode(None))
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def _jpeg(frame: av.VideoFrame) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 32, 32, "yuvj420p", Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def forge_title(path: Path, source: Path) -> Path:
    """Write ``source``, whose title is "OLD TITLE", with bytes in that title which are not UTF-8."""
    data = source.read_bytes()
    assert data.count(b"OLD TITLE") == 1
    path.write_bytes(data.replace(b"OLD TITLE", b"OLD \xc4\xfc\xff\xfe\xe9"))
    return path
