"""The one way in to all annotations: which files a folder has for a dataset and a split, and their reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from uniformer_video.datasets.frame_lists import LIST_NAMES, is_frame_list, read_frame_list
from uniformer_video.datasets.kinetics import list_folder, read_kinetics, read_path_label_list, warn_of_one_label
from uniformer_video.datasets.kinetics_official import find_official, is_official, read_kinetics_official
from uniformer_video.datasets.list_text import is_file
from uniformer_video.datasets.record_table import RecordTable
from uniformer_video.datasets.records import Annotation
from uniformer_video.datasets.something import list_names, read_something
from uniformer_video.datasets.ucf_hmdb import CLASS_INDEX, read_hmdb51, read_ucf101, ucf_list_name
from uniformer_video.runtime.errors import ConfigError, DataError
from uniformer_video.runtime.logging import get_logger, log_once

logger = get_logger(__name__)

FAMILIES = {
    "kinetics": "kinetics",
    "kinetics_sparse": "kinetics",
    "ssv1": "ssv1",
    "ssv2": "ssv2",
    "sth": "ssv2",
    "ucf101": "ucf101",
    "hmdb51": "hmdb51",
    "hmdb": "hmdb51",
}
"""Whose official files are looked for, by the name of the dataset in any case."""

TEMPLATE_WORDS = {
    "train": ("train",),
    "val": ("val", "validation"),
    "test": ("test", "val", "validation"),
}
"""What is tried for the {} of ``DATA.LABEL_PATH_TEMPLATE``."""


def read_annotation(
    dataset: str,
    data_dir: str,
    split: str,
    *,
    num_classes: int | None,
    separator: str = " ",
    prefix: str = "",
    multi_label: bool = False,
    official_split: int = 1,
    label_path_template: str = "",
    label_set: str = "",
) -> Annotation:
    """Return the videos of one split.

    The first there is of: the list that ``label_path_template`` names; ``<split>.csv``, as a list of ``path label``
    lines or as an official Kinetics list, told by its header; the official files of ``dataset``;
    ``train_videofolder.txt`` and its like.

    Args:
        dataset: registered name, any case: kinetics, kinetics_sparse, ssv1, ssv2, sth, ucf101, hmdb51.
        data_dir: ``DATA.PATH_TO_DATA_DIR``.
        split: ``train``, ``val`` or ``test``.
        num_classes: classes of the network; None: any number.
        separator: ``DATA.PATH_LABEL_SEPARATOR``, for lists of lines.
        prefix: ``DATA.PATH_PREFIX``.
        multi_label: labels are tuples, also of a set that has one for each video.
        official_split: ``DATA.SPLIT``, of UCF101 and HMDB51.
        label_path_template: ``DATA.LABEL_PATH_TEMPLATE``.
        label_set: ``DATA.LABEL_SET``, for files that name classes.

    Raises:
        DataError: no folder, no list in it, or a list that cannot be used, with file and line.
        ConfigError: a ``label_path_template`` without {}.
        UserError: no such label set.
    """
    reader = _Reader(
        FAMILIES.get(dataset.lower(), "kinetics"), data_dir, split, num_classes, separator, prefix, multi_label
    )
    found = reader.template(label_path_template) if label_path_template else reader.find(official_split, label_set)
    if multi_label:
        found = replace(found, records=RecordTable.of(found.records).as_multi_label())
    return found


class _Reader:
    """What one call of :func:`read_annotation` knows."""

    def __init__(
        self,
        family: str,
        data_dir: str,
        split: str,
        num_classes: int | None,
        separator: str,
        prefix: str,
        multi_label: bool,
    ) -> None:
        self.family, self.split, self.folder = family, split, list_folder(data_dir)
        self.data_dir, self.num_classes, self.separator = data_dir, num_classes, separator
        self.prefix, self.multi_label = prefix, multi_label

    def find(self, official_split: int, label_set: str) -> Annotation:
        plain = self.folder / f"{self.split}.csv"
        if plain.exists() and not is_official(plain):
            # Lists of Something-Something on frames are often given this name.
            if self.family in ("ssv1", "ssv2") and is_frame_list(plain, self.separator):
                return self._frame_list(plain)
            return self._path_label_list(None)
        found = self._official(official_split, label_set)
        if found is not None:
            return found
        path = self._first(*LIST_NAMES[self.split])
        if path is not None:
            if self.split == "test" and path.name != LIST_NAMES["test"][0]:
                log_once(logger, f"{path}: the test is of this validation list, as there is no test_videofolder.txt")
            return self._frame_list(path)
        without = {"val": ", or move part of train.csv to val.csv", "test": ", or set TEST.ENABLE False"}
        raise DataError(
            f"{self.folder}: no list for {self.split}; looked for {', '.join(self._looked_for(official_split))}; set "
            f"DATA.PATH_TO_DATA_DIR to the folder of the lists, or make a set of your videos with "
            f"tools/prepare_dataset.py{without.get(self.split, '')}"
        )

    def template(self, template: str) -> Annotation:
        if "{}" not in template:
            raise ConfigError(
                f"DATA.LABEL_PATH_TEMPLATE {template!r} has no {{}} where train or val is to stand; write for example "
                "somesomev2_rgb_{}_split.txt"
            )
        names = [template.replace("{}", word) for word in TEMPLATE_WORDS[self.split]]
        path = self._first(*names)
        if path is None:
            raise DataError(
                f"{self.folder}: no list for {self.split} by DATA.LABEL_PATH_TEMPLATE {template!r}; looked for "
                f"{', '.join(names)}"
            )
        if self.split == "test" and path != self.folder / names[0]:
            log_once(logger, f"{path}: the test is of this validation list, as there is no {names[0]}")
        if is_frame_list(path, self.separator):
            return self._frame_list(path)
        return self._path_label_list(path)

    def _official(self, official_split: int, label_set: str) -> Annotation | None:
        options = {"num_classes": self.num_classes, "prefix": self.prefix, "label_set": label_set}
        if self.family == "ucf101":
            return read_ucf101(self.folder, self.split, official_split, **options)
        if self.family == "hmdb51":
            return read_hmdb51(self.folder, self.split, official_split, **options)
        if self.family in ("ssv1", "ssv2"):
            return read_something(self.folder, self.family, self.split, **options)
        path = find_official(self.folder, self.split)
        if path is None and self.split == "test":
            path = find_official(self.folder, "val")
            if path is not None:
                log_once(logger, f"{path}: the test is of this validation list, as there is no test list")
        return read_kinetics_official(self.folder, path, self.split, **options) if path is not None else None

    def _frame_list(self, path: Path) -> Annotation:
        return read_frame_list(
            path, self.split, num_classes=self.num_classes, separator=self.separator, prefix=self.prefix
        )

    def _path_label_list(self, path: Path | None) -> Annotation:
        options = {
            "num_classes": self.num_classes,
            "separator": self.separator,
            "prefix": self.prefix,
            "multi_label": self.multi_label,
        }
        if path is None:
            records = read_kinetics(self.data_dir, self.split, **options)
            return Annotation(records, source=str(self.folder / f"{self.split}.csv"))
        records = read_path_label_list(path, **options)
        if self.split == "test":
            warn_of_one_label(path, records, self.separator)
        return Annotation(records, source=str(path))

    def _first(self, *names: str) -> Path | None:
        return next((self.folder / name for name in names if is_file(self.folder / name)), None)

    def _looked_for(self, official_split: int) -> list[str]:
        official = {
            "kinetics": ("official CSV files such as kinetics400/" + ("validate" if self.split == "val" else self.split)
                         + ".csv",),
            "ssv1": list_names("ssv1", "train" if self.split == "train" else "val"),
            "ssv2": list_names("ssv2", "train" if self.split == "train" else "val"),
            "ucf101": (f"{ucf_list_name(self.split, official_split)} with {CLASS_INDEX}",),
            "hmdb51": (f"*_test_split{official_split}.txt",),
        }  # fmt: skip
        return [f"{self.split}.csv", *official[self.family], LIST_NAMES[self.split][0]]
