"""Official Kinetics lists are found by their names and told by their header."""

from __future__ import annotations

import pytest

from uniformer_video.datasets.kinetics_official import find_official, is_official
from uniformer_video.runtime.errors import DataError

TRAIN = "label,youtube_id,time_start,time_end,split,is_cc\nmarching,_zzzzzzzzzz,0,10,train,0\n"


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("train", "train.csv"),
        ("train", "kinetics_700_train.csv"),
        ("train", "kinetics700_2020_train.csv"),
        ("train", "kinetics400/train.csv"),
        ("train", "k600/kinetics_600_train.csv"),
        ("train", "annotations/train.csv"),
        ("val", "val.csv"),
        ("val", "validate.csv"),
        ("val", "kinetics_400_validate.csv"),
        ("val", "kinetics600/validate.csv"),
        ("test", "kinetics700_2020/test.csv"),
    ],
)
def test_lists_are_found_by_split(tmp_path, split, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(TRAIN)
    assert find_official(tmp_path, split) == tmp_path / name
    for other in {"train", "val", "test"} - {split}:
        assert find_official(tmp_path, other) is None


def test_lists_of_lines_are_not_official(tmp_path):
    (tmp_path / "train.csv").write_text("a.mp4 1\n")
    assert not is_official(tmp_path / "train.csv")
    assert not is_official(tmp_path / "none.csv")
    assert find_official(tmp_path, "train") is None
    (tmp_path / "kinetics_400_train.csv").write_text(TRAIN)
    assert find_official(tmp_path, "train") == tmp_path / "kinetics_400_train.csv"


def test_the_nearest_list_wins_and_two_equal_ones_are_refused(tmp_path):
    for name in ("kinetics400", "kinetics600"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_text(TRAIN)
    with pytest.raises(DataError) as error:
        find_official(tmp_path, "train")
    assert str(error.value) == (
        f"{tmp_path} holds several lists, {tmp_path / 'kinetics400/train.csv'} and "
        f"{tmp_path / 'kinetics600/train.csv'}; set DATA.PATH_TO_DATA_DIR to the folder of one"
    )
    (tmp_path / "kinetics_700_train.csv").write_text(TRAIN)
    (tmp_path / "train.csv").write_text(TRAIN)
    assert find_official(tmp_path, "train") == tmp_path / "train.csv"
