"""What is in a video file, found by reading all its packets but decoding only the first frame.

Both readers start here, so they agree on the frame count, the frame rate, the size, the rotation, and on which files
are refused.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from uniformer_video.video.container import is_url, open_container, reading_fault, video_stream
from uniformer_video.video.matroska import matroska_fault
from uniformer_video.video.reader import DecodeError

# Containers whose time stamps name the frames: FFmpeg hands them through from the packet to the decoded frame.
# Elsewhere (AVI, MPEG streams) they are guessed, and frames can only be counted.
_TIMED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
# Containers in which FFmpeg seeks to the start by an index, so that the same packets come again. Elsewhere (MPEG
# streams) it guesses the place.
_REWINDABLE_FORMATS = _TIMED_FORMATS | {"avi"}

# A header's frame rate that is further off from the time stamps, as a share, is not believed.
_RATE_TOLERANCE = 0.02

PacketMark = tuple[int | None, ...]
"""What tells a packet from others: its presentation time stamp, place in the file, and size. (Not its decoding time
stamp: in Matroska FFmpeg guesses it, and otherwise after a seek.)"""


@dataclass(frozen=True)
class VideoIndex:
    """What a video file holds.

    Attributes:
        path: the file.
        container: FFmpeg's name of its container, such as "matroska,webm".
        stream: number of the video stream read, within the file.
        is_best: whether FFmpeg itself would choose this stream.
        packets: number of packets of that stream.
        num_frames: frames shown: packets less those an edit list cuts away and those a codec hides.
        fps: average frames each second.
        rotation: quarter turns counter-clockwise that set the stored picture upright, 0 to 3.
        stored_size: (height, width) before that rotation.
        pixel_format: FFmpeg's name of the first frame's pixel format, such as "yuv420p".
        start: mark of the stream's first packet.
        start_time: time stamp to seek to for that packet, in the stream's units; None where the container does not seek
            there reliably.
        time_base: the stream's unit of time, seconds.
        stamps: time stamp of every frame shown, rising; empty where packets lack them or two are the same.
        times: the same; empty also where a decoded frame's stamp is not to be trusted to be its packet's.
        keys: time stamps of the key frames among ``times``, rising.
        key_packets: number of each of these key frames' packets, in file order.
    """

    path: str
    container: str
    stream: int
    is_best: bool
    packets: int
    num_frames: int
    fps: float
    rotation: int
    stored_size: tuple[int, int]
    pixel_format: str
    start: PacketMark
    start_time: int | None
    time_base: Fraction
    stamps: list[int] = field(repr=False)
    times: list[int] = field(repr=False)
    keys: list[int] = field(repr=False)
    key_packets: list[int] = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), upright."""
        height, width = self.stored_size
        return (width, height) if self.rotation % 2 else (height, width)

    @property
    def seconds(self) -> np.ndarray:
        """Time of every frame from the first one, seconds: float64 (num_frames,). Without time stamps number / fps."""
        if not self.stamps:
            return np.arange(self.num_frames, dtype=np.float64) / self.fps
        ticks = np.array(self.stamps, np.int64) - self.stamps[0]
        return ticks * self.time_base.numerator / self.time_base.denominator

    def key_of(self, frame: int) -> int:
        """Return the number (in ``keys``) of the last key frame shown not after ``frame``, -1 where there is none."""
        return bisect_right(self.keys, self.times[frame]) - 1


@dataclass
class _Packets:
    """The packets of one stream as they are met."""

    start: PacketMark = ()
    start_stamps: tuple[int | None, int | None] = (None, None)
    count: int = 0
    corrupt: int = 0
    times: list[int | None] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)
    first_frame: VideoFrame | None = None


def packet_mark(packet: av.Packet) -> PacketMark:
    """Return the mark of a packet."""
    return packet.pts, packet.pos, packet.size


def index_video(path: str) -> VideoIndex:
    """Read all packets of a file's video stream and decode its first frame.

    Raises:
        DecodeError: the file cannot be opened, has no video stream, breaks off, or its first frame cannot be decoded.
    """
    index, container = open_indexed(path)
    container.close()
    return index


def open_indexed(path: str, threads: int = 1) -> tuple[VideoIndex, InputContainer]:
    """As :func:`index_video`, and hand over the open container, which stands at its end.

    Args:
        path: the file.
        threads: decoding threads of its video stream.

    Raises:
        DecodeError: as :func:`index_video`; the container is closed then.
    """
    container = open_container(path)
    try:
        return _index(container, path, threads), container
    except BaseException:
        container.close()
        raise


