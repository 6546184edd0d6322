"""A stand-in for torchcodec's decoder."""

from __future__ import annotations

from types import SimpleNamespace

import av
import numpy as np
import torch


class FakeDecoder:
    """What ``torchcodec.decoders.VideoDecoder`` gives, made with PyAV; tests bend it."""

    made: list[FakeDecoder] = []
    changes: dict[str, object] = {}

    def __init__(self, source, *, stream_index, dimension_order, num_ffmpeg_threads, seek_mode) -> None:
        assert (dimension_order, seek_mode) == ("NHWC", "exact")
        if error := self.changes.get("opening"):
            raise error
        self.stream_index, self.threads, self.asked = stream_index, num_ffmpeg_threads, []
        with av.open(source) as container:
            stream = [s for s in container.streams if s.index == (stream_index or 0)][0]
            frames = list(container.decode(stream))
        self.pictures = torch.from_numpy(
            np.stack([np.rot90(f.to_ndarray(format="rgb24"), f.rotation // 90) for f in frames])
        )
        self.times = torch.tensor([f.time for f in frames], dtype=torch.float64)
        self.metadata = SimpleNamespace(
            height=frames[0].height,
            width=frames[0].width,
            rotation=frames[0].rotation or None,
            average_fps=25.0,
        )
        vars(self.metadata).update(self.changes.get("metadata", {}))
        FakeDecoder.made.append(self)

    def __len__(self) -> int:
        return self.changes.get("length", len(self.pictures))

    def get_frames_at(self, indices):
        self.asked.append(indices)
        if error := self.changes.get("decoding"):
            raise error
        shift = self.changes.get("shift", 0.0)
        return SimpleNamespace(data=self.pictures[indices], pts_seconds=self.times[indices] + shift)
