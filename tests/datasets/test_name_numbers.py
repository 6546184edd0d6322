"""Numbers for class names: which order counts."""

from __future__ import annotations

import pytest

from uniformer_video.datasets.label_sets import LABEL_SETS
from uniformer_video.datasets.name_numbers import ClassOrder, checked_order, class_order, known_order, sorted_order
from uniformer_video.runtime.errors import DataError, UserError


def test_names_in_any_spelling_have_a_number():
    order = ClassOrder(("riding a bike", "Push-Up", "pushup"), "the source")
    for name, number in (("riding a bike", 0), ("RidingABike", 0), ("Push-Up", 1), ("push up", 1), ("pushup", 2)):
        assert order.number(name, "f:1") == number
    with pytest.raises(DataError) as error:
        order.number("flying", "f:1")
    assert str(error.value) == "f:1: class 'flying' is not among the 3 classes of the source"


def test_a_setting_comes_before_a_file_and_a_file_before_the_official_order(tmp_path):
    official = {"official": ["b", "a"], "official_source": "index.txt"}
    assert class_order(tmp_path, 2) is None
    assert class_order(tmp_path, 2, **official) == ClassOrder(("b", "a"), "index.txt")
    (tmp_path / "classes.txt").write_text("c\nd\n")
    written = class_order(tmp_path, 2, **official)
    assert written == ClassOrder(("c", "d"), f"the file of class names in {tmp_path}")
    assert class_order(tmp_path, None) == written
    setting = class_order(tmp_path, 51, label_set_name="HMDB51", **official)
    assert setting == ClassOrder(LABEL_SETS["hmdb51"], "DATA.LABEL_SET 'HMDB51'")


def test_another_number_of_names(tmp_path):
    with pytest.raises(DataError) as error:
        class_order(tmp_path, 3, official=["a"], official_source="index.txt")
    assert str(error.value) == "index.txt has 1 classes, but MODEL.NUM_CLASSES is 3; make them agree"
    with pytest.raises(DataError, match="^DATA.LABEL_SET 'ssv2' has 174 classes, but MODEL.NUM_CLASSES is 3"):
        class_order(tmp_path, 3, label_set_name="ssv2")
    with pytest.raises(UserError, match="there is no label set 'x'"):
        class_order(tmp_path, 3, label_set_name="x")
    assert checked_order(["b", "a"], "s", None).names == ("b", "a")


def test_known_sets_are_told_by_their_names(log):
    for name, count in (("kinetics400", 400), ("kinetics600", 600), ("ucf101", 101), ("hmdb51", 51)):
        assert known_order(LABEL_SETS[name], count).names == LABEL_SETS[name]
        assert known_order(LABEL_SETS[name], None).names == LABEL_SETS[name]
    # Some of its names are enough where the number of classes is given; Kinetics-600 has them too.
    assert known_order(["marching", "dodgeball"], 400).names == LABEL_SETS["kinetics400"]
    assert known_order(["marching", "dodgeball"], 600).names == LABEL_SETS["kinetics600"]
    for names, count in ((["marching"], None), (["marching"], 401), (["a", "b"], 400), ([], 400)):
        assert known_order(names, count) is None
    assert log == []


def test_one_foreign_name_is_said(log):
    assert known_order([*LABEL_SETS["kinetics400"][1:], "flying"], 400) is None
    assert log == [
        "WARNING: 1 of 400 class names are not those of Kinetics-400, for example 'flying'; its published order is not "
        "taken"
    ]


def test_the_alphabet_is_that_of_code_points():
    order = sorted_order(["b", "a", "C", "a", "é"], "list.csv", 4)
    assert order == ClassOrder(("C", "a", "b", "é"), "list.csv in alphabetical order")
    with pytest.raises(DataError, match=r"^list.csv in alphabetical order has 1 classes, but MODEL.NUM_CLASSES is 4"):
        sorted_order(["a"], "list.csv", 4)
