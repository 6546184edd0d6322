"""Reading videos with PyAV (FFmpeg): exact frames, one pass, a seek where it saves decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from uniformer_video.video.container import READING_FAULTS, open_container, reading_fault, video_stream
from uniformer_video.video.index import PacketMark, open_indexed, packet_mark
from uniformer_video.video.reader import DecodeError, ReaderBase
from uniformer_video.video.skipping import Skipper
from uniformer_video.video.watch import check_wanted

# A seek costs about as much as decoding a few frames (it empties the decoder), so a smaller saving is not worth one.
_WORTHWHILE_SKIP = 16


class _PassError(Exception):
    """One pass through the file did not give a wanted frame; the text says why."""


class _NotTimed(Exception):
    """A decoded frame has a time stamp that no packet announced."""


class PyAVReader(ReaderBase):
    """A :class:`~uniformer_video.video.reader.VideoReader` on PyAV.

    Frames are known by their time stamps (mp4, mov, mkv, webm, most MPEG streams) or, where time stamps mean little
    (avi) or some are missing, counted from the start. A frame that the decoder marks as damaged, one it drops, and all
    that build on it up to the next key frame, are not given out. (Damaged bytes that happen to be valid code show no
    error to any decoder.)

    RGB conversion is swscale's fast path without accurate rounding, which is what decord 0.6 does: the pixels are the
    same to the bit for 8-bit 4:2:0 video of even height.

    In H.264 and HEVC (mp4, mov, mkv) the decoder steps over the frames that are not wanted and that no other builds on:
    less work where there are B-frames, and the same pixels. What is wrong with such a frame is not noticed then, as no
    wanted one depends on it. Where a pass that stepped over frames fails, it is repeated whole.

    An mp4, mov, mkv, webm or avi is opened once: what the index pass has opened is kept, and taken back to its start
    by a seek, whose first packet must be the file's first. Where it is not, where decoding from there fails, and in
    other containers (MPEG streams, whose seeks guess), the file is opened anew for a pass from the start.

    Args:
        path: the file.
        threads: decoding threads. 1 is right in a data loader with several workers.

    Raises:
        DecodeError: the file cannot be read.
    """

    def __init__(self, path: str, threads: int = 1) -> None:
        self.path = str(path)
        self._threads = threads
        self._container: av.container.InputContainer | None
        self._index, self._container = open_indexed(self.path, threads)
        self.num_frames, self.fps, self.size = self._index.num_frames, self._index.fps, self._index.size
        self._timed = bool(self._index.frame_stamps)
        self._number = {stamp: number for number, stamp in enumerate(self._index.frame_stamps)}
        # Frames before the first that can be decoded: some decoders paint them grey. What is older is no frame at all.
        begins_whole = self._index.begins_whole or not self._timed
        self._oldest = None if begins_whole else self._index.frame_stamps[0]
        self._reformatter = VideoReformatter()
        codec = self._container.streams[self._index.stream].codec_context
        # Threads that decode several frames at once have each its own idea of what to skip.
        can_skip = bool(self._index.times) and threads == 1
        self._skipper = Skipper(codec, self._number if can_skip else {})
        if self._index.start_time is None:
            self._release()

    @property
    def seconds(self) -> np.ndarray:
        """See :attr:`uniformer_video.video.reader.VideoReader.seconds`."""
        return self._index.seconds

    def close(self) -> None:
        """Release the file. May be called twice."""
        super().close()
        self._release()

    def frames_at(self, indices: Sequence[int]) -> torch.Tensor:
        """See :meth:`uniformer_video.video.reader.VideoReader.frames_at`."""
        places = self._places(indices)
        frames = self._room(places)

        def keep(number: int, frame: VideoFrame) -> None:
            first, *others = places[number]
            frames[first] = self.upright_rgb(frame)
            for position in others:
                frames[position] = frames[first]

        try:
            self._decode(list(places), keep)
        except _NotTimed:
            self._timed = False
            self._decode(list(places), keep)
        return torch.from_numpy(frames)

    def decoded_frames(self) -> Iterator[VideoFrame]:
        """Yield every frame in order, as the decoder gives it: frame k is the k-th yielded.

        Frames are refused for the same faults as in :meth:`frames_at`, where it decodes all of them.

        Raises:
            DecodeError: a frame that is missing, damaged, or builds on one that is.
        """
        due, expected, damage = 0, 0, ""
        # Opened anew, a file needs no seek that could miss its start.
        self._release()
        self._skipper.need(None)
        try:
            for frame in self._decoded(-1):
                if isinstance(frame, str):
                    damage = frame
                    if not self._timed:  # The count is lost with the frame.
                        break
                    continue
                try:
                    number = self._number_of(frame, expected)
                except _NotTimed:  # From here on frames are counted; up to here the count is the same.
                    self._timed, number = False, expected
                    if damage:
                        break
                damage = self._damage(frame, number, expected, damage)
                expected = number + 1
                if number < due:
                    continue
                if number > due or damage:
                    damage = damage or "it is missing"
                    break
                yield frame
                due += 1
                if due == self.num_frames:
                    return
        except _PassError as error:
            raise DecodeError(self.path, str(error)) from None
        raise DecodeError(self.path, self._failure(due, damage or "the video ends before it"))

    def upright_rgb(self, frame: VideoFrame) -> np.ndarray:
        """Return the pixels of a frame of this video, uint8 (height, width, 3) RGB, turned upright; a view."""
        height, width = self._index.stored_size
        picture = self._reformatter.reformat(
            frame, width, height, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        plane = picture.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, : width * 3]
        return np.rot90(rows.reshape(height, width, 3), self._index.rotation)

    def _decode(self, wanted: list[int], keep: Callable[[int, VideoFrame], None]) -> None:
        for key, run in self._runs(wanted):
            cause = ""
            for start in self._attempts(run, key):
                try:
                    self._pass(run, start, keep)
                    break
                except _PassError as error:
                    cause = str(error)
            else:
                raise DecodeError(self.path, cause)

    def _attempts(self, wanted: list[int], key: int) -> Iterator[int]:
        """Prepare passes for ``wanted``, as long as they fail, and yield the key frame that each starts from."""
        self._skipper.need(
            {self._index.times[number] for number in wanted} if self._timed and self._index.times else None
        )
        was_sought = key >= 0 or self._can_rewind()
        yield key
        if self._skipper.left_out:  # What is lost or damaged is judged with all frames there.
            self._skipper.need(None)
            was_sought = key >= 0 or self._can_rewind()
            yield key
        self._skipper.need(None)
        self._release()
        # The container's key frame may be none (a seek into open material): opened anew, from the start.
        if was_sought:
            yield -1

    def _runs(self, wanted: list[int]) -> Iterator[tuple[int, list[int]]]:
        """Cut rising ``wanted`` into runs, each with the key frame to start from (-1: the start of the file)."""
        if not (self._timed and self._index.times):
            if wanted:
                yield -1, wanted
            return
        packets = self._index.key_packets
        run: list[int] = []
        start, reached = -1, 0
        for number in wanted:
            key = self._index.key_of(number)
            # A frame is decoded about as late as it is shown; the first packet counts as reached.
            if key >= 0 and packets[key] - reached >= _WORTHWHILE_SKIP:
                if run:
                    yield start, run
                start, run = key, []
            run.append(number)
            reached = max(number, packets[key] if key >= 0 else 0)
        if run:
            yield start, run

    def _pass(self, wanted: list[int], key: int, keep: Callable[[int, VideoFrame], None]) -> None:
        """Decode from a key frame up to the last of ``wanted``, handing each wanted frame to ``keep``.

        Raises:
            _PassError: a wanted frame did not come, or came damaged.
            _NotTimed: the file's time stamps do not name its frames after all.
        """
        left = iter(wanted)
        due = next(left)
        expected = 0 if key < 0 else self._number[self._index.keys[key]]
        damage = ""
        for frame in self._decoded(key):
            if isinstance(frame, str):
                if not self._timed:  # The count is lost with the frame.
                    raise _PassError(self._failure(due, frame))
                damage = frame
                continue
            number = self._number_of(frame, expected)
            damage = self._damage(frame, number, expected, damage)
            expected = number + 1
            if number >= due:
                if number > due or damage:
                    raise _PassError(self._failure(due, damage or "it is missing"))
                keep(number, frame)
                due = next(left, -1)
                if due < 0:
                    return
        raise _PassError(self._failure(due, damage or "the video ends before it"))

    def _failure(self, number: int, cause: str) -> str:
        return f"frame {number} of {self.num_frames} cannot be decoded: {cause}"

    def _number_of(self, frame: VideoFrame, expected: int) -> int:
        if not self._timed:
            return expected
        number = self._number.get(frame.pts)
        if number is None or (number < expected and not self._index.times):
            raise _NotTimed
        return number

    def _damage(self, frame: VideoFrame, number: int, expected: int, before: str) -> str:
        """Return what spoils this frame ("" for nothing): its own damage, or that of a frame it builds on."""
        if frame.is_corrupt:
            return f"the data of frame {number} is damaged"
        if frame.key_frame:
            return ""
        missing = next((lost for lost in range(expected, number) if lost not in self._skipper.left_out), None)
        return before or ("" if missing is None else f"frame {missing} is missing")

    def _decoded(self, key: int) -> Iterator[VideoFrame | str]:
        """Yield the decoded frames from key frame ``key`` on; the text of an error in place of a frame that failed."""
        try:
            container, stream, mark = self._at(key)
            for number, packet in enumerate(container.demux(stream)):
                check_wanted(self.path)
                if number == 0 and packet_mark(packet)[: len(mark)] != mark:
                    raise _PassError("the seek did not reach its packet")
                self._skipper.choose(stream.codec_context, packet)
                try:
                    for frame in packet.decode():
                        if self._oldest is None or frame.pts is None or frame.pts >= self._oldest:
                            yield frame
                except av.error.InvalidDataError:
                    yield "its data is damaged"
        except READING_FAULTS as error:
            raise _PassError(f"reading failed: {reading_fault(error)}") from None

    def _can_rewind(self) -> bool:
        return self._container is not None and self._index.start_time is not None

    def _at(self, key: int) -> tuple[av.container.InputContainer, VideoStream, PacketMark]:
        """Return the container placed before key frame ``key``, or at its start; how the first packet's mark begins."""
        if key < 0 and not self._can_rewind():
            self._release()
        was_open = self._container is not None
        if self._container is None:
            self._container = open_container(self.path)
            video_stream(self._container, self.path, self._threads)
        stream = self._container.streams[self._index.stream]
        self._skipper.reset(stream.codec_context)
        if key >= 0:
            self._container.seek(self._index.keys[key], stream=stream)
            return self._container, stream, (self._index.keys[key],)
        if was_open:
            self._container.seek(self._index.start_time, stream=stream)
            return self._container, stream, self._index.start
        return self._container, stream, ()

    def _release(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
