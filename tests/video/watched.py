"""A PyAV reader that tells what it does."""

from __future__ import annotations

from uniformer_video.video.pyav import PyAVReader


class Watched(PyAVReader):
    """A reader that notes its passes and the frames it decodes and converts."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.passes: list[tuple[int, list[int]]] = []
        self.decoded = self.converted = 0

    def _pass(self, wanted, key, keep):
        self.passes.append((key, list(wanted)))
        super()._pass(wanted, key, keep)

    def _decoded(self, key):
        for frame in super()._decoded(key):
            self.decoded += 1
            yield frame

    def upright_rgb(self, frame):
        self.converted += 1
        return super().upright_rgb(frame)
