"""Frames and generators for the tests of this folder."""

from __future__ import annotations

import numpy as np
import torch


def rng(*position: int) -> np.random.Generator:
    return np.random.default_rng(position or 0)


def noise_frames(num_frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Uniform noise, uint8 (T, H, W, 3)."""
    return torch.from_numpy(rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8))


def smooth_frames(num_frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Gradients with a little noise and a narrow range that differs from frame to frame, uint8 (T, H, W, 3)."""
    generator = rng(seed, 1)
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    frames = []
    for _ in range(num_frames):
        low, span = generator.uniform(10, 60, 3), generator.uniform(40, 150, 3)
        mix = generator.uniform(0, 1, 3)
        frames.append(low + span * (mix * y + (1 - mix) * x) + generator.normal(0, 3, (height, width, 3)))
    return torch.from_numpy(np.clip(np.stack(frames), 0, 255).astype(np.uint8))


def index_frames(height: int, width: int, num_frames: int = 1) -> torch.Tensor:
    """Frames whose pixel at (y, x) is (y, x, t), uint8 (T, H, W, 3); sides up to 256."""
    t, y, x = torch.meshgrid(torch.arange(num_frames), torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((y, x, t), dim=-1).to(torch.uint8)