def _index(container: InputContainer, path: str, threads: int) -> VideoIndex:
    stream = video_stream(container, path, threads)
    is_matroska = container.format.name == "matroska,webm"
    fault = matroska_fault(path) if is_matroska and not is_url(path) else None
    if fault:
        raise DecodeError(path, fault)
    packets = _read_packets(container, stream, path)
    promised = sum(1 for entry in stream.index_entries if entry.size > 0)
    if packets.corrupt or packets.count < promised:
        whole = packets.count - packets.corrupt
        total = f" of {promised}" if promised > whole else ""
        raise DecodeError(path, f"the file breaks off or is damaged: {whole} whole packets{total}")
    if packets.first_frame is None:
        raise DecodeError(path, "its video stream holds no frame that can be decoded")
    if not packets.times:
        raise DecodeError(path, "its video stream shows no frame")
    return _finish(path, container, stream, packets)


def _read_packets(container: InputContainer, stream: VideoStream, path: str) -> _Packets:
    found = _Packets()
    hides_frames = stream.codec_context.name in ("vp8", "libvpx")
    try:
        for packet in container.demux(stream):
            if found.first_frame is None:
                found.first_frame = next(iter(packet.decode()), None)
            if not packet.size:
                continue
            if not found.count:
                found.start, found.start_stamps = packet_mark(packet), (packet.pts, packet.dts)
            # Bit 4 of a VP8 frame is show_frame (RFC 6386, section 9.1); other codecs show one frame for each packet.
            hidden = hides_frames and not bytes(packet)[0] & 0x10
            if not (packet.is_discard or hidden):
                found.times.append(packet.pts)
                if packet.is_keyframe and packet.pts is not None:
                    found.keys.append((packet.pts, found.count))
            found.count += 1
            found.corrupt += packet.is_corrupt
    except (av.error.FFmpegError, OSError) as error:
        raise DecodeError(path, f"the file cannot be read after packet {found.count}: {reading_fault(error)}") from None
    return found


def _finish(path: str, container: InputContainer, stream: VideoStream, packets: _Packets) -> VideoIndex:
    frame, kind = packets.first_frame, container.format.name
    distinct = None not in packets.times and len(set(packets.times)) == len(packets.times)
    stamps: list[int] = sorted(packets.times) if distinct else []
    times = stamps if kind in _TIMED_FORMATS else []
    keys = sorted(packets.keys) if times else []
    starts = [stamp for stamp in packets.start_stamps if stamp is not None]
    quarters = frame.rotation / 90
    return VideoIndex(
        path=path,
        container=kind,
        stream=stream.index,
        is_best=container.streams.best("video") is stream,
        packets=packets.count,
        num_frames=len(packets.times),
        fps=_frame_rate(stream, packets.times),
        # As decord and most players: a matrix that is no quarter turn is left alone.
        rotation=int(quarters) % 4 if quarters.is_integer() else 0,
        stored_size=(frame.height, frame.width),
        pixel_format=frame.format.name,
        start=packets.start,
        start_time=min(starts) if starts and kind in _REWINDABLE_FORMATS else None,
        time_base=stream.time_base,
        stamps=stamps,
        times=times,
        keys=[key for key, _ in keys],
        key_packets=[number for _, number in keys],
    )


def _frame_rate(stream: VideoStream, times: list[int | None]) -> float:
    """Return the average frames each second: what the file says, unless its time stamps plainly say other.

    A header's rate is exact where it is right (30000/1001), and stamps are rounded to the stream's unit. It is wrong in
    files of a variable rate and where a program wrote what it pleased: there the frames shown less one, over the time
    from the first to the last, counts.
    """
    said = next((float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate), 0.0)
    known = [time for time in times if time is not None]
    span = (max(known) - min(known)) * float(stream.time_base) if known and stream.time_base else 0.0
    if span > 0:
        expected = (len(known) - 1) / said if said else 0.0
        if abs(span - expected) > max(_RATE_TOLERANCE * expected, 2 * float(stream.time_base)):
            return (len(known) - 1) / span
    return said or 25.0  # FFmpeg's own assumption where a file says nothing and shows a single frame
