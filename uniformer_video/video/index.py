"""What is in a video file, found by reading all its packets but decoding only the first frame.

Both readers start here, so they agree on the frame count, the frame rate, the size, the rotation, and on which files
are refused.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from uniformer_video.video.container import READING_FAULTS, is_url, open_container, reading_fault, video_stream
from uniformer_video.video.matroska import matroska_fault
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.watch import check_wanted

TURNED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2"}
"""Containers whose rotation every FFmpeg knows."""
TIMED_FORMATS = TURNED_FORMATS | {"matroska,webm"}
"""Containers whose time stamps name the frames, for seeking too: FFmpeg hands them through from the packet to the
decoded frame. Elsewhere they are partly guessed (MPEG streams) or entirely (AVI), and frames are counted."""
# Containers in which, if all packets have time stamps, decoded frames have their packets'.
_STAMPED_FORMATS = TIMED_FORMATS | {"mpegts", "mpeg"}
# Containers in which FFmpeg seeks to the start by an index, so that the same packets come again. Elsewhere (MPEG
# streams) it guesses the place.
_REWINDABLE_FORMATS = TIMED_FORMATS | {"avi"}

# Codecs with packets that show no frame; in others every packet shows one.
_HIDING_CODECS = {"vp8", "vp9"}

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
        num_frames: frames shown: packets less those an edit list cuts away, those a codec hides, and those that come
            before the first frame which can be decoded (recordings that begin between two key frames).
        fps: average frames each second.
        rotation: quarter turns counter-clockwise that set the stored picture upright, 0 to 3.
        stored_size: (height, width) before that rotation.
        pixel_format: FFmpeg's name of the first frame's pixel format, such as "yuv420p".
        interlaced: whether the first frame is made of two fields.
        begins_whole: whether the first frame counted is the first that a decoder gives, and nothing failed before it.
        start: mark of the stream's first packet.
        start_time: time stamp to seek to for that packet, in the stream's units; None where the container does not seek
            there reliably.
        time_base: the stream's unit of time, seconds.
        stamps: time stamp of every frame shown, rising; empty where packets lack them or two are the same.
        times: the same; empty also where FFmpeg cannot seek to a stamp reliably.
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
    interlaced: bool
    begins_whole: bool
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
    def frame_stamps(self) -> list[int]:
        """Time stamps that decoded frames are known by: ``times``, and those of MPEG streams, good for no more."""
        return self.stamps if self.container in _STAMPED_FORMATS else []

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
    begins_with_key: bool = False
    has_fault: bool = False


def packet_mark(packet: av.Packet) -> PacketMark:
    """Return the mark of a packet."""
    return packet.pts, packet.pos, packet.size


def index_video(path: str) -> VideoIndex:
    """Read all packets of a file's video stream and decode its first frame.

    Raises:
        DecodeError: the file cannot be opened, has no video stream, breaks off, or none of its frames can be decoded.
    """
    index, container = open_indexed(path)
    container.close()
    return index


def open_indexed(path: str, threads: int = 1) -> tuple[VideoIndex, InputContainer]:
    """As :func:`index_video`, and hand over the open container, which stands at its end.

    Args:
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
    codec = stream.codec_context.codec.canonical_name
    try:
        for packet in container.demux(stream):
            check_wanted(path)
            if found.first_frame is None:
                try:
                    found.first_frame = next(iter(packet.decode()), None)
                except av.error.InvalidDataError:  # it builds on a frame not in the file, or is damaged
                    if container.format.name not in TIMED_FORMATS:
                        raise  # for nothing there would tell which of the two
                    found.has_fault = True
            if not packet.size:
                continue
            if not found.count:
                found.start, found.start_stamps = packet_mark(packet), (packet.pts, packet.dts)
                # FFmpeg's parser takes the mark off a damaged packet; the container's index keeps it.
                entry = next(iter(stream.index_entries), None)
                is_entered = entry is not None and entry.is_keyframe and entry.timestamp in found.start_stamps
                found.begins_with_key = packet.is_keyframe or is_entered
            if not (packet.is_discard or (codec in _HIDING_CODECS and _is_hidden(bytes(packet), codec))):
                found.times.append(packet.pts)
                if packet.is_keyframe and packet.pts is not None:
                    found.keys.append((packet.pts, found.count))
            found.count += 1
            found.corrupt += packet.is_corrupt
    except READING_FAULTS as error:
        raise DecodeError(path, f"the file cannot be read after packet {found.count}: {reading_fault(error)}") from None
    return found


