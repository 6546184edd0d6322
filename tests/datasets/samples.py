"""Samples whose pixels tell where they come from."""

from __future__ import annotations

import torch

from uniformer_video.datasets.dataset import Sample


def sample(record, value, clips=2, failures=(), epoch=3, turn=0):
    pixels = torch.full((clips, 3, 1, 2, 2), value, dtype=torch.uint8)
    for part in range(clips):
        pixels[part] += part
    labels = torch.full((clips,), 100 + record)
    return Sample(pixels, labels, record, epoch, turn, list(failures))
