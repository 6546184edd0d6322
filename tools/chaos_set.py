"""The data and the recipe of ``chaos.py``: small enough for a step in some 20 ms, with every kind of state in a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uniformer_video.runtime.seed import numpy_generator
from uniformer_video.video.writer import VideoWriter

VIDEOS = {"train": 44, "val": 6, "test": 7}
"""How many of each; 7 is shared evenly by neither 2 nor 3 processes."""
BATCH = 4
STEPS = VIDEOS["train"] // BATCH
"""Of an epoch: odd, so that checkpoints at every second step and epochs do not fall together."""
EPOCHS = 5
CHECKPOINT_STEPS = 2
COLORS = ((200, 40, 40), (40, 180, 60), (40, 60, 200))
LENGTHS = (9, 12, 16, 21)
CONFIG = "chaos.yaml"

YAML = f"""\
DATA:
  NUM_FRAMES: 4
  SAMPLING_RATE: 2
  TRAIN_CROP_SIZE: 32
  TEST_CROP_SIZE: 32
  TRAIN_JITTER_SCALES: [36, 48]
  TRAIN_JITTER_SCALES_RELATIVE: [0.3, 1.0]
DATA_LOADER: {{NUM_WORKERS: 2}}
AUG: {{ENABLE: True, NUM_SAMPLE: 2, AA_TYPE: rand-m7-n4-mstd0.5-inc1, RE_PROB: 0.5}}
MIXUP: {{ENABLE: True}}
MODEL: {{NUM_CLASSES: 3}}
UNIFORMER:
  DEPTH: [1, 1, 1, 1]
  EMBED_DIM: [16, 16, 32, 32]
  HEAD_DIM: 16
  MLP_RATIO: 2
  DROP_DEPTH_RATE: 0.2
  DROPOUT_RATE: 0.1
SOLVER: {{BASE_LR: 2.0e-3, MAX_EPOCH: {EPOCHS}, CLIP_GRAD_L2NORM: 20, EMA_DECAY: 0.99}}
TRAIN: {{BATCH_SIZE: {BATCH}, CHECKPOINT_STEPS: {CHECKPOINT_STEPS}}}
TEST: {{NUM_ENSEMBLE_VIEWS: 2, NUM_SPATIAL_CROPS: 3, BATCH_SIZE: 12}}
NUM_GPUS: 0
LOG_PERIOD: 1
RNG_SEED: 7
"""
"""LOG_PERIOD 1: the log tells every step, so that the harness knows which one was the last."""

PLAIN = (
    *("MIXUP.ENABLE", "False", "SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.BASE_LR", "0.02"),
    *("SOLVER.MAX_EPOCH", "2"),
)
"""For comparisons up to rounding. Mixup mixes clips within a process. AdamW divides a gradient by its size, so that the
rounding of one that should be 0 (the offset of attention keys has such a one) becomes a whole step."""


def write_set(folder: Path, seed: int) -> Path:
    """Write the videos (64 x 48 and 48 x 64 pixels, 9 to 21 frames), their lists and the recipe, and return ``folder``.

    Args:
        folder: is made.
        seed: of the brightness and place of what moves.
    """
    (folder / "videos").mkdir(parents=True)
    generator = numpy_generator(seed)
    for split, count in VIDEOS.items():
        lines = []
        for number in range(count):
            label = number % len(COLORS)
            name = f"videos/{split} {number:02d}.mp4"
            size = (48, 64) if number // 3 % 2 == 0 else (64, 48)
            frames = draw(generator, LENGTHS[number % len(LENGTHS)], size, COLORS[label])
            with VideoWriter(folder / name, 25, size, crf=23) as writer:
                for frame in frames:
                    writer.write(frame)
            lines.append(f"{name} {label}\n")
        (folder / f"{split}.csv").write_text("".join(lines), encoding="utf-8")
    (folder / CONFIG).write_text(YAML, encoding="utf-8")
    return folder


def draw(generator: np.random.Generator, count: int, size: tuple[int, int], color: tuple[int, int, int]) -> np.ndarray:
    """Return uint8 (count, H, W, 3): a lighter square that moves over a background of ``color`` with a texture."""
    height, width = size
    grain = generator.integers(-20, 20, (height, width, 1))
    frames = np.repeat((np.asarray(color) + grain).clip(0, 255).astype(np.uint8)[None], count, axis=0)
    side, top = height // 3, int(generator.integers(0, height - height // 3))
    light = np.clip(np.asarray(color) + int(generator.integers(40, 80)), 0, 255).astype(np.uint8)
    for t in range(count):
        left = round(t * (width - side) / max(count - 1, 1))
        frames[t, top : top + side, left : left + side] = light
    return frames


def paths_of(folder: Path, split: str) -> list[str]:
    """Return the absolute paths of a list."""
    lines = (folder / f"{split}.csv").read_text(encoding="utf-8").splitlines()
    return [str(folder / line.rsplit(" ", 1)[0]) for line in lines]