def _is_hidden(data: bytes, codec: str) -> bool:
    """Return whether a packet's frame, of a codec in ``_HIDING_CODECS``, is only there for others to build on."""
    if codec == "vp8":  # show_frame: RFC 6386, section 9.1
        return not data[0] & 0x10
    # A superframe (VP9 bitstream specification, annex B), whose last frame is shown, ends with an index between two
    # equal bytes: 110, size of a frame's size less one (2 bits), number of frames less one (3 bits).
    last = data[-1]
    length = 2 + ((last >> 3 & 3) + 1) * ((last & 7) + 1)
    if last & 0xE0 == 0xC0 and data[-length:][0] == last:
        return False
    # The uncompressed header (section 6.2), bits from the highest: marker 2, profile 2, in profile 3 a reserved one,
    # show_existing_frame, frame_type, show_frame.
    bits = data[0] << 1 if data[0] & 0x30 == 0x30 else data[0]
    return not bits & 0x08 and not bits & 0x02


def _finish(path: str, container: InputContainer, stream: VideoStream, packets: _Packets) -> VideoIndex:
    frame, kind = packets.first_frame, container.format.name
    distinct = None not in packets.times and len(set(packets.times)) == len(packets.times)
    stamps: list[int] = sorted(packets.times) if distinct else []
    first = leading = 0
    if stamps and kind in _STAMPED_FORMATS:
        first = bisect_left(stamps, frame.pts) if frame.pts in stamps else 0
        leading = _count_leading(stamps, packets, first)
        stamps = stamps[leading:]
    times = stamps if kind in TIMED_FORMATS else []
    keys = sorted(key for key in packets.keys if key[0] >= times[0]) if times else []
    starts = [stamp for stamp in packets.start_stamps if stamp is not None]
    quarters = frame.rotation / 90
    return VideoIndex(
        path=path,
        container=kind,
        stream=stream.index,
        is_best=container.streams.best("video") is stream,
        packets=packets.count,
        num_frames=len(stamps or packets.times),
        fps=_frame_rate(stream, stamps or packets.times),
        # As decord and most players: a matrix that is no quarter turn is left alone.
        rotation=int(quarters) % 4 if quarters.is_integer() else 0,
        stored_size=(frame.height, frame.width),
        pixel_format=frame.format.name,
        interlaced=frame.interlaced_frame,
        begins_whole=not (first or leading or packets.has_fault),
        start=packets.start,
        start_time=min(starts) if starts and kind in _REWINDABLE_FORMATS else None,
        time_base=stream.time_base,
        stamps=stamps,
        times=times,
        keys=[key for key, _ in keys],
        key_packets=[number for _, number in keys],
    )


def _count_leading(stamps: list[int], packets: _Packets, first: int) -> int:
    """Return how many frames come before the first that can be decoded, because they build on one not in the file.

    Where the file begins with a key frame (shown or not), that is so of frames shown before it; what else is missing is
    damage. Elsewhere it is so of all up to a key frame: some decoders (MPEG-4 part 2) paint them grey without a word.
    ``first`` is the number of the first frame that the decoder gave.
    """
    if packets.begins_with_key:
        key = packets.start[0]
        return first if first and key is not None and stamps[first - 1] < key else 0
    if packets.first_frame.key_frame or not packets.keys:
        return first
    return max(first, bisect_left(stamps, packets.keys[0][0]))


def _frame_rate(stream: VideoStream, times: list[int | None]) -> float:
    """Return the average frames each second: what the file says, unless its time stamps plainly say other.

    A header's rate is exact where it is right (30000/1001), and stamps are rounded to the stream's unit. It is wrong in
    files of a variable rate and where a program wrote what it pleased: there the frames shown less one, over the time
    from the first to the last, counts. Stamps that are missing or come twice (files put together from several, MPEG
    program streams) tell nothing where the file says something.
    """
    said = next((float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate), 0.0)
    known = {time for time in times if time is not None}
    span = (max(known) - min(known)) * float(stream.time_base) if known and stream.time_base else 0.0
    if span > 0 and (len(known) == len(times) or not said):
        expected = (len(times) - 1) / said if said else 0.0
        if abs(span - expected) > max(_RATE_TOLERANCE * expected, 2 * float(stream.time_base)):
            return (len(times) - 1) / span
    return said or 25.0  # FFmpeg's own assumption where a file says nothing and shows a single frame
