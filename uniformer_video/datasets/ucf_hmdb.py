"""UCF101 and HMDB51 from their official split files, on class folders of videos or on one flat folder.

UCF101 (https://www.crcv.ucf.edu/data/UCF101.php) has ``classInd.txt`` (``1 ApplyEyeMakeup``, from 1),
``trainlist01.txt`` (``ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1``) and ``testlist01.txt`` (without numbers).
HMDB51 (https://serre.lab.brown.edu/hmdb51.html) has a file for each class, ``brush_hair_test_split1.txt``, with
``video.avi 1`` lines: 1 is training, 2 is test, 0 is neither; its classes are numbered by the alphabet. The test list
is also the validation list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from uniformer_video.datasets.label_sets import LABEL_SETS, TITLES, normalise
from uniformer_video.datasets.list_text import check_text, is_file, read_text, short, text_lines, whole_number
from uniformer_video.datasets.name_numbers import ClassOrder, checked_order, class_order
from uniformer_video.datasets.placing import Listed, place
from uniformer_video.datasets.records import Annotation
from uniformer_video.datasets.video_folder import VIDEO_SUFFIXES, names_in, video_folder
from uniformer_video.runtime.errors import DataError

UCF_FOLDERS = (
    "",
    "ucfTrainTestlist",
    "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist",
    "annotations",
    "splits",
)
HMDB_FOLDERS = ("", "testTrainMulti_7030_splits", "test_train_splits", "annotations", "splits")
"""Where below ``DATA.PATH_TO_DATA_DIR`` the split files are looked for."""

CLASS_INDEX = "classInd.txt"
_HMDB_NAME = re.compile(r"(.+)_test_split([0-9])\.txt")
_HMDB_USE = {"train": 1, "val": 2, "test": 2}


def ucf_list_name(split: str, official_split: int) -> str:
    """Return the name of UCF101's list: ``trainlist01.txt``, or ``testlist01.txt`` for validation and test."""
    return f"{'train' if split == 'train' else 'test'}list{official_split:02d}.txt"


def read_ucf101(
    folder: Path, split: str, official_split: int, *, num_classes: int | None, prefix: str = "", label_set: str = ""
) -> Annotation | None:
    """Return the videos of an official list of UCF101; None where the folder has none.

    Args:
        folder: ``DATA.PATH_TO_DATA_DIR``, with the lists in it or in a sub-folder of their official name.
        split: ``train``, ``val`` or ``test``; the last two are one list.
        official_split: 1, 2 or 3.
        num_classes: classes of the network; None: as many as there are.
        prefix: folder of the videos, searched with its sub-folders; empty: ``folder``.
        label_set: ``DATA.LABEL_SET``, whose order then counts.

    Raises:
        DataError: a line of another form, with file and line; another number of classes; none of the videos there.
    """
    lists = _folder_with(folder, UCF_FOLDERS, ucf_list_name(split, official_split))
    if lists is None:
        return None
    path = lists / ucf_list_name(split, official_split)
    index = next((p for p in (lists / CLASS_INDEX, folder / CLASS_INDEX) if is_file(p)), None)
    names = _class_index(index) if index is not None else None
    order = class_order(folder, num_classes, official=names, official_source=str(index), label_set_name=label_set)
    order = order or checked_order(LABEL_SETS["ucf101"], f"{TITLES['ucf101']} (without its {CLASS_INDEX})", num_classes)
    listed = []
    for number, line in text_lines(read_text(path)):
        where = f"{path}:{number}"
        video, class_number = _ucf_line(line)
        class_name = check_text(video, where, "the path").replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
        if not class_name:
            raise DataError(f"{where}: {short(line)} is no `Class/video.avi` with a number from 1 behind it or none")
        if class_number is not None and names is not None and not _is_class(names, class_number, class_name):
            raise DataError(f"{where}: {class_number} is not the number of {short(class_name)} in {index}")
        label = order.number(class_name, where)
        listed.append(Listed((_stem(video),), label, video.replace("\\", "/"), class_name))
    return _place(listed, path, folder, split, order, prefix)


def read_hmdb51(
    folder: Path, split: str, official_split: int, *, num_classes: int | None, prefix: str = "", label_set: str = ""
) -> Annotation | None:
    """Return the videos of HMDB51's official split files; None where the folder has none. See :func:`read_ucf101`."""
    found = _hmdb_files(folder, official_split)
    if not found:
        return None
    lists = next(iter(found.values())).parent
    order = class_order(
        folder,
        num_classes,
        official=sorted(found),
        official_source=f"{lists} (a file *_test_split{official_split}.txt for each class)",
        label_set_name=label_set,
    )
    assert order is not None
    listed = []
    for class_name, path in sorted(found.items()):
        label = order.number(class_name, str(path))
        for number, line in text_lines(read_text(path)):
            where = f"{path}:{number}"
            words = line.strip().rsplit(None, 1)
            if len(words) != 2 or words[1] not in ("0", "1", "2"):
                raise DataError(f"{where}: {short(line)} is no `video.avi` with 0, 1 (training) or 2 (test) behind it")
            video = check_text(words[0], where, "the path")
            if int(words[1]) == _HMDB_USE[split]:
                listed.append(Listed((_stem(video),), label, f"{class_name}/{video}", class_name))
    source = lists / f"*_test_split{official_split}.txt"
    return _place(listed, source, folder, split, order, prefix)


def _place(
    listed: Sequence[Listed], source: Path, folder: Path, split: str, order: ClassOrder, prefix: str
) -> Annotation:
    root = prefix or str(folder)
    videos = video_folder(root)
    classes = {normalise(name) for name in order.names}
    return place(
        listed,
        # Names are not unique over the classes of HMDB51: a file in another class's folder is another video.
        lambda item: videos.find(item.names, item.folder, classes),
        root=root,
        split=split,
        source=str(source),
        class_names=order.names,
        looked_for=f"in any sub-folder, with any video ending; it holds {len(videos)} videos",
        prefix=prefix,
    )


def _stem(video: str) -> str:
    stem, suffix = os.path.splitext(re.split(r"[/\\]", video)[-1])
    return stem if suffix.lower() in VIDEO_SUFFIXES else stem + suffix


def _ucf_line(line: str) -> tuple[str, int | None]:
    words = line.strip().rsplit(None, 1)
    number = whole_number(words[1]) if len(words) == 2 else None
    return (line.strip(), None) if number is None else (words[0], number)


def _is_class(names: Sequence[str], number: int, name: str) -> bool:
    return 1 <= number <= len(names) and normalise(names[number - 1]) == normalise(name)


def _class_index(path: Path) -> list[str]:
    names: list[str] = []
    for number, line in text_lines(read_text(path)):
        words = line.split(None, 1)
        if len(words) != 2 or whole_number(words[0]) != len(names) + 1:
            raise DataError(
                f"{path}:{number}: {short(line)} is not `{len(names) + 1} Class`; classes are numbered from 1"
            )
        names.append(check_text(words[1].strip(), f"{path}:{number}", "the class"))
    if not names:
        raise DataError(f"{path}: names no class")
    return names


def _folder_with(folder: Path, below: Sequence[str], name: str) -> Path | None:
    return next((folder / sub for sub in below if is_file(folder / sub / name)), None)


def _hmdb_files(folder: Path, official_split: int) -> dict[str, Path]:
    """Return the split file of each class; those of one folder."""
    for sub in HMDB_FOLDERS:
        matches = (_HMDB_NAME.fullmatch(name) for name in names_in(str(folder / sub)))
        found = {m[1]: folder / sub / m[0] for m in matches if m and int(m[2]) == official_split}
        if found:
            return found
    return {}
