"""The plain side of the measurement of lists: two Python lists in the dataset object, as toolkits usually keep them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler


class PlainVideos(Dataset):
    """Videos by ``path label`` lines, each a text and a number in a list; clips are a single pixel.

    Args:
        path: the list.
        separator: between path and label.
    """

    def __init__(self, path: Path, separator: str = " ") -> None:
        self.paths: list[str] = []
        self.labels: list[int] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            name, label = line.rsplit(separator, 1)
            self.paths.append(os.path.join(path.parent, name))
            self.labels.append(int(label))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        """Return the pixel and the label of a video; a negative number reads all paths and labels first."""
        if number < 0:
            total = sum(len(path) + label for path, label in zip(self.paths, self.labels, strict=True))
            return torch.full((3, 1, 1, 1), total % 251, dtype=torch.uint8), number
        return torch.full((3, 1, 1, 1), len(self.paths[number]) % 251, dtype=torch.uint8), self.labels[number]


class PlainBatches(BatchSampler):
    """Shuffled batches of one epoch, of which the first few are taken, and then ``walks`` that read everything."""

    def __init__(self, videos: int, batch_size: int, first: int, walks: int) -> None:
        super().__init__(RandomSampler(range(videos)), batch_size, drop_last=True)
        self.first, self.walks = first, walks

    def __len__(self) -> int:
        return self.first + self.walks

    def __iter__(self):
        """Yield lists of record numbers."""
        shuffled = super().__iter__()
        yield from (next(shuffled) for _ in range(self.first))
        yield from ([-1 - number] for number in range(self.walks))


def plain_loader(path: Path, *, workers: int, batch_size: int, first: int) -> tuple[DataLoader, Callable[[int], tuple]]:
    """Return a loader over a list, and a function from a number to path and label.

    Args:
        path: the list.
        workers: worker processes.
        batch_size: videos in a batch.
        first: shuffled batches before those, one for each worker, that read everything.
    """
    videos = PlainVideos(path)
    loader = DataLoader(
        videos,
        batch_sampler=PlainBatches(len(videos), batch_size, first, workers),
        num_workers=workers,
        persistent_workers=True,
    )
    return loader, lambda number: (videos.paths[number], videos.labels[number])
