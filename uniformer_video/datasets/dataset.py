"""The one Dataset: opens a record, makes its clips, and says what it could not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.utils.data import Dataset

from uniformer_video.datasets.clips import ClipMaker
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.seed import Stream, numpy_generator
from uniformer_video.video.reader import DecodeError, VideoReader

# A list with more than nine broken videos in ten would need so many tries; such a list is a mistake to report.
REPLACEMENT_TRIES = 10


@dataclass(frozen=True)
class Failure:
    """A record that could not be read.

    Args:
        record: number in the dataset's list.
        path: the video.
        cause: why, in one line.
    """

    record: int
    path: str
    cause: str

    @property
    def reason(self) -> str:
        """Return path and cause in one line."""
        return f"{self.path}: {self.cause}"


@dataclass
class Sample:
    """What the dataset yields for one record.

    Args:
        clips: uint8 ``(clips, 3, T, H, W)``, the augmented repeats or the test views; None where nothing could be read.
        label: class number.
        record: number in the dataset's list that was asked for.
        epoch: epoch it was asked for.
        failures: records that could not be read on the way here.
    """

    clips: torch.Tensor | None
    label: int
    record: int
    epoch: int = 0
    failures: list[Failure] = field(default_factory=list)


class VideoDataset(Dataset):
    """Labelled videos as clips, for training or for multi-view testing.

    Args:
        records: the videos.
        clips: makes the clips of one opened video.
        opener: opens a path, raising ``DecodeError``.
        replace: another record stands in for one that cannot be read (training); otherwise the sample has no clips.
        seed: RNG_SEED, for the choice of replacements.
        class_names: in label order, where known.
        class_folders: the folder of each label, where every class has its own.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        clips: ClipMaker,
        opener: Callable[[str], VideoReader],
        *,
        replace: bool = False,
        seed: int = 0,
        class_names: Sequence[str] | None = None,
        class_folders: Mapping[int, str] | None = None,
    ) -> None:
        self.records = records
        self.clips = clips
        self.opener = opener
        self.replace = replace
        self.seed = seed
        self.class_names = class_names
        self.class_folders = class_folders

    def __len__(self) -> int:
        return len(self.records)

    @property
    def clips_per_record(self) -> int:
        """Number of clips in each sample."""
        return len(self.clips)

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """Return the sample of a record.

        Args:
            index: a record number (epoch 0), or ``(epoch, record number)``.

        Returns:
            The sample. One whose video cannot be read holds another record's clips and label when ``replace`` is set,
            no clips otherwise; ``failures`` tells.
        """
        epoch, number = index if isinstance(index, tuple) else (0, range(len(self))[index])
        failures: list[Failure] = []
        for candidate in self._candidates(epoch, number):
            record = self.records[candidate]
            try:
                with self.opener(record.path) as reader:
                    # The draws are those of the record asked for: a stand-in differs from its own turn in the epoch.
                    clips = self.clips(reader, epoch, number)
            except DecodeError as error:
                failures.append(Failure(candidate, record.path, error.cause))
                continue
            return Sample(clips, record.label, number, epoch, failures)
        return Sample(None, self.records[number].label, number, epoch, failures)

    def _candidates(self, epoch: int, number: int) -> list[int]:
        if not self.replace or len(self) == 1:
            return [number]
        generator = numpy_generator(self.seed, Stream.REPLACE, epoch, number)
        return [number, *generator.integers(len(self), size=REPLACEMENT_TRIES).tolist()]
