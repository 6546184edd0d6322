"""Any number of records in a few arrays: a million take some 45 MB, which all worker processes share.

A list of a million objects would take several hundred megabytes, and more in each worker: a process that reads an
object counts its reference, and so gets its own copy of the page. Arrays are not written by reading.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.context import get_spawning_popen
from typing import Any, overload

import numpy as np
import torch

from uniformer_video.datasets.packed_texts import PackedTexts, encoded, narrow_ends
from uniformer_video.datasets.records import VideoRecord

# A shorter table is copied to a spawned worker: a file of shared memory for each array would cost more.
SHARED_BYTES = 1 << 20

# Records made at once in a walk over all: enough to be quick, and few enough to be no memory.
_BLOCK = 4096


class RecordTable(Sequence[VideoRecord]):
    """Records that are made when they are asked for; made by :meth:`of` or :class:`RecordTableBuilder`.

    Reads like a list. A process that is forked shares its memory, and a spawned one gets a handle of it.

    Args:
        arrays: by name. ``folders_data`` and ``folders_ends``, ``names_data`` and ``names_ends``: the arguments of
            :class:`PackedTexts`; a path is its folder, with the slash, and its name. ``folder``: int32 ``(N,)``, which
            of the folders. ``labels``: int32, those of all records. ``label_ends``: int64 ``(N + 1,)`` and ``several``:
            bool ``(N,)``, where a record's labels end and whether they are a tuple; both None where every record has
            one number. ``frames``: int64 ``(N,)``, -1 for None; None where no record has it.
    """

    __hash__ = None  # equal to lists, as which it reads

    def __init__(self, arrays: dict[str, np.ndarray | None]) -> None:
        self._set(arrays)
        self._shared: dict[str, tuple[str, torch.Tensor] | None] | None = None

    @classmethod
    def of(cls, records: Iterable[VideoRecord]) -> RecordTable:
        """Return the table of records; a table is returned as it is."""
        if isinstance(records, cls):
            return records
        builder = RecordTableBuilder()
        for record in records:
            builder.add(record.path, record.label, record.num_frames)
        return builder.finish()

    def __len__(self) -> int:
        return len(self._folder)

    @overload
    def __getitem__(self, index: int) -> VideoRecord: ...
    @overload
    def __getitem__(self, index: slice) -> RecordTable: ...
    def __getitem__(self, index: int | slice) -> VideoRecord | RecordTable:
        """Return a record, or a table of those of a slice."""
        if isinstance(index, slice):
            return RecordTable.of(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]
        path = self._folders[int(self._folder[number])] + self._names[number]
        return VideoRecord(path, self._label(number), self._frames_of(number))

    def __iter__(self) -> Iterator[VideoRecord]:
        for start in range(0, len(self), _BLOCK):
            stop = min(start + _BLOCK, len(self))
            folders = {number: self._folders[number] for number in set(self._folder[start:stop].tolist())}
            names, own = self._names.block(start, stop), self._folder[start:stop].tolist()
            for number, folder, name in zip(range(start, stop), own, names, strict=True):
                yield VideoRecord(folders[folder] + name, self._label(number), self._frames_of(number))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (RecordTable, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"<{len(self)} records: {shown}{', ...' if len(self) > 3 else ''}>"

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(values.nbytes for values in self._arrays.values() if values is not None)

    @property
    def label_values(self) -> np.ndarray:
        """int32: the class numbers of all records in their order; not to be written."""
        return self._labels

    @property
    def label_counts(self) -> np.ndarray | None:
        """int64 ``(N,)``: how many labels each record has; None: one, of every record."""
        return None if self._label_ends is None else np.diff(self._label_ends)

    def first_several(self) -> int | None:
        """Return the number of the first record whose labels are a tuple; None without one."""
        if self._several is None or not self._several.any():
            return None
        return int(self._several.argmax())

    def has_one_label(self) -> bool:
        """Tell whether all records have the same label or labels."""
        if self._label_ends is None:
            return len(np.unique(self._labels)) <= 1
        return len(set(self.iter_labels())) <= 1

    def iter_labels(self) -> Iterator[tuple[int, ...]]:
        """Yield the ``labels`` of every record."""
        counts = self.label_counts
        for start in range(0, len(self), _BLOCK):
            if counts is None:
                yield from zip(self._labels[start : start + _BLOCK].tolist(), strict=True)
            else:
                yield from (self._own_labels(n) for n in range(start, min(start + _BLOCK, len(self))))

    def folders_of_labels(self) -> set[tuple[int, str]]:
        """Return the different pairs of label and folder (with its slash), of a table of one label for each record."""
        assert self._label_ends is None, "a record has one label"
        pairs = np.unique(self._labels.astype(np.int64) << 32 | self._folder)
        return {(pair >> 32, self._folders[pair & 0xFFFFFFFF]) for pair in pairs.tolist()}

    def as_multi_label(self) -> RecordTable:
        """Return these records with a tuple of labels each."""
        ends = np.arange(len(self) + 1, dtype=np.int64) if self._label_ends is None else self._label_ends
        return RecordTable({**self._arrays, "label_ends": ends, "several": np.ones(len(self), dtype=bool)})

    def __reduce__(self) -> tuple[Callable[..., RecordTable], tuple[Any, ...]]:
        # For a process that is being spawned: handles of shared memory, one copy for all of them.
        if get_spawning_popen() is not None and self._share():
            return _from_shared, (self._shared,)
        return RecordTable, (self._arrays,)

    def _share(self) -> bool:
        """Move the arrays to shared memory; False where they are short, or the system has too little of it."""
        if self._shared is None and self.nbytes >= SHARED_BYTES:
            try:
                shared = {
                    name: None if a is None else (a.dtype.str, _share_bytes(a)) for name, a in self._arrays.items()
                }
            except (RuntimeError, OSError):  # a container often has 64 MB
                return False
            self._shared = shared
            self._set({name: _view(pair) for name, pair in shared.items()})
        return self._shared is not None

    def _set(self, arrays: dict[str, np.ndarray | None]) -> None:
        self._arrays = arrays
        self._folders = PackedTexts(arrays["folders_data"], arrays["folders_ends"])
        self._names = PackedTexts(arrays["names_data"], arrays["names_ends"])
        self._folder, self._labels = arrays["folder"], arrays["labels"]
        self._label_ends, self._several, self._frames = arrays["label_ends"], arrays["several"], arrays["frames"]

    def _label(self, number: int) -> int | tuple[int, ...]:
        if self._label_ends is None:
            return int(self._labels[number])
        labels = self._own_labels(number)
        return labels if self._several[number] else labels[0]

    def _own_labels(self, number: int) -> tuple[int, ...]:
        return tuple(self._labels[self._label_ends[number] : self._label_ends[number + 1]].tolist())

    def _frames_of(self, number: int) -> int | None:
        frames = -1 if self._frames is None else int(self._frames[number])
        return None if frames < 0 else frames


class RecordTableBuilder:
    """Makes a :class:`RecordTable` of records that come one by one, or many at once."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._names, self._ends = bytearray(), array("q", [0])
        self._folder, self._labels = array("i"), array("i")
        self._label_ends: array[int] | None = None
        self._several: array[int] | None = None
        self._frames: array[int] | None = None

    def __len__(self) -> int:
        return len(self._folder)

    def add(self, path: str, label: int | tuple[int, ...], num_frames: int | None = None) -> None:
        """Add a record, given as :class:`VideoRecord`'s arguments."""
        cut = max(path.rfind("/"), path.rfind("\\")) + 1
        several = isinstance(label, tuple)
        if several and self._label_ends is None:
            self._label_ends, self._several = array("q", range(len(self) + 1)), array("b", bytes(len(self)))
        if num_frames is not None and self._frames is None:
            self._frames = array("q", [-1]) * len(self)
        self._names += encoded(path[cut:])
        self._ends.append(len(self._names))
        self._folder.append(self._folders.setdefault(path[:cut], len(self._folders)))
        if several:
            self._labels.extend(label)
        else:
            self._labels.append(label)
        if self._label_ends is not None:
            self._label_ends.append(len(self._labels))
            self._several.append(several)
        if self._frames is not None:
            self._frames.append(-1 if num_frames is None else num_frames)

    def add_many(self, folders: Sequence[str], names: Sequence[str], labels: Sequence[int]) -> None:
        """Add records of one label each and of unknown length.

        Args:
            folders: of each path the part up to its last slash, with it.
            names: the rest of each path.
            labels: class numbers.
        """
        if self._label_ends is not None or self._frames is not None:
            for folder, name, label in zip(folders, names, labels, strict=True):
                self.add(folder + name, label)
            return
        joined = "".join(names)
        sizes = names if joined.isascii() else [encoded(name) for name in names]
        ends = np.cumsum(np.fromiter(map(len, sizes), np.int64, len(names))) + len(self._names)
        self._names += encoded(joined)
        self._ends.frombytes(ends.tobytes())
        for folder in dict.fromkeys(folders):
            self._folders.setdefault(folder, len(self._folders))
        self._folder.extend(map(self._folders.__getitem__, folders))
        self._labels.extend(labels)

    def finish(self) -> RecordTable:
        """Return the table; nothing can be added afterwards."""
        data, ends = np.frombuffer(self._names, dtype=np.uint8), np.array(self._ends)
        folders = [encoded(folder) for folder in self._folders]
        folder_ends = np.cumsum([0, *map(len, folders)])
        return RecordTable(
            {
                "folders_data": np.frombuffer(b"".join(folders), dtype=np.uint8),
                "folders_ends": narrow_ends(folder_ends),
                "names_data": data.copy(),
                "names_ends": narrow_ends(ends),
                "folder": np.array(self._folder, dtype=np.int32),
                "labels": np.array(self._labels, dtype=np.int32),
                "label_ends": None if self._label_ends is None else np.array(self._label_ends, dtype=np.int64),
                "several": None if self._several is None else np.array(self._several, dtype=bool),
                "frames": None if self._frames is None else np.array(self._frames, dtype=np.int64),
            }
        )


def _share_bytes(values: np.ndarray) -> torch.Tensor:
    tensor = torch.empty(values.nbytes, dtype=torch.uint8)
    tensor.numpy()[:] = values.view(np.uint8)
    return tensor.share_memory_()


def _view(pair: tuple[str, torch.Tensor] | None) -> np.ndarray | None:
    return None if pair is None else pair[1].numpy().view(pair[0])


def _from_shared(shared: dict[str, tuple[str, torch.Tensor] | None]) -> RecordTable:
    return RecordTable({name: _view(pair) for name, pair in shared.items()})
