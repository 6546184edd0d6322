"""Which packets a decoder may leave out: those of frames that no other frame is decoded from.

Encoders with B-frames mark them, about half of all frames: a decoder that is told to (``skip_frame`` "NONREF") steps
over such a packet after a look at its first bytes, and every other frame comes out the same to the bit. The same bytes
are read here, so that a frame left out on purpose is told from one that is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import av
from av.video.codeccontext import VideoCodecContext

IsUnreferenced = Callable[[av.Packet], bool]
"""Whether a packet's frame is marked, in all its parts, as one that no other frame builds on."""


def unreferenced_test(codec: str, extradata: bytes | None) -> IsUnreferenced | None:
    """Return the test for packets of a stream; None where such frames are not known, or rare.

    H.264 and HEVC only, with lengths between their units, as mp4, mov and mkv have them. (VP9 and AV1 hardly have such
    frames.)

    Args:
        codec: FFmpeg's name of the codec.
        extradata: the stream's headers as the container holds them.
    """
    data = extradata or b""
    if codec == "h264" and len(data) > 6 and data[0] == 1:
        return _of_units(_h264_unit, (data[4] & 3) + 1)
    if codec == "hevc" and len(data) > 22 and data[0] == 1:
        layers = data[21] >> 3 & 7
        # Frames of a higher temporal layer may build on those marked in a lower one. 0 layers: not said.
        if layers:
            return _of_units(lambda first, second: _hevc_unit(first, second, layers), (data[21] & 3) + 1)
    return None


class Skipper:
    """Has a decoder step over frames that are not wanted and that no other frame builds on.

    Args:
        codec: the decoder of the stream.
        numbers: frame number of each time stamp that names a frame; empty: nothing is ever stepped over.

    Attributes:
        left_out: numbers of the frames stepped over since the last ``need``.
    """

    def __init__(self, codec: VideoCodecContext, numbers: Mapping[int, int]) -> None:
        self._numbers = numbers
        self._is_unreferenced = unreferenced_test(codec.codec.canonical_name, codec.extradata) if numbers else None
        self._needed: set[int] | None = None
        self._is_skipping = False
        self.left_out: set[int] = set()

    def need(self, stamps: set[int] | None) -> None:
        """Set the time stamps of the frames that are wanted from now on; None: all are."""
        self._needed, self.left_out = stamps if self._is_unreferenced else None, set()

    def reset(self, codec: VideoCodecContext) -> None:
        """Have ``codec``, which may be another than before, decode all that comes, until the next ``choose``."""
        codec.skip_frame, self._is_skipping = "DEFAULT", False

    def choose(self, codec: VideoCodecContext, packet: av.Packet) -> None:
        """Set whether ``codec`` steps over the packet that it is given next."""
        skips = False
        if self._needed is not None and packet.pts not in self._needed:
            number = self._numbers.get(packet.pts)
            skips = number is not None and self._is_unreferenced(packet)
            if skips:
                self.left_out.add(number)
        if skips != self._is_skipping:
            codec.skip_frame, self._is_skipping = "NONREF" if skips else "DEFAULT", skips


def _of_units(kind: Callable[[int, int], int], length_size: int) -> IsUnreferenced:
    """Return a test of packets that are units, each behind its length in ``length_size`` bytes.

    ``kind`` tells by a unit's first two bytes: 1 a part of an unreferenced frame, 0 no part of a frame, -1 anything
    that must be decoded. A packet passes with at least one 1, no -1, and lengths that end where it ends: damaged ones
    are the decoder's to judge.
    """

    def test(packet: av.Packet) -> bool:
        data = memoryview(packet)
        at, size, found = 0, len(data), False
        while at + length_size + 2 <= size:
            start = at + length_size
            at = start + int.from_bytes(data[at:start], "big")
            verdict = kind(data[start], data[start + 1])
            if verdict < 0 or at < start + 2:
                return False
            found = found or verdict > 0
        return found and at == size

    return test


def _h264_unit(first: int, second: int) -> int:
    # Bits: forbidden zero, nal_ref_idc 2, nal_unit_type 5 (ITU-T H.264, section 7.3.1). 1: slice; 6, 9, 12:
    # supplemental information, delimiter, filler.
    if first == 1:
        return 1
    return 0 if first & 0x9F in (6, 9, 12) else -1


def _hevc_unit(first: int, second: int, layers: int) -> int:
    # Bits: forbidden zero, nal_unit_type 6, nuh_layer_id 6, nuh_temporal_id_plus1 3 (ITU-T H.265, section 7.3.1.2).
    # Even types below 16 are slices of sub-layer non-reference pictures; 35, 38, 39, 40: delimiter, filler,
    # supplemental information.
    kind = first >> 1
    if first & 1 or second >> 3:
        return -1
    if kind < 10 and kind % 2 == 0 and (second & 7) >= layers:
        return 1
    return 0 if kind in (35, 38, 39, 40) else -1
