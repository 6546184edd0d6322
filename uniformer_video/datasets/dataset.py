"""The one Dataset: opens a record, makes its clips, and says what it could not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import Dataset

from uniformer_video.datasets.board import reading
from uniformer_video.datasets.clips import ClipMaker, Clips
from uniformer_video.datasets.flips import FlipRule
from uniformer_video.datasets.record_table import RecordTable
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.seed import Stream, numpy_generator
from uniformer_video.video.reader import DecodeError, VideoReader
from uniformer_video.video.watch import NotInTimeError

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
        labels: of each clip (none without clips): int64 ``(clips,)`` class numbers, or in a multi-label set float32
            ``(clips, num_classes)``, 1 for each class that the clip has, else 0.
        record: number in the dataset's list that was asked for.
        epoch: epoch it was asked for.
        turn: how often the epoch had asked for it before.
        failures: records that could not be read on the way here.
        source: number of the record whose clips these are: ``record``, or the one that stands in for it.
        indices: int64 ``(clips, T)``, the frame of the video that each frame of a clip is; None without clips.
        mirrored: of each clip, whether left and right are exchanged.
    """

    clips: torch.Tensor | None
    labels: torch.Tensor
    record: int
    epoch: int = 0
    turn: int = 0
    failures: list[Failure] = field(default_factory=list)
    source: int | None = None
    indices: np.ndarray | None = None
    mirrored: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if self.source is None:
            self.source = self.record


class VideoDataset(Dataset):
    """Labelled videos as clips, for training or for multi-view testing.

    Args:
        records: the videos; kept as a :class:`RecordTable`, which worker processes share.
        clips: makes the clips of one opened video.
        opener: opens a path, raising ``DecodeError``.
        replace: another record stands in for one that cannot be read (training); otherwise the sample has no clips.
        seed: RNG_SEED, for the choice of replacements.
        num_classes: K; needed for a multi-label set.
        multi_label: a video has any number of labels; otherwise exactly one.
        flips: which videos must not be mirrored, and what a mirror does to labels; None: to none.
        class_names: in label order, where known.
        class_folders: the folder of each label, where every class has its own.
        absent: paths of videos that the list names and the disk does not hold.

    Raises:
        DataError: several labels, or none, of one video, and ``multi_label`` is False.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        clips: ClipMaker,
        opener: Callable[[str], VideoReader],
        *,
        replace: bool = False,
        seed: int = 0,
        num_classes: int | None = None,
        multi_label: bool = False,
        flips: FlipRule | None = None,
        class_names: Sequence[str] | None = None,
        class_folders: Mapping[int, str] | None = None,
        absent: Sequence[str] = (),
    ) -> None:
        assert num_classes is not None or not multi_label, "a multi-label set has a number of classes"
        self.records = RecordTable.of(records)
        if not multi_label:
            _check_one_label(self.records)
        self.clips = clips
        self.opener = opener
        self.replace = replace
        self.seed = seed
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.flips = flips
        self.class_names = class_names
        self.class_folders = class_folders
        self.absent = tuple(absent)
        # Cause by path. Of this process and those that begin after it.
        self._given_up: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.records)

    @property
    def clips_per_record(self) -> int:
        """Number of clips in each sample."""
        return len(self.clips)

    def __getitem__(self, index: int | tuple[int, int] | tuple[int, int, int]) -> Sample:
        """Return the sample of a record.

        Args:
            index: a record number (epoch 0), ``(epoch, record number)``, or ``(epoch, record number, turn)`` where an
                epoch has records more than once: turn is how often it had this one before, and changes all draws.

        Returns:
            The sample. One whose video cannot be read holds another record's clips and labels when ``replace`` is set,
            no clips otherwise; ``failures`` tells. A video that took longer than the reading limit allows is not tried
            again in this process.
        """
        epoch, number, turn = (*index, 0)[:3] if isinstance(index, tuple) else (0, range(len(self))[index], 0)
        failures: list[Failure] = []
        for candidate in self._candidates(epoch, number, turn):
            made = self._make(candidate, epoch, number, turn)
            if isinstance(made, Failure):
                failures.append(made)
                continue
            labels = self._labels(self.records[candidate].labels, made.mirrored)
            place = (made.pixels, labels, number, epoch, turn, failures)
            return Sample(*place, source=candidate, indices=made.indices, mirrored=made.mirrored)
        return Sample(None, self._labels((), ()), number, epoch, turn, failures)

    def _make(self, candidate: int, epoch: int, number: int, turn: int) -> Clips | Failure:
        """Return the clips of record ``candidate``, which stands in for record ``number`` where they differ."""
        record = self.records[candidate]
        if record.path in self._given_up:
            return Failure(candidate, record.path, self._given_up[record.path])
        may_mirror = self.flips is None or self.flips.allows(record.labels)
        try:
            with reading(candidate), self.opener(record.path) as reader:
                # The draws are those of the record asked for: a stand-in differs from its own turn in the epoch.
                return self.clips(reader, epoch, number, turn=turn, may_mirror=may_mirror)
        except DecodeError as error:
            if isinstance(error, NotInTimeError):
                self.give_up(record.path, error.cause)  # who has waited for a video once does not wait again
            return Failure(candidate, record.path, error.cause)

    def give_up(self, path: str, cause: str) -> None:
        """Count a video as unreadable from now on, in this process and in workers that start after this.

        Args:
            path: the video, as its record has it.
            cause: why, in one line.
        """
        self._given_up[path] = cause

    def _labels(self, labels: tuple[int, ...], mirrored: Sequence[bool]) -> torch.Tensor:
        """Return the labels of clips of one video, of which some are mirrored; see :class:`Sample`."""
        after = labels if self.flips is None or not any(mirrored) else self.flips.after(labels)
        each = [after if flag else labels for flag in mirrored]
        if not self.multi_label:
            return torch.tensor([label for (label,) in each], dtype=torch.int64)
        rows = torch.zeros(len(each), self.num_classes)
        for row, numbers in zip(rows, each, strict=True):
            row[list(numbers)] = 1
        return rows

    def _candidates(self, epoch: int, number: int, turn: int) -> list[int]:
        if not self.replace or len(self) == 1:
            return [number]
        generator = numpy_generator(self.seed, Stream.REPLACE, epoch, number, *((turn,) if turn else ()))
        return [number, *generator.integers(len(self), size=REPLACEMENT_TRIES).tolist()]


def _check_one_label(records: RecordTable) -> None:
    number = records.first_several()
    if number is not None:
        record = records[number]
        raise DataError(
            f"{record.path} has {len(record.labels)} labels, but DATA.MULTI_LABEL is False; "
            "set DATA.MULTI_LABEL True, or give each video one label"
        )
