"""What a video file is, and whether it can be used."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from uniformer_video.video.container import READING_FAULTS, is_url
from uniformer_video.video.faults import is_no_video, kind_of_fault
from uniformer_video.video.frames import FrameFolderReader
from uniformer_video.video.index import open_indexed
from uniformer_video.video.picture_names import list_pictures, parse_template
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.resample import frame_step
from uniformer_video.video.watch import NotInTimeError, check_wanted, watched

# Bytes read at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """What :func:`probe_video` found. Picklable.

    Attributes:
        path: the file, or folder of pictures.
        ok: whether it can be used.
        reason: "" or, where not ok, one line that says why (without the path).
        kind: "" or, where not ok, a word for the reason, one of ``faults.KINDS``.
        frames: frames shown; in a file that is not ok, what its packets promise, or 0.
        fps: average frames each second.
        seconds: from the first frame to the end of the last.
        height: upright, pixels.
        width: upright, pixels.
        codec: FFmpeg's name, such as "h264"; of a folder, the pictures' format, such as "jpeg".
        container: FFmpeg's name, such as "mov,mp4,m4a,3gp,3g2,mj2"; "folder" for a folder of pictures.
        pixel_format: FFmpeg's name, such as "yuv420p"; Pillow's mode in a folder.
        rotation: degrees counter-clockwise by which the stored picture is turned to be upright: 0, 90, 180 or 270.
        variable_rate: whether frames are shown for times that differ by more than rounding.
        key_frames: median distance of key frames in frames (a single one: all frames); 0.0 where it is not known.
        bytes: size of the file, or of all pictures.
        sha256: of the file's bytes (of a folder: of its pictures' hashes in order), "" where they were not read.
    """

    path: str
    ok: bool = False
    reason: str = ""
    kind: str = ""
    frames: int = 0
    fps: float = 0.0
    seconds: float = 0.0
    height: int = 0
    width: int = 0
    codec: str = ""
    container: str = ""
    pixel_format: str = ""
    rotation: int = 0
    variable_rate: bool = False
    key_frames: float = 0.0
    bytes: int = 0
    sha256: str = ""


def probe_video(
    path: str, *, full: bool = True, timeout_seconds: float = 0.0, image_template: str = "", image_fps: float = 12.0
) -> Probe:
    """Look at one video. Never raises for a bad file, and returns within ``timeout_seconds``, if that is set.

    Args:
        path: a file, an address, or a folder of pictures.
        full: decode every frame (one after the other, in constant memory), so that a file that passes gives every
            frame to a reader; else headers and packets only, and of a folder the names and the first picture.
        timeout_seconds: give up after so long ("timeout"); 0 means never.
        image_template: names of the pictures in a folder; "" tells it from the files.
        image_fps: frames each second of a folder.

    Raises:
        UserError: a template that is none.
    """
    path = os.fspath(path)
    if image_template:
        parse_template(image_template)

    def work() -> Probe:
        return _Prober(path, full, image_template, image_fps).probe()

    if timeout_seconds <= 0:
        return work()
    try:
        return watched(
            path,
            lambda _: work(),
            patience=timeout_seconds,
            complaint=f"not read within {timeout_seconds:g} seconds",
        )
    except NotInTimeError as error:
        return Probe(path, reason=error.cause, kind="timeout")


class _Prober:
    """One look at one video: collects what is known, so that a fault on the way leaves what was found before."""

    def __init__(self, path: str, full: bool, template: str, fps: float) -> None:
        self.path, self.full, self.template, self.fps = path, full, template, fps
        self._found: dict[str, Any] = {}

    def probe(self) -> Probe:
        try:
            self._look()
        except DecodeError as error:
            kind = error.kind if isinstance(error, _Fault) else self._kind()
            return Probe(self.path, reason=error.cause, kind=kind, **self._found)
        except OSError as error:
            return Probe(self.path, reason=error.strerror or str(error), kind="unreadable", **self._found)
        except READING_FAULTS as error:  # what PyAV makes of some senseless numbers in a header
            reason = " ".join(f"cannot be read: {str(error) or type(error).__name__}".split())
            return Probe(self.path, reason=reason, kind="damaged", **self._found)
        return Probe(self.path, ok=True, **self._found)

    def _kind(self) -> str:
        if is_url(self.path):
            return "unreadable"
        try:
            return kind_of_fault(self.path)
        except OSError:
            return "unreadable"

    def _look(self) -> None:
        if is_url(self.path):
            return self._look_at_file()
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _Fault(self.path, error.strerror, "missing") from None
        if stat.S_ISDIR(status.st_mode):
            return self._look_at_folder()
        if not stat.S_ISREG(status.st_mode):
            raise _Fault(self.path, "it is neither a file nor a folder", "unreadable")
        if not status.st_size:
            raise _Fault(self.path, "the file is empty", "empty")
        self._found["bytes"] = status.st_size
        digest = hashlib.sha256()
        self._read(self.path, digest)
        self._found["sha256"] = digest.hexdigest()
        return self._look_at_file()

    def _look_at_file(self) -> None:
        index, container = open_indexed(self.path)
        with container:
            name = container.format.name
            codec = container.streams[index.stream].codec_context.codec.canonical_name
        if is_no_video(name):
            raise _Fault(
                self.path, f"a single picture or a text, not a video (FFmpeg reads it as {name})", "not a video"
            )
        height, width = index.size
        times = index.seconds
        step = frame_step(times, index.fps)
        self._found |= {
            "frames": index.num_frames,
            "fps": index.fps,
            "seconds": float(times[-1]) + step,
            "height": height,
            "width": width,
            "codec": codec,
            "container": name,
            "pixel_format": index.pixel_format,
            "rotation": index.rotation * 90,
            "variable_rate": _varies(times, step, float(index.time_base)),
            "key_frames": _key_distance(index.key_packets, index.num_frames),
        }
        if self.full:
            with PyAVReader(self.path) as reader:
                for _ in reader.decoded_frames():
                    pass

    def _look_at_folder(self) -> None:
        try:
            names = list_pictures(self.path, self.template)
        except DecodeError as error:
            raise _Fault(self.path, error.cause, "no pictures") from None
        files = [os.path.join(self.path, name) for name in names]
        self._found |= {
            "frames": len(names),
            "fps": self.fps,
            "seconds": len(names) / self.fps,
            "container": "folder",
            "key_frames": 1.0,
            "bytes": sum(map(os.path.getsize, files)),
        }
        try:
            with FrameFolderReader(self.path, self.template, self.fps) as reader:
                self._found["height"], self._found["width"] = reader.size
                with Image.open(files[0]) as image:
                    self._found |= {"codec": (image.format or "").lower(), "pixel_format": image.mode}
                whole = hashlib.sha256()
                for number, file in enumerate(files if self.full else ()):
                    check_wanted(self.path)
                    reader.frames_at([number])
                    digest = hashlib.sha256()
                    self._read(file, digest)
                    whole.update(digest.digest())
        except DecodeError as error:
            raise _Fault(self.path, error.cause, "damaged") from None
        if self.full:
            self._found["sha256"] = whole.hexdigest()

    def _read(self, path: str, digest: Any) -> None:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                check_wanted(self.path)
                digest.update(block)


class _Fault(DecodeError):
    """A fault whose kind is known where it is met."""

    def __init__(self, path: str, cause: str, kind: str) -> None:
        super().__init__(path, cause)
        self.kind = kind


def _varies(times: np.ndarray, step: float, unit: float) -> bool:
    """Return whether the steps between ``times`` differ by more than rounding to the time unit and a hundredth."""
    if len(times) < 3:
        return False
    # Rounded times differ by one unit more or less; but where a step is a single unit, one more is a frame left out.
    allowed = max(min(1.01 * unit, 0.25 * step), 0.01 * step)
    return bool(np.abs(np.diff(times) - step).max() > allowed)


def _key_distance(key_packets: list[int], frames: int) -> float:
    if len(key_packets) < 2:
        return float(frames if key_packets else 0)
    return float(np.median(np.diff(sorted(key_packets))))
